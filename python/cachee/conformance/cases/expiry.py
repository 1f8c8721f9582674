"""Nothing outlives the server's own expiry.

The server tells of an expired key when it reaps it, which may be seconds late; the cases switch its
active expiry off, so that what ends, ends by what the client knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cachee.conformance.case import case
from cachee.conformance.stage import HEALTHY_BOUND_S, NEWER, OLD, Call, Stage, shown
from cachee.conformance.verdict import FailedError, NotApplicableError

LIFE_MS = 400
# A read that began just before the end may come back after it; what is left is the clocks' granule.
SLACK_S = 0.02
PATIENCE_S = 4.0


@case("expiry.key-that-ends")
def key_that_ends(stage: Stage) -> str:
    """A hit ends when the key's own time to live does.

    Rule: cap the life of an entry with the key's remaining time to live.
    Source: https://github.com/redis/jedis/issues/4117
    Forced: the server reaps nothing by itself; a key with 400 ms to live and a proven hit of it.
    Checked: no read that begins after these 400 ms has the value.
    """
    _reap_nothing(stage)
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    for _ in range(3):
        stage.put(client, "k", OLD, "PX", LIFE_MS)
        ends = time.monotonic() + LIFE_MS / 1000
        if _is_hit_before(stage, lambda: client.get("k"), ends):
            return _ends(lambda: client.get("k"), OLD, ends)
    raise NotApplicableError("keys with a time to live are not cached")


@case("expiry.hash-that-ends")
def hash_that_ends(stage: Stage) -> str:
    """The same for a hash.

    Rule: as expiry.key-that-ends, for every type.
    Source: https://github.com/redis/jedis/issues/4117
    Forced: as there, with HSET, PEXPIRE and a proven hit of HGETALL.
    Checked: no read that begins after the end has the field.
    """
    _reap_nothing(stage)
    client = stage.open()
    key = client.server_key("h")
    for _ in range(3):
        stage.server.many([("HSET", key, "f", "1"), ("PEXPIRE", key, LIFE_MS)])
        ends = time.monotonic() + LIFE_MS / 1000
        alive = client.hgetall("h")
        if _is_hit_before(stage, lambda: client.hgetall("h"), ends):
            return _ends(lambda: client.hgetall("h"), alive, ends)
    raise NotApplicableError("hashes with a time to live are not cached")


@case("expiry.set-later")
def set_later(stage: Stage) -> str:
    """A time to live that somebody gives a cached key is kept.

    Rule: PEXPIRE is a change like any other, and its deadline counts.
    Source: https://github.com/redis/jedis/issues/4117
    Forced: a proven hit of a key without time to live, then a foreign PEXPIRE of 400 ms.
    Checked: no read that begins after these 400 ms has the value.
    """
    _reap_nothing(stage)
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    stage.server.call("PEXPIRE", client.server_key("k"), LIFE_MS)
    return _ends(lambda: client.get("k"), OLD, time.monotonic() + LIFE_MS / 1000)


@case("expiry.set-by-oneself")
def set_by_oneself(stage: Stage) -> str:
    """A time to live that the client itself gives a cached key is kept.

    Rule: as expiry.set-later; the client need not be told.
    Source: https://github.com/redis/rueidis/issues/534
    Forced: a proven hit, PEXPIRE of 400 ms through the same client.
    Checked: no read that begins after these 400 ms has the value.
    """
    _reap_nothing(stage)
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    client.expire("k", LIFE_MS)
    return _ends(lambda: client.get("k"), OLD, time.monotonic() + LIFE_MS / 1000)


@case("expiry.in-the-past")
def in_the_past(stage: Stage) -> str:
    """EXPIREAT with a moment that is over removes the key from the cache too.

    Rule: the server deletes such a key and tells of it.
    Source: https://redis.io/docs/latest/commands/expireat/
    Forced: a proven hit, then a foreign EXPIREAT of the year 1970.
    Checked: the key is missing within a second.
    """
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    stage.server.call("EXPIREAT", client.server_key("k"), "1")
    return stage.settles(lambda: client.get("k"), None)


@case("expiry.taken-back")
def taken_back(stage: Stage) -> str:
    """A key whose time to live is taken back is not missing at its old end.

    Rule: PERSIST is a change like any other.
    Source: https://redis.io/docs/latest/commands/persist/
    Forced: a proven hit of a key with 400 ms to live, a foreign PERSIST, 600 ms.
    Checked: the value is there.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    for _ in range(3):
        stage.put(client, "k", OLD, "PX", LIFE_MS)
        ends = time.monotonic() + LIFE_MS / 1000
        if _is_hit_before(stage, lambda: client.get("k"), ends - 0.1):
            stage.server.call("PERSIST", client.server_key("k"))
            stage.pause(LIFE_MS / 1000 + 0.2, "the old end passes")
            stage.must_be(lambda: client.get("k"), OLD, "after PERSIST and the old end")
            return "there after its old end"
    raise NotApplicableError("keys with a time to live are not cached")


@case("expiry.hash-field")
def hash_field(stage: Stage) -> str:
    """A field of a hash that has a time to live of its own ends, too.

    Rule: the key's time to live says nothing of its fields: cap or do not cache.
    Source: https://valkey.io/commands/hpexpire/
    Forced: the server reaps nothing by itself; a hit of another key; HPEXPIRE of 400 ms.
    Checked: no read that begins a second after the end has the field.
    """
    _reap_nothing(stage)
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    key = client.server_key("h")
    stage.server.call("HSET", key, "f", "1", "g", "2")
    if not stage.server.knows("HPEXPIRE", key, LIFE_MS, "FIELDS", "1", "f"):
        raise NotApplicableError("this server has no time to live for fields")
    ends = time.monotonic() + LIFE_MS / 1000
    first = client.hget("h", "f")
    if first != b"1":
        raise FailedError(f"HGET gave {first!r}")
    local = any(stage.read(lambda: client.hget("h", "f"))[1] for _ in range(5))
    told = _ends(lambda: client.hget("h", "f"), b"1", ends, HEALTHY_BOUND_S)
    return f"{'cached meanwhile' if local else 'not cached'}; {told}"


def _reap_nothing(stage: Stage) -> None:
    if not stage.server.knows("DEBUG", "SET-ACTIVE-EXPIRE", "0"):
        raise NotApplicableError("the server does not allow DEBUG SET-ACTIVE-EXPIRE")


def _is_hit_before(stage: Stage, read: Callable[[], Any], ends: float) -> bool:
    while time.monotonic() < ends:
        if stage.read(read)[1]:
            return True
    return False


def _ends(read: Callable[[], Any], alive: Any, ends: float, slack_s: float = SLACK_S) -> str:
    """No read that begins after the end and the slack has the value."""
    last = 0.0
    while time.monotonic() < ends + slack_s + PATIENCE_S:
        began = time.monotonic()
        value = Call(read, "a read").result()
        if not value:
            late_ms = max(0.0, last - ends) * 1000
            if last > ends + slack_s:
                raise FailedError(f"{shown(alive)} still read {late_ms:.0f} ms after its end")
            return f"last read {late_ms:.0f} ms after the end at most"
        if value == alive:
            last = began
        time.sleep(0.0005)
    raise FailedError(f"{shown(alive)} still read {PATIENCE_S:.0f} s after its end")
