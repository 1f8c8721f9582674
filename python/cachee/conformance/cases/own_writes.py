"""Who has written reads what was written, however late the server's invalidation is.

The relay lets replies pass and delays invalidations: between the two a cache that waits to be told
has the old value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cachee.conformance.case import case
from cachee.conformance.clients.client import Client
from cachee.conformance.stage import NEW, NEWER, OLD, Call, Stage, shown, shown_error
from cachee.conformance.verdict import FailedError, NotApplicableError

LATE_S = 0.4
NAP = "local t=os.clock() while os.clock()-t<tonumber(ARGV[1]) do end return 1"
DECLARED = "return redis.call('SET', KEYS[1], ARGV[1])"
UNDECLARED = "return redis.call('SET', ARGV[1], ARGV[2])"


def _reads(stage: Stage, write: Callable[[Client], Any], expected: Any) -> str:
    """A proven hit, the write with its invalidation late, and the very next reads."""
    client = stage.open()
    stage.put(client, "source", NEW)
    stage.warm_value(client, "k", OLD)
    stage.late_pushes(LATE_S)
    stage.note("writing")
    Call(lambda: write(client), "the write").result()
    for _ in range(3):
        stage.must_be(lambda: client.get("k"), expected, "right after the own write")
    stage.relay.flow()
    return stage.settles(lambda: client.get("k"), expected)


@case("own.set")
def own_set(stage: Stage) -> str:
    """A SET is read by the same client at once.

    Rule: forget the key before the write leaves and after its reply; do not wait to be told.
    Source: https://github.com/redis/rueidis/issues/534
    Forced: a proven hit, SET through the client, its invalidation 0.4 s late.
    Checked: the next three reads have the new value.
    """
    return _reads(stage, lambda client: client.set("k", NEW), NEW)


@case("own.delete")
def own_delete(stage: Stage) -> str:
    """A DEL is seen by the same client at once.

    Rule: as own.set.
    Source: https://github.com/redis/rueidis/issues/534
    Forced: a proven hit, DEL through the client, its invalidation 0.4 s late.
    Checked: the key is missing in the next three reads.
    """
    return _reads(stage, lambda client: client.delete("k"), None)


@case("own.raw-command")
def own_raw_command(stage: Stage) -> str:
    """A write given as words is seen like any other.

    Rule: which keys a command changes is the server's knowledge (COMMAND), not a list of methods.
    Source: https://redis.io/docs/latest/develop/reference/key-specs/
    Forced: a proven hit, GETSET as words, its invalidation 0.4 s late.
    Checked: the next three reads have the new value.
    """
    return _reads(stage, lambda client: client.command("GETSET", "k", NEW), NEW)


@case("own.rename")
def own_rename(stage: Stage) -> str:
    """A RENAME onto a cached key is seen at once.

    Rule: as own.raw-command, for the second key of a command.
    Source: https://redis.io/docs/latest/develop/reference/key-specs/
    Forced: a proven hit, RENAME of another key onto it, the invalidation 0.4 s late.
    Checked: the next three reads have the other key's value.
    """
    return _reads(stage, lambda client: client.command("RENAME", "source", "k"), NEW)


@case("own.pipeline")
def own_pipeline(stage: Stage) -> str:
    """What a pipeline writes is read at once, in it and after it.

    Rule: as own.set; replies inside a pipeline keep their order.
    Source: https://github.com/redis/redis-py/issues/3600
    Forced: a proven hit, a pipeline GET SET GET, its invalidation 0.4 s late.
    Checked: the pipeline's own replies, and the next three reads.
    """
    return _reads(stage, lambda client: _get_set_get(client, transaction=False), NEW)


@case("own.transaction")
def own_transaction(stage: Stage) -> str:
    """What a transaction writes is read at once, in it and after it.

    Rule: the writes of MULTI happen at EXEC.
    Source: https://redis.io/docs/latest/develop/using-commands/transactions/
    Forced: a proven hit, MULTI GET SET GET EXEC, its invalidation 0.4 s late.
    Checked: the transaction's own replies, and the next three reads.
    """
    return _reads(stage, lambda client: _get_set_get(client, transaction=True), NEW)


def _get_set_get(client: Client, *, transaction: bool) -> None:
    commands = [("GET", "k"), ("SET", "k", NEW), ("GET", "k")]
    first, _, last = client.pipeline(commands, transaction=transaction)
    if (first, last) != (OLD, NEW):
        raise FailedError(f"GET SET GET in one go gave {shown(first)} and {shown(last)}")


@case("own.script")
def own_script(stage: Stage) -> str:
    """What a script writes to a key it declares is read at once.

    Rule: as own.raw-command.
    Source: https://redis.io/docs/latest/develop/interact/programmability/eval-intro/
    Forced: a proven hit, EVAL that sets KEYS[1], its invalidation 0.4 s late.
    Checked: the next three reads have the new value.
    """
    return _reads(stage, lambda client: client.run_script(DECLARED, ["k"], [NEW]), NEW)


@case("own.script-undeclared-key")
def own_script_undeclared(stage: Stage) -> str:
    """What a script writes to a key it does not declare is read at once.

    Rule: where the keys cannot be known, serve nothing until the server was heard after the write.
    Source: https://github.com/redis/rueidis/issues/534
    Forced: a proven hit, EVAL that sets a key named in ARGV, its invalidation 0.4 s late.
    Checked: the next three reads have the new value.
    """

    def run(client: Client) -> Any:
        return client.run_script(UNDECLARED, [], [client.server_key("k"), NEW])

    return _reads(stage, run, NEW)


@case("own.other-client")
def own_other_client(stage: Stage) -> str:
    """What one client of a process writes, another of the same process reads, soon.

    Rule: at the latest the invalidation of a write ends the other client's entry.
    Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
    Forced: proven hits of two clients, a SET through one.
    Checked: the other reads the new value within a second, the old one never again.
    """
    writer, reader = stage.open(), stage.open()
    stage.warm_value(reader, "k", OLD)
    stage.warm(lambda: writer.get("k"))
    writer.set("k", NEW)
    return stage.settles(lambda: reader.get("k"), NEW)


@case("own.then-foreign")
def own_then_foreign(stage: Stage) -> str:
    """A foreign write after one's own is seen.

    Rule: an own write uses up what the server remembers of a key; keep nothing over it.
    Source: https://redis.io/docs/latest/commands/client-tracking/ (NOLOOP)
    Forced: a proven hit, an own SET and a read, then a foreign SET.
    Checked: the foreign value within a second and no other ever again.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    client.set("k", NEW)
    stage.must_be(lambda: client.get("k"), NEW, "after the own write")
    stage.put(client, "k", NEWER)
    return stage.settles(lambda: client.get("k"), NEWER, also=(OLD, NEW))


@case("own.and-foreign-in-one-turn", deadline_s=60)
def one_turn(stage: Stage) -> str:
    """A foreign write right behind one's own, before the server tells of either, is seen.

    Rule: an invalidation may stand for several writes; none may be taken for one's own.
    Source: https://github.com/Krukov/cashews (client_side.py: `recently_update`)
    Forced: the server is busy in a script while an own SET and then a foreign SET queue up; it
        executes both in one turn. Rounds in which the foreign one came first do not count.
    Checked: after a second the client reads what the server has, in every round.
    """
    client = stage.open()
    stage.warm_value(client, "other", OLD)
    counted = 0
    with stage.server.connected() as busy, stage.server.connected() as writer:
        for at in range(20):
            key = f"k{at}"
            stage.put(client, key, OLD)
            client.get(key)
            nap = Call(lambda: busy.ask("EVAL", NAP, "0", "0.02"), "the busy script")
            stage.pause(0.005, "the server is busy")
            own = Call(partial(client.set, key, NEW), "the own SET")
            stage.pause(0.006, "the own SET is queued")
            writer.ask("SET", client.server_key(key), NEWER)
            nap.result()
            own.result()
    stage.pause(1.0, "a second for invalidations")
    for at in range(20):
        truth = stage.server.call("GET", client.server_key(f"k{at}"))
        if truth != NEWER:
            continue
        counted += 1
        value, local = stage.read(partial(client.get, f"k{at}"))
        if value != truth:
            where = "from the cache" if local else "by the client"
            raise FailedError(f"{shown(value)} answered {where} a second after {shown(truth)}")
    if not counted:
        raise NotApplicableError("the server never executed the own SET first")
    return f"{counted} rounds, each as the server has it"


@case("own.read-sent-before")
def read_sent_before(stage: Stage) -> str:
    """A read that left before one's own write is not kept after it.

    Rule: an own write voids the reads under way; whoever waits for them may use them once.
    Source: https://github.com/redis/lettuce/issues/3481
    Forced: the reply of a cold read is held; SET through the client; the reply goes, invalidations
        0.4 s late.
    Checked: the next reads have the new value.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.put(client, "k", OLD)
    early, _ = stage.held_read(lambda: client.get("k"), OLD)
    write = Call(lambda: client.set("k", NEW), "the own SET")
    overtook = write.wait(1.0)
    stage.late_pushes(LATE_S)
    for connection in list(stage.relay.connections):
        connection.down.release_all()
    early.result()
    write.result()
    for _ in range(3):
        stage.must_be(lambda: client.get("k"), NEW, "after the own write")
    stage.relay.flow()
    told = stage.settles(lambda: client.get("k"), NEW)
    return f"the write {'overtook' if overtook else 'followed'} the read's reply; {told}"


@case("own.timed-out-write")
def timed_out_write(stage: Stage) -> str:
    """A write whose reply never came may still happen, and is seen when it does.

    Rule: an error of a write says nothing of what the server did.
    Source: https://github.com/redis/redis-py/issues/2624
    Forced: a proven hit; the SET is held on its way to the server until the client gives up; then
        it arrives.
    Checked: the new value within a second of the server having it, the old one never again.
    """
    client = stage.open(timeout_s=0.4)
    stage.warm_value(client, "k", OLD)
    for connection in list(stage.relay.connections):
        connection.up.trap(lambda frame: NEW in frame)
    stage.relay.on_connect = lambda connection: connection.up.trap(lambda frame: NEW in frame)
    write = Call(lambda: client.set("k", NEW), "the own SET")
    gave_up = write.wait() and write.problem is not None
    error = write.problem
    stage.relay.on_connect = None
    stage.relay.flow()
    key = client.server_key("k")
    arrived = stage.within(lambda: stage.server.call("GET", key) == NEW, 2.0)
    if arrived is None:
        raise NotApplicableError("the client gave up and withdrew the write")
    told = stage.settles(lambda: client.get("k"), NEW)
    ended = shown_error(error) if gave_up and error is not None else "still waiting"
    return f"the write: {ended[:60]}; {told}"
