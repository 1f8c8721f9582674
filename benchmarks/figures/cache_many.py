"""Many keys in one call, where a batch can hide memory latency that a loop cannot."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from benchmarks import caches, workloads
from benchmarks.contest import COLUMNS as CONTEST_COLUMNS
from benchmarks.contest import Contender, Course, Session, Setting
from benchmarks.loops import sync_loop
from benchmarks.records import Check, at_most, field, row

NAME = "cache_many"
TITLE = "64 keys in one call: `cache.get_many(keys)`"
METHOD = (
    "Time per key. The dict and the caches without a batch call are read in a list comprehension, "
    "`[d.get(k) for k in keys]`; so is the dict beside each."
)
BATCH = 64
COLUMNS = CONTEST_COLUMNS[:-1]


@contextlib.contextmanager
def _cache(kind: caches.Kind, statement: str, setting: Setting) -> Iterator[dict[str, Course]]:  # noqa: ARG001 - same shape as every contender
    courses = {}
    for wanted in ((workloads.HOT,), (workloads.ZIPF, workloads.UNIFORM)):
        names = workloads.keys(workloads.held(wanted[0]))
        plain = {name: workloads.value(index) for index, name in enumerate(names)}
        cache = kind.make(2 * len(names))
        kind.fill(cache, plain)
        timed = sync_loop(statement, c=cache)
        base = sync_loop("[d.get(j) for j in k]", d=plain)
        for workload in wanted:
            batches = _batches(workload, names)
            courses[workload] = Course(
                timed=timed, base=base, batches=batches, operations_per_item=BATCH
            )
    yield courses


def _batches(workload: str, names: list[str]) -> list[list[list[str]]]:
    return [
        [batch for batch in workloads.split(chunk, BATCH) if len(batch) == BATCH]
        for chunk in workloads.chunks(workload, names)
    ]


def _contender(kind: caches.Kind) -> Contender:
    statement = "[c.get(j) for j in k]"
    if kind.name == caches.CACHEE:
        statement = "c.get_many(k)"
    return Contender(kind.name, functools.partial(_cache, kind, statement), kind.distributions)


TAKE_PART = (caches.CACHEE, "dict", "cachebox.LRUCache", caches.TTL, "moka_py.Moka")
CONTENDERS = [_contender(kind) for kind in caches.KINDS if kind.name in TAKE_PART]


def run(session: Session) -> dict:
    """Rows for every cache over every workload."""
    return {"rows": session.contest(__name__, CONTENDERS)}


def checks(result: dict) -> list[Check]:
    """Per key faster than a dict in a loop."""
    return [
        at_most(
            f"`Cache.get_many` of 64 over a dict in a loop, per key, {workload}",
            field(row(result["rows"], caches.CACHEE, workload), "ratio_to_dict"),
            1.0,
            "x",
        )
        for workload in (workloads.HOT, workloads.ZIPF, workloads.UNIFORM)
    ]
