"""Storing and evicting: overwrite a present key, and get-or-set in a cache a tenth of the keys."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from benchmarks import caches, workloads
from benchmarks.contest import COLUMNS as CONTEST_COLUMNS
from benchmarks.contest import Contender, Course, Session, Setting
from benchmarks.loops import sync_loop
from benchmarks.records import Check, at_least, at_most, quotient, row

NAME = "cache_fill"
TITLE = "The cache by itself: storing and evicting"
METHOD = (
    "*Replace*: `cache[k] = v` of a present key, 1 000 keys; the dict beside it does the same. "
    "*Get or set*: Zipf .99 over 100 000 keys in a cache of 10 000 entries, stored at each miss; "
    "time per access and share of hits in the second half of 200 000 accesses. cachee.Cache is "
    "bounded in bytes: its budget is that of 10 000 entries; the table says how many it held."
)
REPLACE, GET_OR_SET = "replace", "get or set, 10k of 100k"
ROOM = 10_000
COLUMNS = (*CONTEST_COLUMNS[:-1], ("hits", "hit_share", "%"), ("entries held", "entries", "n"))


@contextlib.contextmanager
def _cache(kind: caches.Kind, setting: Setting) -> Iterator[dict[str, Course]]:  # noqa: ARG001 - same shape as every contender
    names = workloads.keys(workloads.LARGE_KEYS)
    stored = kind.make(2 * workloads.HOT_KEYS)
    values = {name: workloads.value(index) for index, name in enumerate(names)}
    kind.fill(stored, {name: values[name] for name in names[: workloads.HOT_KEYS]})
    plain = dict.fromkeys(names[: workloads.HOT_KEYS])
    value = workloads.value(1)
    courses = {
        REPLACE: Course(
            timed=sync_loop(kind.store, c=stored, v=value, **caches.NAMES),
            base=sync_loop("d[k] = v", d=plain, v=value),
            batches=workloads.chunks(workloads.HOT, names),
        )
    }
    if kind.name == "functools.lru_cache":
        courses.clear()
    bounded = _bounded(kind)
    courses[GET_OR_SET] = Course(
        timed=_get_or_set(kind, bounded, values),
        base=sync_loop("if d.get(k) is None: d[k] = values[k]", d={}, values=values),
        batches=workloads.chunks(workloads.ZIPF, names),
    )
    yield courses


def _bounded(kind: caches.Kind) -> object:
    if kind.name != caches.CACHEE:
        return kind.make(ROOM)
    import cachee

    probe = cachee.Cache(max_memory=caches.ROOM_BYTES)
    for index, name in enumerate(workloads.keys(ROOM)):
        probe.set(name, workloads.value(index))
    return cachee.Cache(max_memory=probe.stats().weight_bytes, ttl=caches.LIFETIME_S)


def _get_or_set(kind: caches.Kind, cache: object, values: dict) -> Callable[[list], int]:
    """A miss pays for a call of the storing function, with every cache alike."""
    if kind.name == "functools.lru_cache":
        cache.answers.update(values)
        return sync_loop("c(k)", c=cache)
    found = "c.get(k)[1]" if kind.name == "theine.Cache" else "c.get(k) is not None"
    return sync_loop(
        f"{found} or store(c, k, values[k])", c=cache, values=values, store=kind.filler()
    )


def _hit_share(kind: caches.Kind, *, quick: bool) -> dict:
    """Share of hits of the second half of one drawn sequence, and entries held after it."""
    names = workloads.keys(workloads.LARGE_KEYS)
    drawn = workloads.chunks(workloads.ZIPF, names)[: 5 if quick else None]
    sequence = [key for chunk in drawn for key in chunk]
    half = len(sequence) // 2
    cache = _bounded(kind)
    values = {name: workloads.value(index) for index, name in enumerate(names)}
    if kind.name == "functools.lru_cache":
        cache.answers.update(values)
        for key in sequence[:half]:
            cache(key)
        before = cache.cache_info().hits
        for key in sequence[half:]:
            cache(key)
        info = cache.cache_info()
        return {"hit_share": (info.hits - before) / half, "entries": info.currsize}
    get = eval(f"lambda c, k: {kind.statement}")
    store = kind.filler()
    hits = 0
    for position, key in enumerate(sequence):
        found = get(cache, key)
        if found is None or (kind.name == "theine.Cache" and not found[1]):
            store(cache, key, values[key])
        else:
            hits += position >= half
    held = len(cache) if hasattr(cache, "__len__") else None
    return {"hit_share": hits / half, "entries": held}


CONTENDERS = [
    Contender(kind.name, functools.partial(_cache, kind), kind.distributions, kind.note)
    for kind in caches.KINDS
]


def run(session: Session) -> dict:
    """Rows for every cache, and the share of hits where it evicts."""
    rows = session.contest(__name__, CONTENDERS)
    for kind in caches.KINDS:
        measured = row(rows, kind.name, GET_OR_SET)
        if measured:
            measured.update(_hit_share(kind, quick=session.quick))
    return {"rows": rows}


def checks(result: dict) -> list[Check]:
    """Faster than cachebox's TTL cache at both, and no fewer hits than its LRU."""
    rows = result["rows"]
    found = []
    for workload in (REPLACE, GET_OR_SET):
        ratio = quotient(
            row(rows, caches.CACHEE, workload), row(rows, caches.TTL, workload), "ratio_to_dict"
        )
        found.append(
            at_most(f"`Cache` over {caches.TTL}, {workload}", ratio, 1.0, "x", stated=False)
        )
    ratio = quotient(
        row(rows, caches.CACHEE, GET_OR_SET),
        row(rows, "cachebox.LRUCache", GET_OR_SET),
        "hit_share",
    )
    found.append(at_least("share of hits over cachebox.LRUCache", ratio, 1.0, "x", stated=False))
    return found
