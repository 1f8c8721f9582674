"""Is what a cache answers what the store behind it holds? Asked from outside, of both.

Problem: a cache that is wrong looks like one that is right. Tests show that it cannot be wrong in
the ways somebody thought of; in production only comparing shows the rest.

Idea: sample keys of the store, and read each four times: of the store, twice of the cache (the
second time it is a hit, if it may be one), and of the store again. An answer that is neither what
the store held before nor what it held after, while the store held the same, is old. It may be, for
`max_staleness`: both are asked again until they agree, the store has changed (nothing can be said
then), or the bound is over. What is still old then is *wrong*, and what was old for a while is
*late*, with its age.

Limits: keys are those of one database of one server, found by `SCAN`; in front of a cluster, of the
node that is named. A value that goes back and forth between two contents may hide. Compared are
strings, hashes, lists, sets and sorted sets; reading them touches them (LRU, LFU) as any read does.

Rejected: sampling inside the cache. What is broken there would be asked about itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cachee._errors import CacheeError
from cachee._resp import Address, ErrorReply, Server, ServerError, connect

TIMEOUT_S = 10.0
BATCH = 50
# Few of them match, perhaps.
MATCHED_BATCH = 1_000
NAMED_MAX = 10
POLL_S = 0.005

_READS: dict[str, tuple[str, ...]] = {
    "string": ("GET",),
    "hash": ("HGETALL",),
    "list": ("LRANGE", "0", "-1"),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", "0", "-1", "WITHSCORES"),
}


@dataclass(frozen=True)
class _Read:
    name: str
    key: bytes
    rest: tuple[str, ...]


@dataclass
class Outcome:
    """What an audit has found. `wrong` is what must be 0."""

    samples: int = 0
    """Answers of the cache that were compared."""
    equal: int = 0
    """Those the store gave as well, before or after."""
    changed: int = 0
    """The store changed meanwhile: nothing can be said."""
    late: int = 0
    """Old, and right again within the bound."""
    late_s_max: float = 0.0
    """The oldest of those, in seconds, as of the first look."""
    wrong: int = 0
    """Still old when the bound was over."""
    skipped: int = 0
    """Keys of other types, or that may not be read."""
    wrong_keys: list[str] = field(default_factory=list)
    """Some of those, escaped."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def audit(
    cache: Address,
    store: Address,
    *,
    samples: int,
    per_second: float,
    max_staleness_s: float,
    match: str | None = None,
    show: Callable[[int], None] = lambda _done: None,
) -> Outcome:
    """Compare until there are so many samples; `show` is told how many there are.

    Args:
        cache, store: who is asked; each with its own login.
        samples: how many answers of the cache to compare, 1 or more.
        per_second: at most so many of them a second, so that nobody suffers.
        max_staleness_s: how long an answer of the cache may be old, in seconds.
        match: a pattern of `SCAN` that keys have to match (every key).

    Raises:
        CacheeError: one of the two cannot be asked, or the store has no key to compare.
    """
    outcome = Outcome()
    with _login(cache) as near, _login(store) as far:
        began = time.monotonic()
        for batch in _batches(far, match):
            _compare(near, far, batch, outcome, max_staleness_s)
            show(outcome.samples)
            if outcome.samples >= samples:
                break
            time.sleep(max(began + outcome.samples / per_second - time.monotonic(), 0))
    return outcome


def _login(address: Address) -> Server:
    try:
        server = connect(address, TIMEOUT_S, binary=True)
    except OSError as error:
        raise CacheeError(f"{address.shown} cannot be reached: {error}") from None
    words: list[list[str]] = []
    if address.password is not None:
        words.append(["AUTH", address.username or "default", address.password])
    if address.database:
        words.append(["SELECT", str(address.database)])
    for reply in _ask(server, words):
        if isinstance(reply, ErrorReply):
            server.__exit__(None, None, None)
            raise CacheeError(f"{address.shown}: {reply}")
    return server


def _ask(server: Server, commands: Sequence[Sequence[str | bytes]]) -> list[Any]:
    try:
        return server.ask_many(commands)
    except (OSError, ServerError) as error:
        raise CacheeError(f"{server.address.shown} is lost: {error}") from None


def _batches(store: Server, match: str | None) -> Iterator[list[bytes]]:
    """Keys by `SCAN`, again and again from the start."""
    while True:
        cursor, found = b"0", 0
        while True:
            words: list[str | bytes] = ["SCAN", cursor, "COUNT", str(BATCH)]
            if match is not None:
                words = ["SCAN", cursor, "MATCH", match, "COUNT", str(MATCHED_BATCH)]
            reply = _ask(store, [words])[0]
            if isinstance(reply, ErrorReply):
                raise CacheeError(f"{store.address.shown}: SCAN: {reply}")
            cursor, keys = reply
            found += len(keys)
            for at in range(0, len(keys), BATCH):
                yield keys[at : at + BATCH]
            if cursor == b"0":
                break
        if not found:
            raise CacheeError(
                f"{store.address.shown} has no key"
                + (
                    f" that matches {match!r}"
                    if match
                    else f" in database {store.address.database}"
                )
            )


def _compare(
    cache: Server, store: Server, keys: list[bytes], outcome: Outcome, max_staleness_s: float
) -> None:
    kinds = _ask(store, [("TYPE", key) for key in keys])
    reads = [_read(kind, key) for kind, key in zip(kinds, keys, strict=True)]
    wanted = [read for read in reads if read is not None]
    outcome.skipped += len(reads) - len(wanted)
    before = _values(store, wanted)
    answers = [_values(cache, wanted) for _ in range(2)]
    after = _values(store, wanted)
    seen = time.monotonic()
    for at, read in enumerate(wanted):
        if isinstance(before[at], ErrorReply):
            outcome.skipped += 1
            continue
        for answer in (answers[0][at], answers[1][at]):
            outcome.samples += 1
            if answer in (before[at], after[at]):
                outcome.equal += 1
            elif before[at] != after[at]:
                outcome.changed += 1
            else:
                _watch(cache, store, read, after[at], seen, outcome, max_staleness_s)


def _watch(
    cache: Server,
    store: Server,
    read: _Read,
    held: Any,
    seen: float,
    outcome: Outcome,
    max_staleness_s: float,
) -> None:
    """An old answer was seen at `seen`: until when is it given?"""
    while True:
        asked = time.monotonic()
        answer = _values(cache, [read])[0]
        now = _values(store, [read])[0]
        if now != held:
            outcome.changed += 1
            return
        if answer == held:
            outcome.late += 1
            outcome.late_s_max = max(outcome.late_s_max, asked - seen)
            return
        if asked - seen > max_staleness_s:
            outcome.wrong += 1
            if len(outcome.wrong_keys) < NAMED_MAX:
                outcome.wrong_keys.append(ascii(read.key)[2:-1])
            return
        time.sleep(POLL_S)


def _read(kind: Any, key: bytes) -> _Read | None:
    words = _READS.get(kind)
    return _Read(words[0], key, words[1:]) if words else None


def _values(server: Server, reads: Sequence[_Read]) -> list[Any]:
    """Replies, those without an order of their own sorted."""
    replies = _ask(server, [(read.name, read.key, *read.rest) for read in reads])
    return [_canonical(read.name, reply) for read, reply in zip(reads, replies, strict=True)]


def _canonical(name: str, reply: Any) -> Any:
    if not isinstance(reply, list):
        return reply
    if name == "SMEMBERS":
        return sorted(reply)
    if name == "HGETALL":
        return sorted(zip(reply[::2], reply[1::2], strict=True))
    return reply
