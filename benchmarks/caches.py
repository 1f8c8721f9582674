"""In-process caches as contenders: cachee.Cache, its peers and the two of the standard library.

Each is made with room for all keys and, where it can, a time to live, since that is how an
application would use it. A lock is added where the package leaves it to the caller.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

LIFETIME_S = 36_000
ROOM_BYTES = 1 << 30
NAMES = {"timedelta": timedelta}


@dataclass(frozen=True)
class Kind:
    """How to make one cache for a number of entries, and how to read, write and fill it.

    `statement` reads key `k` of cache `c`; `store` writes value `v` under `k`.
    """

    name: str
    distributions: tuple[str, ...]
    make: Callable[[int], object]
    statement: str = "c.get(k)"
    store: str = "c[k] = v"
    note: str = ""

    def filler(self) -> Callable[[object, object, object], object]:
        """A function that stores one value: cache, key, value."""
        scope: dict = dict(NAMES)
        exec(f"def store(c, k, v): {self.store}", scope)
        return scope["store"]

    def fill(self, cache: object, items: dict) -> None:
        """Store all items."""
        store = self.filler()
        for key, value in items.items():
            store(cache, key, value)

    def hit(self, cache: object, key: object) -> object:
        """The value of a key that is there."""
        found = eval(self.statement, {"c": cache, "k": key})
        return found[0] if isinstance(found, tuple) else found


def _cachee(entries: int, bytes_per_entry: int | None = None) -> object:
    import cachee

    room = ROOM_BYTES if bytes_per_entry is None else entries * bytes_per_entry
    return cachee.Cache(max_memory=room, ttl=LIFETIME_S)


def _lru_cache(entries: int) -> object:
    """A function that is a lookup; filled by calling it, so it is given what to answer."""
    answers: dict = {}

    @functools.lru_cache(maxsize=entries)
    def get(key: object) -> object:
        return answers[key]

    get.answers = answers
    return get


def _cachebox(name: str, *more: object) -> Callable[[int], object]:
    def make(entries: int) -> object:
        import cachebox

        return getattr(cachebox, name)(entries, *more)

    return make


class _Locked:
    """What cachetools' documentation asks of callers with threads."""

    def __init__(self, cache: object) -> None:
        self.cache = cache
        self.lock = threading.Lock()

    def get(self, key: object) -> object:
        with self.lock:
            return self.cache.get(key)

    def __setitem__(self, key: object, value: object) -> None:
        with self.lock:
            self.cache[key] = value


def _cachetools_ttl(entries: int) -> object:
    import cachetools

    return _Locked(cachetools.TTLCache(entries, LIFETIME_S))


def _cachetools_lru(entries: int) -> object:
    import cachetools

    return _Locked(cachetools.LRUCache(entries))


def _moka(entries: int) -> object:
    import moka_py

    return moka_py.Moka(entries, ttl=LIFETIME_S)


def _theine(entries: int) -> object:
    import theine

    return theine.Cache(entries)


CACHEE = "cachee.Cache"
TTL = "cachebox.TTLCache"
VTTL = "cachebox.VTTLCache"
KINDS = [
    Kind(CACHEE, ("cachee",), _cachee, store="c.set(k, v)"),
    Kind("dict", (), lambda _: {}, note="no limit, no time to live"),
    Kind(
        "functools.lru_cache",
        (),
        _lru_cache,
        statement="c(k)",
        store="c.answers[k] = v; c(k)",
        note="no time to live",
    ),
    Kind("cachebox.LRUCache", ("cachebox",), _cachebox("LRUCache"), note="no time to live"),
    Kind(TTL, ("cachebox",), _cachebox("TTLCache", LIFETIME_S)),
    Kind(
        VTTL,
        ("cachebox",),
        _cachebox("VTTLCache"),
        store=f"c.insert(k, v, {LIFETIME_S})",
    ),
    Kind("cachetools.LRUCache + Lock", ("cachetools",), _cachetools_lru, note="no time to live"),
    Kind("cachetools.TTLCache + Lock", ("cachetools",), _cachetools_ttl),
    Kind("moka_py.Moka", ("moka-py",), _moka, store="c.set(k, v)"),
    Kind(
        "theine.Cache",
        ("theine",),
        _theine,
        store=f"c.set(k, v, timedelta(seconds={LIFETIME_S}))",
    ),
]
