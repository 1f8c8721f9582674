"""Is what a cache answers what the store behind it holds? Asked from outside, of both.

Problem: a cache that is wrong looks like one that is right. Tests show that it cannot be wrong in
the ways somebody thought of; in production only comparing shows the rest.

Idea: sample keys of the store, and read each four times: of the store, twice of the cache (the
second time it is a hit, if it may be one), and of the store again. An answer that is neither what
the store held before nor what it held after is asked for again and again. Three ends: the cache
gives another answer (*late*; where the store had changed meanwhile, *changed*: nothing can be
said); the store is seen to hold that very answer (*changed*); or the bound is over and the cache
still gives what the store was never seen to hold (*wrong*), however often the key changes.

Limits: keys are those of one database of one server, found by `SCAN`; in front of a cluster, of the
node that is named. A value that goes back and forth between two contents may hide. Compared are
strings up to a megabyte, and hashes, lists, sets and sorted sets up to a thousand members: larger
ones would be a burden. Reading touches keys (LRU, LFU) as any read does.

Rejected: sampling inside the cache. What is broken there would be asked about itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

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
# How large one is, and how large it may be.
_SIZES = {
    "string": ("STRLEN", 1 << 20),
    "hash": ("HLEN", 1_000),
    "list": ("LLEN", 1_000),
    "set": ("SCARD", 1_000),
    "zset": ("ZCARD", 1_000),
}


@dataclass(frozen=True)
class _Read:
    name: str
    key: bytes
    rest: tuple[str, ...]


@dataclass(frozen=True)
class _Suspect:
    """An answer that the store gave neither before nor after."""

    read: _Read
    answer: Any
    has_changed: bool
    """The store, meanwhile."""


@dataclass
class Outcome:
    """What an audit has found. `wrong` is what must be 0."""

    samples: int = 0
    """Answers of the cache that were compared."""
    equal: int = 0
    """Those the store gave as well, before or after."""
    late: int = 0
    """Old while the store stood still, and another one within the bound."""
    late_s_max: float = 0.0
    """How long the longest of those was given, in seconds."""
    changed: int = 0
    """The store changed meanwhile: nothing can be said."""
    wrong: int = 0
    """Still given when the bound was over, and never seen in the store."""
    errors: int = 0
    """The cache answered with an error."""
    skipped: int = 0
    """Keys too large, of other types, or that may not be read."""
    wrong_keys: list[str] = field(default_factory=list)
    """Some of those, escaped."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class _Pace:
    """At most so many a second, without catching up afterwards."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._due = time.monotonic()

    def spend(self, count: int) -> None:
        self._due = max(self._due, time.monotonic()) + count / self._per_second
        time.sleep(max(self._due - time.monotonic(), 0))


def audit(
    cache: Address,
    store: Address,
    outcome: Outcome,
    *,
    samples: int,
    per_second: float,
    max_staleness_s: float,
    match: bytes | None = None,
    show: Callable[[int], None] = lambda _done: None,
) -> None:
    """Compare until there are so many samples; `show` is told how many there are.

    Args:
        cache, store: who is asked; each with its own login.
        outcome: where it is counted, so that an audit that breaks off has said something.
        samples: how many answers of the cache to compare, 1 or more.
        per_second: at most so many of them a second, so that nobody suffers.
        max_staleness_s: how long an answer of the cache may be old, in seconds.
        match: a pattern of `SCAN` that keys have to match (every key).

    Raises:
        CacheeError: one of the two cannot be asked, or the store has no key to compare.
    """
    pace = _Pace(per_second)
    with _login(cache) as near, _login(store) as far:
        while outcome.samples < samples:
            before = outcome.samples
            for keys in _all_keys(far, match):
                done = outcome.samples
                for at in range(0, len(keys), BATCH):
                    _compare(near, far, keys[at : at + BATCH], outcome, max_staleness_s)
                    show(outcome.samples)
                # Looking at so many keys is a burden, however few of them match.
                scanned = (BATCH if match is None else MATCHED_BATCH) // BATCH
                pace.spend(max(outcome.samples - done, scanned))
                if outcome.samples >= samples:
                    break
            if outcome.samples == before:
                which = f"database {store.database}" if match is None else ascii(match)[1:]
                raise CacheeError(f"{store.shown} has no key to compare in {which}")


def _login(address: Address) -> Server:
    try:
        server = connect(address, TIMEOUT_S, binary=True)
    except (OSError, UnicodeError) as error:
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


def _all_keys(store: Server, match: bytes | None) -> Iterator[list[bytes]]:
    """Once through the keys, by `SCAN`."""
    cursor = b"0"
    while True:
        words: list[str | bytes] = ["SCAN", cursor, "COUNT", str(BATCH)]
        if match is not None:
            words = ["SCAN", cursor, "MATCH", match, "COUNT", str(MATCHED_BATCH)]
        reply = _ask(store, [words])[0]
        if isinstance(reply, ErrorReply):
            raise CacheeError(f"{store.address.shown}: SCAN: {reply}")
        cursor, keys = reply
        yield keys
        if cursor == b"0":
            return


def _compare(
    cache: Server, store: Server, keys: list[bytes], outcome: Outcome, max_staleness_s: float
) -> None:
    wanted = _reads(store, keys)
    outcome.skipped += len(keys) - len(wanted)
    before = _values(store, wanted)
    answers = [_values(cache, wanted) for _ in range(2)]
    answered = time.monotonic()
    after = _values(store, wanted)
    suspects: list[_Suspect] = []
    for at, read in enumerate(wanted):
        if isinstance(before[at], ErrorReply):
            outcome.skipped += 1
            continue
        for answer in (answers[0][at], answers[1][at]):
            outcome.samples += 1
            if answer in (before[at], after[at]):
                outcome.equal += 1
            elif isinstance(answer, ErrorReply):
                outcome.errors += 1
            else:
                suspects.append(_Suspect(read, answer, before[at] != after[at]))
    for suspect, end, age_s in _ends(cache, store, suspects, answered, max_staleness_s):
        if end == "wrong":
            outcome.wrong += 1
            outcome.wrong_keys[NAMED_MAX - 1 :] = []
            outcome.wrong_keys.append(ascii(suspect.read.key)[2:-1])
        elif end == "unknown" or suspect.has_changed:
            outcome.changed += 1
        else:
            outcome.late += 1
            outcome.late_s_max = max(outcome.late_s_max, age_s)


def _ends(
    cache: Server,
    store: Server,
    suspects: list[_Suspect],
    answered: float,
    max_staleness_s: float,
) -> Iterator[tuple[_Suspect, Literal["gone", "unknown", "wrong"], float]]:
    """How each answer ends, and for how many seconds it was given."""
    while suspects:
        age_s = time.monotonic() - answered
        reads = [suspect.read for suspect in suspects]
        given, held = _values(cache, reads), _values(store, reads)
        left: list[_Suspect] = []
        for suspect, now_given, now_held in zip(suspects, given, held, strict=True):
            if now_held == suspect.answer or isinstance(now_held, ErrorReply):
                yield suspect, "unknown", age_s
            elif now_given != suspect.answer:
                yield suspect, "gone", age_s
            elif age_s > max_staleness_s:
                yield suspect, "wrong", age_s
            else:
                left.append(suspect)
        suspects = left
        if suspects:
            time.sleep(POLL_S)


def _reads(store: Server, keys: list[bytes]) -> list[_Read]:
    """How to read those that can be compared."""
    if not keys:
        return []
    kinds = _ask(store, [("TYPE", key) for key in keys])
    known = [(kind, key) for kind, key in zip(kinds, keys, strict=True) if kind in _READS]
    sizes = _ask(store, [(_SIZES[kind][0], key) for kind, key in known])
    return [
        _Read(_READS[kind][0], key, _READS[kind][1:])
        for (kind, key), size in zip(known, sizes, strict=True)
        if isinstance(size, int) and size <= _SIZES[kind][1]
    ]


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
