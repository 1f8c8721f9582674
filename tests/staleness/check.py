"""One run of the checker: server, relay, second process, faults, and the report."""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness.relay_process import RelayProcess
from tests.harness.servers import Server
from tests.staleness.board import (
    KEYS,
    MAX_STALENESS_S,
    PROCESS_WRITER,
    Board,
    Checker,
    Report,
    kind_of,
)
from tests.staleness.faults import Faults
from tests.staleness.places import PLACES, SECOND_PROCESS, Counted, Place
from tests.staleness.work import Work

HIT_RATE_FLOOR = 0.8


@dataclass
class Outcome:
    """The whole run."""

    here: Report
    there: Report
    faults: list[tuple[float, str]]
    seconds: float
    seed: int

    @property
    def violations(self) -> list[str]:
        return [
            f"{text}{self._fault_before(moment)}"
            for moment, text in self.here.violations + self.there.violations
        ]

    def _fault_before(self, moment: float) -> str:
        earlier = [(began, name) for began, name in self.faults if began <= moment]
        return f", {moment - earlier[-1][0]:.3f} s after: {earlier[-1][1]}" if earlier else ""

    @property
    def kinds(self) -> set[str]:
        return set(self.here.kinds) | set(self.there.kinds)

    @property
    def hit_rate(self) -> float:
        """The lower one of the processes that have an L1."""
        both = (self.here, self.there)
        return min(each.hit_rate for each in both if each is self.here or each.hits + each.misses)

    @property
    def ahead(self) -> int:
        """Reads sent ahead of those who asked."""
        return self.here.ahead + self.there.ahead

    def __str__(self) -> str:
        both = (self.here, self.there)
        counted = Counter(name for _, name in self.faults)
        faults = ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
        alone = not self.there.hits + self.there.misses
        second = " for all" if alone else f", second process {self.there.hit_rate:.2%}"
        lines = [
            f"staleness checker, {self.seconds:.0f} s, seed {self.seed}",
            f"  reads       {sum(each.reads for each in both)}",
            f"  hits        {sum(each.hits for each in both)}",
            f"  hit rate    {self.here.hit_rate:.2%}{second}",
            f"  read ahead  {self.ahead}, asked for {sum(each.ahead_used for each in both)}",
            f"  writes      {sum(each.writes for each in both)}",
            f"  failures    {sum(each.failures for each in both)}  (calls the faults ended)",
            f"  faults      {len(self.faults)}  {faults}",
            f"  worst age   {max(each.worst_s for each in both):.3f} s  (bound {MAX_STALENESS_S})",
            f"  violations  {sum(sum(each.kinds.values()) for each in both)}",
        ]
        return "\n".join(lines + [f"    {each}" for each in self.violations])


def _counted(report: Report, place: Place, before: Counted) -> Report:
    for name, now, then in zip(before._fields, place.counted(), before, strict=True):
        setattr(report, name, now - then)
    return report


@contextlib.contextmanager
def _second_process(
    port: int, board: Path, seed: int, through: str
) -> Iterator["subprocess.Popen[str]"]:
    command = [
        sys.executable,
        "-m",
        "tests.staleness",
        "--worker",
        str(port),
        str(board),
        str(seed),
        through,
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()


def _report_of(process: "subprocess.Popen[str]") -> Report:
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, "the second process failed"
    content = json.loads(text)
    return Report(**{**content, "kinds": Counter(content["kinds"])})


@dataclass(frozen=True)
class Plan:
    """What a run is made of; `stop_at` names what to end it for."""

    seconds: float
    seed: int
    faults: bool = True
    stop_at: frozenset[str] = frozenset()
    through: str = "process"
    every_connection: bool = False


def check(
    plan: Plan,
    mutate: Callable[[RelayProcess], contextlib.AbstractContextManager[None]] | None = None,
) -> Outcome:
    """One run. `mutate` breaks something on purpose."""
    # Written before it is acknowledged: with the default, a write waits for an fsync under way and
    # is acknowledged meanwhile, so that a slow disk and a kill lose it (at the server itself).
    options = {"appendonly": "yes", "appendfsync": "no", "auto-aof-rewrite-percentage": "0"}
    server, stop = Server(options=options), threading.Event()
    with tempfile.TemporaryDirectory(prefix="cachee-") as directory:
        path = Path(directory) / "board"
        board = Board(path, create=True)
        server.start()
        relay = RelayProcess(server.address)
        broken = mutate(relay) if mutate is not None else contextlib.nullcontext()
        try:
            _load(server, board)
            with broken, PLACES[plan.through](relay.port) as place:
                return _run(plan, place, server, relay, board, path, stop)
        finally:
            stop.set()
            relay.close()
            server.close()
            board.close()


def _load(server: Server, board: Board) -> None:
    """Version 1 of every key."""
    for key in range(KEYS):
        if kind_of(key) == "hash":
            server.call("HSET", f"k{key}", "v", 1)
        else:
            server.call("SET", f"k{key}", 1)
        board.note(key, 1, time.monotonic(), 1e12)


def _run(
    plan: Plan,
    place: Place,
    server: Server,
    relay: RelayProcess,
    board: Board,
    path: Path,
    stop: threading.Event,
) -> Outcome:
    checker = Checker(board, stop, plan.stop_at, place.shared_writers)
    before, began = place.counted(), time.monotonic()
    with _second_process(place.port, path, plan.seed, plan.through) as process:
        work = Work(place, board, stop, checker, plan.seed)
        work.start(readers=3, writers=[0, 1], tasks=4, foreign=server)
        schedule = Faults(server, relay, stop, plan.seed, every_connection=plan.every_connection)
        if plan.faults:
            schedule.run(began + plan.seconds)
        else:
            stop.wait(plan.seconds)
        stop.set()
        work.join()
        there = _report_of(process)
    elapsed = time.monotonic() - began
    here = _counted(checker.report, place, before)
    return Outcome(here, there, schedule.done, elapsed, plan.seed)


def work_as_second_process(port: str, path: str, seed: str, through: str) -> None:
    """Reads and writes until standard input ends, then prints the report."""
    stop, board = threading.Event(), Board(Path(path))
    with SECOND_PROCESS[through](int(port)) as place:
        checker = Checker(board, stop, shared_writers=place.shared_writers)
        before = place.counted()
        work = Work(place, board, stop, checker, int(seed) + 1)
        work.start(readers=2, writers=[PROCESS_WRITER])
        sys.stdin.read()
        stop.set()
        work.join()
        report = _counted(checker.report, place, before)
    print(json.dumps(report.__dict__))
