"""Replies and invalidations that pass each other between the server and the cache."""

from __future__ import annotations

from functools import partial

from cachee.conformance.case import case
from cachee.conformance.stage import NEW, NEWER, OLD, Call, Stage, shown
from cachee.conformance.verdict import FailedError, NotApplicableError


@case("stream.write-behind-the-reply")
def write_behind_the_reply(stage: Stage) -> str:
    """A key that changes while its reply is on the way is not kept with the old value.

    Rule: a reply is stored only if no invalidation of its key came since the read was sent.
    Source: https://github.com/redis/lettuce/issues/3481
    Forced: the reply of a cold read is held; a foreign SET; its invalidation comes to the relay,
        and passes at once when it has a connection of its own; then the reply goes.
    Checked: the new value within a second and the old one never again.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.put(client, "k", OLD)
    read, _ = stage.held_read(lambda: client.get("k"), OLD)
    before = stage.relay.invalidations
    stage.put(client, "k", NEW)
    pushed = stage.await_push(before)
    stage.relay.flow()
    first = read.result()
    told = stage.settles(lambda: client.get("k"), NEW)
    way = "invalidation seen" if pushed else "no invalidation came"
    return f"{way}, the held read gave {shown(first)}; {told}"


@case("stream.write-behind-the-reply-in-pieces")
def in_pieces(stage: Stage) -> str:
    """The same when reply and invalidation arrive a byte at a time.

    Rule: as stream.write-behind-the-reply, however TCP cuts the stream.
    Source: https://github.com/redis/redis-py/issues/3600
    Forced: reply and invalidation are held together, then pass in single bytes.
    Checked: the new value within a second and the old one never again.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.put(client, "k", OLD)
    read, connection = stage.held_read(lambda: client.get("k"), OLD)
    before = stage.relay.invalidations
    stage.put(client, "k", NEW)
    stage.await_push(before)
    connection.down.flow()
    connection.down.fragment(1)
    read.result()
    told = stage.settles(lambda: client.get("k"), NEW)
    stage.relay.flow()
    return told


@case("stream.write-behind-many-replies", deadline_s=60)
def many_replies(stage: Stage) -> str:
    """The same with a server that executes read and write in one turn, sixty times.

    Rule: as stream.write-behind-the-reply, without a relay's help.
    Source: https://github.com/redis/lettuce/issues/3481
    Forced: the server is busy in a script while a read and then a foreign SET queue up; it
        executes both in one turn and sends reply and invalidation together.
    Checked: after a second no key has its old value.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    rounds = 60
    for at in range(rounds):
        stage.put(client, f"k{at}", OLD)
    with stage.server.connected() as busy, stage.server.connected() as writer:
        for at in range(rounds):
            key = f"k{at}"
            nap = Call(lambda: busy.ask("EVAL", NAP, "0", "0.006"), "the busy script")
            stage.pause(0.002, "the server is busy")
            read = Call(partial(client.get, key), "a read")
            stage.pause(0.002, "the read is queued")
            writer.ask("SET", client.server_key(key), NEW)
            nap.result()
            read.result()
    stage.pause(1.0, "a second for invalidations")
    stale = [at for at in range(rounds) if client.get(f"k{at}") != NEW]
    if stale:
        raise FailedError(f"{len(stale)} of {rounds} keys keep their old value after a second")
    return f"{rounds} keys, all new after a second"


NAP = "local t=os.clock() while os.clock()-t<tonumber(ARGV[1]) do end return 1"


@case("stream.write-between-value-and-ttl")
def between_value_and_ttl(stage: Stage) -> str:
    """A write between the two commands of one read leaves neither of them behind.

    Rule: value and time to live are of one moment, or nothing is stored.
    Source: https://github.com/valkey-io/valkey-go/pull/143
    Forced: of the commands a cold read sends, only the first reaches the server before a foreign
        SET.
    Checked: the new value within a second and the old one never again.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.put(client, "k", OLD)
    lanes = [each.up for each in stage.relay.connections]
    for lane in lanes:
        lane.trap(lambda frame: client.server_key("k").encode() in frame)
    read = Call(lambda: client.get("k"), "the read")
    holding = stage.first(lambda: [lane for lane in lanes if lane.held()], "a command of the read")
    lane = holding[0]
    stage.pause(0.05, "the rest of the read's commands")
    if len(lane.held()) < 2:
        stage.relay.flow()
        read.result()
        raise NotApplicableError("a read is one command")
    before = stage.server.work()
    lane.release(1)
    stage.first(lambda: stage.server.work() > before, "the first command is executed")
    stage.put(client, "k", NEW)
    stage.relay.flow()
    read.result()
    return stage.settles(lambda: client.get("k"), NEW)


@case("stream.older-reply-after-newer")
def older_after_newer(stage: Stage) -> str:
    """A late reply of an older read does not replace what a newer read stored.

    Rule: every fill has a token of its own; one whose token was voided is not published.
    Source: https://github.com/redis/lettuce/pull/3769
    Forced: a reply is held; a foreign SET and its invalidation; a second read of the key on
        another connection stores the new value; then the first reply goes.
    Checked: the new value within a second and the old one never again.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.put(client, "k", OLD)
    early, _ = stage.held_read(lambda: client.get("k"), OLD)
    before = stage.relay.invalidations
    stage.put(client, "k", NEW)
    stage.await_push(before)
    late = Call(lambda: client.get("k"), "the second read")
    overtook = late.wait(1.0)
    stage.relay.flow()
    early.result()
    late.result()
    told = stage.settles(lambda: client.get("k"), NEW)
    return f"{'second read overtook' if overtook else 'second read waited'}; {told}"
