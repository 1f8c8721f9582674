"""Contenders in processes of their own, measured in turn: round by round, each gets its share.

Problem: the machine's speed swings by half within seconds, cachee patches the client classes of the
whole process, and one contender's garbage or type feedback slows the next one in the same process.
Idea: every contender lives in its own worker from start to end; the parent gives each a short
share of time in every round, so a slow second hits all alike, and reports medians over rounds,
minima over chunks and the ratio to a plain dict asked in the same worker a moment earlier (paired,
so most of the noise divides out). The garbage collector is off inside workers, as in timeit.
Cost: start-up of a process per contender. Rejected: one process (see above); pinning (the kernel
moves the server and the link's thread as it would in production; recorded as unpinned).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import multiprocessing
import operator
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from benchmarks.loops import Timed
from benchmarks.servers import Server, Work

PREPARE_TIMEOUT_S = 120
ROUND_TIMEOUT_S = 60
LEAST_CHUNKS = 2
MOST_CHUNKS = 2_000


@dataclass(frozen=True)
class Setting:
    """What a worker is told about the run."""

    port: int
    path: str
    quick: bool


@dataclass
class Course:
    """One contender on one workload: lists of items, and the loop that is timed over a list.

    `before` runs untimed on each list and gives the list to use; `base` is the plain-dict loop.
    """

    timed: Timed
    batches: list[list]
    operations_per_item: int = 1
    before: Callable[[list], list] | None = None
    base: Timed | None = None
    turn: Iterator[int] = field(default_factory=itertools.count)
    latest_length: int = 0

    def chunk(self) -> tuple[float, float | None]:
        """Nanoseconds per operation of the next list, and of the dict on another list."""
        at = next(self.turn)
        base = None
        if self.base:
            items = self._items(at + len(self.batches) // 2)
            base = self.base(items) / len(items) / self.operations_per_item
        items = self._items(at)
        self.latest_length = len(items)
        return self.timed(items) / len(items) / self.operations_per_item, base

    def _items(self, at: int) -> list:
        items = self.batches[at % len(self.batches)]
        return self.before(items) if self.before else items


Prepare = Callable[[Setting], contextlib.AbstractContextManager[dict[str, Course]]]


@dataclass(frozen=True)
class Contender:
    """A name for the table, how to set it up in a worker, and what it is made of."""

    name: str
    prepare: Prepare
    distributions: tuple[str, ...] = ()
    note: str = ""


# How the rows of a contest are shown: heading, field, unit.
COLUMNS = (
    ("", "contender", ""),
    ("workload", "workload", ""),
    ("median, µs", "median_ns", "µs"),
    ("least, µs", "min_ns", "µs"),
    ("dict beside it, µs", "dict_median_ns", "µs"),
    ("x dict", "ratio_to_dict", "x"),
    ("x dict, least", "ratio_of_least", "x"),
    ("server commands per operation", "server_calls_per_operation", "n"),
)


class Session:
    """One run: the server, how long to measure, and the workers alive now."""

    def __init__(self, server: Server, *, quick: bool) -> None:
        self.server = server
        self.quick = quick
        self.rounds = 4 if quick else 15
        self.share_ns = 20_000_000 if quick else 50_000_000
        self.setting = Setting(port=server.port, path=server.path, quick=quick)
        server.work()
        # What asking the server for its counters adds to them.
        before = server.work()
        self.asking = Work(*map(operator.sub, server.work(), before))

    def contest(self, module: str, contenders: list[Contender]) -> list[dict]:
        """Rows for all contenders over all their workloads, failures included as rows."""
        workers = [Worker(module, contender, self.setting) for contender in contenders]
        try:
            for worker in workers:
                worker.settle()
            for _ in range(self.rounds):
                for worker in workers:
                    for workload in worker.workloads:
                        worker.share(workload, self)
            return [row for worker in workers for row in worker.rows()]
        finally:
            for worker in workers:
                worker.end()


class Worker:
    """The parent's side of one contender's process."""

    def __init__(self, module: str, contender: Contender, setting: Setting) -> None:
        self.contender = contender
        self.workloads: list[str] = []
        self.failure = ""
        self.shares: dict[str, list[dict]] = {}
        context = multiprocessing.get_context("spawn")
        self.pipe, inside = context.Pipe()
        arguments = (inside, module, contender.name, setting)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        inside.close()

    def settle(self) -> None:
        """Wait until the contender is loaded and filled."""
        answer = self._answer(PREPARE_TIMEOUT_S)
        if not self.failure:
            self.workloads = answer["workloads"]
            self.shares = {workload: [] for workload in self.workloads}

    def share(self, workload: str, session: Session) -> None:
        """One round of this contender on one workload, with what the server was asked meanwhile."""
        if self.failure:
            return
        self._send(("warm", workload, 0))
        self._answer(ROUND_TIMEOUT_S)
        before = session.server.work()
        self._send(("round", workload, session.share_ns))
        share = self._answer(ROUND_TIMEOUT_S)
        if self.failure:
            return
        done = map(operator.sub, session.server.work(), before)
        share["server"] = tuple(map(operator.sub, done, session.asking))
        self.shares[workload].append(share)

    def rows(self) -> list[dict]:
        """What was measured, one row a workload; one row with the reason where it failed."""
        name = {"contender": self.contender.name, "note": self.contender.note}
        if self.failure:
            return [{**name, "failed": self.failure}]
        return [
            {**name, "workload": load, **_summary(shares)} for load, shares in self.shares.items()
        ]

    def end(self) -> None:
        """Stop the process."""
        with contextlib.suppress(OSError):
            self.pipe.send(("end", "", 0))
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()

    def _send(self, words: tuple) -> None:
        if not self.failure:
            with contextlib.suppress(OSError):
                self.pipe.send(words)

    def _answer(self, timeout_s: float) -> dict:
        if self.failure:
            return {}
        try:
            answer = self.pipe.recv() if self.pipe.poll(timeout_s) else {"failed": "no answer"}
        except (EOFError, OSError):
            answer = {"failed": f"its process ended with code {self.process.exitcode}"}
        self.failure = answer.get("failed", "")
        if self.failure:
            self.process.kill()
        return answer


def _summary(shares: list[dict]) -> dict:
    medians = [statistics.median(share["ns"]) for share in shares]
    minima = [min(share["ns"]) for share in shares]
    operations = sum(share["operations"] for share in shares)
    row = {
        "median_ns": statistics.median(medians),
        "min_ns": min(minima),
        "spread": [min(medians), max(medians)],
        "operations": operations,
        "server_calls_per_operation": sum(s["server"][0] for s in shares) / operations,
        "server_reads_per_operation": sum(s["server"][1] for s in shares) / operations,
        "server_cpu_ns_per_operation": sum(s["server"][2] for s in shares) / operations,
        "rounds_ns": medians,
    }
    if all(share["base"] for share in shares):
        bases = [statistics.median(share["base"]) for share in shares]
        row["dict_median_ns"] = statistics.median(bases)
        row["dict_min_ns"] = min(min(share["base"]) for share in shares)
        row["ratio_to_dict"] = statistics.median(
            median / base for median, base in zip(medians, bases, strict=True)
        )
        row["ratio_of_least"] = row["min_ns"] / row["dict_min_ns"]
    return row


def _serve(pipe: Connection, module: str, name: str, setting: Setting) -> None:
    try:
        figure = importlib.import_module(module)
        contender = next(c for c in figure.CONTENDERS if c.name == name)
        with contender.prepare(setting) as courses:
            gc.collect()
            gc.freeze()
            gc.disable()
            pipe.send({"workloads": list(courses)})
            while True:
                order, workload, share_ns = pipe.recv()
                if order == "end":
                    return
                pipe.send(_share(courses[workload], share_ns))
    except EOFError:
        return
    except BaseException as error:  # noqa: BLE001 - a contender's failure is a result, not ours
        lines = traceback.format_exception_only(error)
        with contextlib.suppress(OSError):
            pipe.send({"failed": lines[-1].strip(), "trace": traceback.format_exc()})


def _share(course: Course, share_ns: int) -> dict:
    """Chunks until the share is used; with a share of 0, the warm-up, one untimed chunk."""
    values, bases = [], []
    deadline = time.perf_counter_ns() + share_ns
    items = 0
    while True:
        value, base = course.chunk()
        items += course.latest_length
        values.append(value)
        if base is not None:
            bases.append(base)
        if share_ns == 0 or len(values) >= MOST_CHUNKS:
            break
        if len(values) >= LEAST_CHUNKS and time.perf_counter_ns() > deadline:
            break
    return {"ns": values, "base": bases, "operations": items * course.operations_per_item}
