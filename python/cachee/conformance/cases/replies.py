"""What comes out of a cache: large values, odd bytes, objects that callers may change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from cachee.conformance.case import case
from cachee.conformance.stage import NEWER, Stage, shown
from cachee.conformance.verdict import FailedError, NotApplicableError

LARGE_BYTES = 1 << 20


@case("replies.large-value")
def large_value(stage: Stage) -> str:
    """A value of a megabyte is read whole, as a miss, as a hit, and after it changed.

    Rule: what does not fit is not cached; it is never cut.
    Source: https://github.com/ZiggyCreatures/FusionCache/issues/532
    Forced: a foreign SET of a megabyte, reads, another one, reads.
    Checked: every read is whole; the second value within a second.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    first, second = b"1" * LARGE_BYTES, b"2" * LARGE_BYTES
    stage.put(client, "k", first)
    _readable(stage, partial(client.get, "k"), first)
    try:
        found = stage.warm(lambda: client.get("k"), "GET of a megabyte")
    except NotApplicableError:
        raise NotApplicableError("values of a megabyte are not cached") from None
    if found != first:
        raise FailedError("the hit of a megabyte has other bytes")
    stage.put(client, "k", second)
    return stage.settles(lambda: client.get("k"), second, also=(first,))


@case("replies.any-bytes")
def any_bytes(stage: Stage) -> str:
    """Values of any bytes come back as they are, as a miss and as a hit.

    Rule: a value is bytes, line ends and frames of the protocol among them.
    Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
    Forced: foreign SETs of the empty value, line ends, an error, a frame and every byte.
    Checked: reads and proven hits have the same bytes.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    values = [b"", b"\r\n", b"-ERR no\r\n", b">2\r\n$10\r\ninvalidate\r\n_\r\n", bytes(range(256))]
    cached = 0
    for at, value in enumerate(values):
        stage.put(client, f"k{at}", value)
        read = partial(client.get, f"k{at}")
        _readable(stage, read, value)
        try:
            found = stage.warm(read)
        except NotApplicableError:
            continue
        cached += 1
        if found != value:
            raise FailedError(f"{shown(value)} is read as {shown(found)}")
    if not cached:
        raise NotApplicableError("none of these values is cached")
    return f"{len(values)} values read, {cached} of them hit"


def _readable(stage: Stage, read: Callable[[], Any], value: bytes) -> None:
    """Not applicable to a client that reads only values in a format of its own."""
    try:
        found, _ = stage.read(read)
    except Exception as error:  # noqa: BLE001 - of the client, which has a format of its own
        name = type(error).__name__
        raise NotApplicableError(f"the client reads no such foreign value ({name})") from None
    if found != value:
        raise NotApplicableError("the client reads no such foreign value")


@case("replies.changed-hash")
def changed_hash(stage: Stage) -> str:
    """A caller who changes the dict of HGETALL changes nothing for the next one.

    Rule: hand out containers of the caller's own.
    Source: https://github.com/redis/redis-py/pull/3207
    Forced: a proven hit of HGETALL; the returned dict is emptied and filled with something else.
    Checked: the next proven hit has the server's fields.
    """
    client = stage.open()
    stage.server.call("HSET", client.server_key("h"), "f", "1", "g", "2")

    def change(found: Any) -> None:
        found.clear()
        found[b"mine"] = b"3"

    return _stays(stage, lambda: client.hgetall("h"), change, "HGETALL")


@case("replies.changed-set")
def changed_set(stage: Stage) -> str:
    """A caller who changes the set of SMEMBERS changes nothing for the next one.

    Rule: as replies.changed-hash.
    Source: https://github.com/redis/redis-py/pull/3207
    Forced: a proven hit of SMEMBERS; the returned set is emptied.
    Checked: the next proven hit has the server's members.
    """
    client = stage.open()
    stage.server.call("SADD", client.server_key("s"), "a", "b")
    return _stays(stage, lambda: client.smembers("s"), lambda found: found.clear(), "SMEMBERS")


@case("replies.changed-list")
def changed_list(stage: Stage) -> str:
    """A caller who changes the list of LRANGE changes nothing for the next one.

    Rule: as replies.changed-hash.
    Source: https://github.com/redis/redis-py/pull/3207
    Forced: a proven hit of LRANGE; the returned list is emptied.
    Checked: the next proven hit has the server's elements.
    """
    client = stage.open()
    stage.server.call("RPUSH", client.server_key("l"), "a", "b", "c")
    return _stays(stage, lambda: client.lrange("l"), lambda found: found.clear(), "LRANGE")


def _stays(stage: Stage, read: Callable[[], Any], change: Callable[[Any], None], what: str) -> str:
    truth = copy.copy(read())
    first = stage.warm(read, what)
    try:
        change(first)
    except (AttributeError, TypeError):
        return f"the {type(first).__name__} that is returned cannot be changed"
    again = stage.warm(read, what)
    if again != truth:
        raise FailedError(f"after a caller changed its copy the next one gets {shown(again)}")
    return f"the next caller gets {shown(again)}"
