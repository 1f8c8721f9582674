"""Who watches a key or is in a transaction is answered by the server."""

from __future__ import annotations

from cachee.conformance.case import case
from cachee.conformance.stage import NEW, OLD, Stage
from cachee.conformance.verdict import FailedError


@case("transactions.read-under-watch")
def read_under_watch(stage: Stage) -> str:
    """A read under WATCH reaches the server.

    Rule: optimistic locking reads after WATCH; an answer from before it breaks the lock.
    Source: https://redis.io/docs/latest/develop/using-commands/transactions/
    Forced: a proven hit, then WATCH and GET the way the library offers.
    Checked: the server's counters show the read.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    watched = client.watch("k")
    before = stage.server.work("get")
    value = watched.get("k")
    asked = stage.server.work("get") - before
    watched.close()
    if value != OLD:
        raise FailedError(f"under WATCH read {value!r}")
    if not asked:
        raise FailedError("GET under WATCH answered from the cache, the server was not asked")
    return "the server executed the read"


@case("transactions.optimistic-lock")
def optimistic_lock(stage: Stage) -> str:
    """An increment by WATCH, GET, MULTI, SET, EXEC loses no foreign write before the WATCH.

    Rule: as transactions.read-under-watch, by its consequence.
    Source: https://redis.io/docs/latest/develop/using-commands/transactions/
    Forced: a proven hit of 5, a foreign SET of 50 whose invalidation is late, then the increment.
    Checked: the server ends with 51, or EXEC was refused and the second try gives 51.
    """
    client = stage.open()
    stage.warm_value(client, "k", b"5")
    stage.late_pushes(0.5)
    stage.put(client, "k", b"50")
    for _ in range(5):
        watched = client.watch("k")
        current = int(watched.get("k") or 0)
        done = watched.commit([("SET", "k", current + 1)])
        watched.close()
        if done is not None:
            break
    found = stage.server.call("GET", client.server_key("k"))
    stage.relay.flow()
    if found != b"51":
        raise FailedError(f"50 and one is {found!r}: the foreign write is lost")
    return "50 and one is 51"


@case("transactions.refused")
def refused(stage: Stage) -> str:
    """A transaction that EXEC refused changes nothing that is read afterwards.

    Rule: the writes of a transaction count when EXEC says so.
    Source: https://redis.io/docs/latest/commands/exec/
    Forced: a proven hit, WATCH, a foreign SET, MULTI SET EXEC.
    Checked: EXEC is refused, and the foreign value is read within a second.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    watched = client.watch("k")
    stage.put(client, "k", NEW)
    done = watched.commit([("SET", "k", "9")])
    watched.close()
    if done is not None:
        raise FailedError("EXEC went through although the watched key had changed")
    return stage.settles(lambda: client.get("k"), NEW)
