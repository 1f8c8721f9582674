"""A lookup in the cache by itself, beside the caches of the standard library and of PyPI."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from benchmarks import caches, workloads
from benchmarks.contest import COLUMNS as CONTEST_COLUMNS
from benchmarks.contest import Contender, Course, Session, Setting
from benchmarks.loops import sync_loop
from benchmarks.records import Check, at_most, field, quotient, row

NAME = "cache_get"
TITLE = "The cache by itself: `cache.get(k)`"
METHOD = (
    "1 000 or 100 000 entries of 16-byte keys and 100-byte values, room for all; the dict "
    "beside it holds the same keys and value objects and is read as `d.get(k)`. Time to live, "
    "eviction, lock and statistics are on where a package has them."
)
COLUMNS = CONTEST_COLUMNS[:-1]


@contextlib.contextmanager
def _cache(kind: caches.Kind, setting: Setting) -> Iterator[dict[str, Course]]:  # noqa: ARG001 - same shape as every contender
    courses = {}
    for wanted in ((workloads.HOT, workloads.FRESH), (workloads.ZIPF, workloads.UNIFORM)):
        names = workloads.keys(workloads.held(wanted[0]))
        plain = {name: workloads.value(index) for index, name in enumerate(names)}
        cache = kind.make(2 * len(names))
        kind.fill(cache, plain)
        assert kind.hit(cache, names[-1]) == plain[names[-1]], "a wrong answer"
        timed = sync_loop(kind.statement, c=cache)
        base = sync_loop("d.get(k)", d=plain)
        for workload in wanted:
            courses[workload] = Course(
                timed=timed,
                base=base,
                batches=workloads.chunks(workload, names),
                before=workloads.fresh if workload == workloads.FRESH else None,
            )
    yield courses


CONTENDERS = [
    Contender(kind.name, functools.partial(_cache, kind), kind.distributions, kind.note)
    for kind in caches.KINDS
]


def run(session: Session) -> dict:
    """Rows for every cache over every workload."""
    return {"rows": session.contest(__name__, CONTENDERS)}


def checks(result: dict) -> list[Check]:
    """Under cachebox's TTL caches; at most 1.5 dicts hot and 2 at 100 000 keys."""
    rows = result["rows"]
    found = []
    for workload, bound in ((workloads.HOT, 1.5), (workloads.ZIPF, 2.0)):
        ratio = field(row(rows, caches.CACHEE, workload), "ratio_to_dict")
        what = f"`Cache.get` over `dict.get`, {workload}"
        found.append(at_most(what, ratio, bound, "x"))
    for workload in (workloads.HOT, workloads.FRESH, workloads.ZIPF, workloads.UNIFORM):
        for rival in (caches.TTL, caches.VTTL):
            ratio = quotient(
                row(rows, caches.CACHEE, workload), row(rows, rival, workload), "ratio_to_dict"
            )
            what = f"`Cache.get` over {rival}, {workload}"
            found.append(at_most(what, ratio, 1.0, "x"))
    return found
