"""Reads whose answers change without the server telling: never cached, whatever a list says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cachee.conformance.case import case
from cachee.conformance.stage import NEWER, Stage, shown
from cachee.conformance.verdict import FailedError, NotApplicableError

READS = 5


@case("commands.xpending")
def xpending(stage: Stage) -> str:
    """What XACK took away is not reported as pending.

    Rule: XACK, XCLAIM and XREADGROUP are told to nobody, so XPENDING is never cached.
    Source: https://valkey.io/commands/xpending/ (redis-py and Jedis have it in their allow-lists)
    Forced: a proven hit of another key; XPENDING read five times; a foreign XACK.
    Checked: the next XPENDING has one entry less.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    key = client.server_key("s")
    stage.server.many(
        [
            ("XGROUP", "CREATE", key, "g", "$", "MKSTREAM"),
            ("XADD", key, "1-1", "f", "v"),
            ("XADD", key, "2-1", "f", "v"),
            ("XREADGROUP", "GROUP", "g", "c", "STREAMS", key, ">"),
        ]
    )
    before = [client.pending("s", "g") for _ in range(READS)][-1]
    stage.server.call("XACK", key, "g", "1-1")
    return _changed(stage, lambda: client.pending("s", "g"), before, "XPENDING", "a foreign XACK")


@case("commands.sort-by-other-keys")
def sort_by(stage: Stage) -> str:
    """A list sorted by other keys follows these keys.

    Rule: keys reached by a pattern are not tracked, so SORT_RO with BY or GET is never cached.
    Source: https://valkey.io/commands/sort_ro/ (redis-py has it in its allow-list)
    Forced: a proven hit of another key; SORT_RO BY read five times; a foreign SET of a weight.
    Checked: the next SORT_RO has another order.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.server.many(
        [
            ("RPUSH", client.server_key("l"), "a", "b"),
            ("SET", client.server_key("w:a"), "1"),
            ("SET", client.server_key("w:b"), "2"),
        ]
    )
    pattern = client.server_key("w:*")
    before = [client.sort_by("l", pattern) for _ in range(READS)][-1]
    stage.server.call("SET", client.server_key("w:a"), "3")
    read = partial(client.sort_by, "l", pattern)
    return _changed(stage, read, before, "SORT_RO BY", "a foreign SET of a weight")


@case("commands.remaining-time")
def remaining_time(stage: Stage) -> str:
    """The remaining time to live goes down between two reads of it.

    Rule: commands whose answer depends on the time are never cached.
    Source: https://valkey.io/commands/pttl/
    Forced: a proven hit of the key; PTTL read five times, 50 ms, PTTL once more.
    Checked: the last one is smaller.
    """
    client = stage.open()
    stage.put(client, "k", NEWER, "EX", 100)
    stage.warm(lambda: client.get("k"))
    before = [client.command("PTTL", "k") for _ in range(READS)][-1]
    stage.pause(0.05, "the time to live goes down")
    after = client.command("PTTL", "k")
    if not 0 < int(after) < int(before):
        raise FailedError(f"PTTL gave {before} and 50 ms later {after}")
    return f"{before} and 50 ms later {after}"


@case("commands.random-member")
def random_member(stage: Stage) -> str:
    """A random member of a set is drawn anew every time.

    Rule: commands with a random answer are never cached.
    Source: https://valkey.io/commands/srandmember/
    Forced: a proven hit of another key; SRANDMEMBER of a set of fifty, forty times.
    Checked: more than one member is seen.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.server.call("SADD", client.server_key("s"), *range(50))
    seen = {str(client.command("SRANDMEMBER", "s")) for _ in range(40)}
    if len(seen) == 1:
        raise FailedError(f"forty times {seen.pop()}")
    return f"{len(seen)} members in forty draws"


def _changed(stage: Stage, read: Callable[[], Any], before: Any, what: str, change: str) -> str:
    after, local = stage.read(read)
    if after == before:
        where = "from the cache" if local else "by the server"
        raise FailedError(f"{what} answered {where} as before {change}: {shown(after)}")
    if local:
        raise NotApplicableError(f"{what} changed although the server was not asked")
    return f"{what} follows {change}"
