"""What empties a cache, or exchanges what is under its keys."""

from __future__ import annotations

from functools import partial

from cachee.conformance.case import case
from cachee.conformance.stage import NEW, OLD, Stage
from cachee.conformance.verdict import FailedError, NotApplicableError

MAX_AGE_MS = 400
UNSEEN_S = 5.0


@case("flush.flushall")
def flushall(stage: Stage) -> str:
    """A foreign FLUSHALL empties the cache.

    Rule: an invalidation without keys concerns all of them.
    Source: https://github.com/redis/lettuce/issues/3481 (its listener expects keys)
    Forced: proven hits of three keys, then FLUSHALL by somebody else.
    Checked: all three are missing within a second.
    """
    return _flushed(stage, "FLUSHALL")


@case("flush.flushdb")
def flushdb(stage: Stage) -> str:
    """A foreign FLUSHDB empties the cache.

    Rule: as flush.flushall.
    Source: https://redis.io/docs/latest/develop/reference/client-side-caching/
    Forced: proven hits of three keys, then FLUSHDB ASYNC by somebody else.
    Checked: all three are missing within a second.
    """
    return _flushed(stage, "FLUSHDB", "ASYNC")


def _flushed(stage: Stage, *command: str) -> str:
    client = stage.open()
    for key in ("a", "b", "c"):
        stage.warm_value(client, key, OLD)
    stage.server.call(*command)
    for key in ("a", "b", "c"):
        told = stage.settles(partial(client.get, key), None)
    return told


@case("flush.own-flush")
def own_flush(stage: Stage) -> str:
    """A FLUSHALL of one's own is seen at once.

    Rule: what a client does itself it need not be told.
    Source: https://github.com/redis/rueidis/issues/534
    Forced: a proven hit, FLUSHALL through the same client, the invalidation held back.
    Checked: the key is missing in the next read.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    stage.late_pushes(0.3)
    client.command("FLUSHALL")
    stage.must_be(lambda: client.get("k"), None, "after an own FLUSHALL")
    return "missing in the next read"


@case("flush.own-swapdb")
def own_swapdb(stage: Stage) -> str:
    """A SWAPDB of one's own is seen at once, although no server tells of it.

    Rule: flush when SWAPDB is seen to pass.
    Source: https://valkey.io/commands/swapdb/ (no invalidation is sent)
    Forced: a proven hit in database 0, SWAPDB 0 1 through the same client.
    Checked: the next three reads give what was in database 1.
    """
    client = stage.open()
    _fill_the_other(stage, client.server_key("k"))
    stage.warm_value(client, "k", OLD)
    client.command("SWAPDB", "0", "1")
    for _ in range(3):
        stage.must_be(lambda: client.get("k"), NEW, "after an own SWAPDB")
    return "three reads of what was in database 1"


@case("flush.foreign-swapdb")
def foreign_swapdb(stage: Stage) -> str:
    """A foreign SWAPDB, of which no server tells, is wrong for no longer than a maximal age.

    Rule: some changes are told to nobody, so every entry ends by itself.
    Source: https://valkey.io/commands/swapdb/ (no invalidation is sent)
    Forced: a maximal age of 0.4 s (1 s where it is in seconds), a proven hit, SWAPDB by somebody
        else.
    Checked: what was in database 1 is read within five seconds.
    """
    client = stage.open(max_age_ms=MAX_AGE_MS)
    _fill_the_other(stage, client.server_key("k"))
    stage.warm_value(client, "k", OLD)
    before = stage.relay.invalidations
    stage.server.call("SWAPDB", "0", "1")
    try:
        told = stage.settles(lambda: client.get("k"), NEW, within_s=UNSEEN_S)
    except FailedError as failed:
        age = "" if stage.adapter.has_max_age else "; the client has no maximal age"
        raise FailedError(f"{failed}{age}") from None
    if stage.relay.invalidations != before:
        raise NotApplicableError("this server does tell of SWAPDB")
    return told


def _fill_the_other(stage: Stage, key: str) -> None:
    """Before the hit is proven: a write in any database invalidates the name in all."""
    stage.server.many([("SELECT", "1"), ("SET", key, NEW), ("SELECT", "0")])
