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
from typing import Any

import cachee
from tests.harness.relay_process import RelayProcess
from tests.harness.servers import Server
from tests.staleness.board import KEYS, MAX_STALENESS_S, Board, Checker, Report, kind_of
from tests.staleness.faults import Faults
from tests.staleness.work import PROCESS_WRITER, Work

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
        return min(self.here.hit_rate, self.there.hit_rate)

    def __str__(self) -> str:
        both = (self.here, self.there)
        counted = Counter(name for _, name in self.faults)
        faults = ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
        lines = [
            f"staleness checker, {self.seconds:.0f} s, seed {self.seed}",
            f"  reads       {sum(each.reads for each in both)}",
            f"  hits        {sum(each.hits for each in both)}",
            f"  hit rate    {self.here.hit_rate:.2%}, second process {self.there.hit_rate:.2%}",
            f"  writes      {sum(each.writes for each in both)}",
            f"  failures    {sum(each.failures for each in both)}  (calls the faults ended)",
            f"  faults      {len(self.faults)}  {faults}",
            f"  worst age   {max(each.worst_s for each in both):.3f} s  (bound {MAX_STALENESS_S})",
            f"  violations  {sum(sum(each.kinds.values()) for each in both)}",
        ]
        return "\n".join(lines + [f"    {each}" for each in self.violations])


def _counted(report: Report, before: Any) -> Report:
    after = cachee.stats()
    report.hits, report.misses = after.hits - before.hits, after.misses - before.misses
    return report


@contextlib.contextmanager
def _second_process(port: int, board: Path, seed: int) -> Iterator["subprocess.Popen[str]"]:
    command = [
        sys.executable,
        "-m",
        "tests.staleness",
        "--worker",
        str(port),
        str(board),
        str(seed),
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


def check(
    seconds: float,
    seed: int,
    *,
    faults: bool = True,
    stop_at: frozenset[str] = frozenset(),
    mutate: Callable[[RelayProcess], contextlib.AbstractContextManager[None]] | None = None,
) -> Outcome:
    """One run. `mutate` breaks something on purpose, `stop_at` names what to end the run for."""
    options = {"appendonly": "yes", "auto-aof-rewrite-percentage": "0"}
    server, stop = Server(options=options), threading.Event()
    with tempfile.TemporaryDirectory(prefix="cachee-") as directory:
        path = Path(directory) / "board"
        board = Board(path, create=True)
        server.start()
        relay = RelayProcess(server.address)
        broken = mutate(relay) if mutate is not None else contextlib.nullcontext()
        try:
            _load(server, board)
            with broken, _installed():
                return _run(server, relay, board, path, stop, seconds, seed, faults, stop_at)
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


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    cachee.install(max_staleness=f"{MAX_STALENESS_S * 1000:.0f}ms")
    try:
        yield
    finally:
        cachee.uninstall()


def _run(
    server: Server,
    relay: RelayProcess,
    board: Board,
    path: Path,
    stop: threading.Event,
    seconds: float,
    seed: int,
    faults: bool,
    stop_at: frozenset[str],
) -> Outcome:
    checker = Checker(board, stop, stop_at)
    before, began = cachee.stats(), time.monotonic()
    with _second_process(relay.port, path, seed) as process:
        work = Work(relay.port, board, stop, checker, seed)
        work.start(readers=3, writers=[0, 1], tasks=4, foreign=server)
        schedule = Faults(server, relay, stop, seed)
        if faults:
            schedule.run(began + seconds)
        else:
            stop.wait(seconds)
        stop.set()
        work.join()
        there = _report_of(process)
    elapsed = time.monotonic() - began
    return Outcome(_counted(checker.report, before), there, schedule.done, elapsed, seed)


def work_as_second_process(port: str, path: str, seed: str) -> None:
    """Reads and writes until standard input ends, then prints the report."""
    stop, board = threading.Event(), Board(Path(path))
    checker = Checker(board, stop)
    with _installed():
        before = cachee.stats()
        work = Work(int(port), board, stop, checker, int(seed) + 1)
        work.start(readers=2, writers=[PROCESS_WRITER])
        sys.stdin.read()
        stop.set()
        work.join()
        report = _counted(checker.report, before)
    print(json.dumps(report.__dict__))
