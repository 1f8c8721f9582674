"""Everybody in turn, round by round, in one run.

The problem: the server, the proxy and the load share the machine, whose speed swings by half within
seconds. The idea: for each case all contenders are up, each is given a short share of time in every
round, so that a slow second hits all alike, and medians over rounds are compared. The closed loop
says what a contender can do and what it costs in CPU; the open loop, at half of what the server
itself managed, says how long an answer takes when nobody is at the limit (to a far server at a low
rate, where the delay and nothing else is what an answer takes). CPU is the kernel's own
count of the nanoseconds of every thread. Cost: start-up of a process a contender and route.
Rejected: pinning (the kernel moves them as it would in production), one contender after the other.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cachee import embedded
from cachee._core import __version__, generate_load
from cachee.bench.cases import CLIENTS, MGET_KEYS, READ_SHARE, Case, Route, all_cases
from cachee.bench.contenders import (
    DIRECT,
    AbsentError,
    Contender,
    Running,
    all_contenders,
    free_port,
    started,
)
from cachee.bench.server import Server, cpu_ns

# Every key is asked for before hits are measured: more commands than keys, many at once.
WARM_UP_S = 0.3
WARM_UP_PIPELINE = 64
MEDIANS = (
    "throughput_per_s",
    "latency_us_p50",
    "latency_us_p90",
    "latency_us_p99",
    "latency_us_p999",
    "latency_us_max",
    "server_cpu_us",
    "proxy_cpu_us",
    "load_cpu_us",
    "server_commands_per_operation",
)
Show = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """How long, what and whom: how names of cases begin, and what is in those of contenders."""

    rounds: int = 5
    seconds: float = 1.0
    threads: int = 1
    only: tuple[str, ...] = ()
    among: tuple[str, ...] = ()

    def cases(self) -> list[Case]:
        """The cases that are asked for."""
        return [case for case in all_cases() if _is_like(case.name, [f"{g}*" for g in self.only])]

    def contenders(self) -> list[Contender]:
        """The contenders that are asked for, and the server itself."""
        globs = [f"*{glob}*" for glob in self.among]
        return [
            contender
            for contender in all_contenders()
            if contender.name == DIRECT or _is_like(contender.name, globs)
        ]


def _is_like(name: str, globs: list[str]) -> bool:
    return not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)


@dataclass
class Row:
    """One contender on one case, in the closed or the open loop."""

    contender: str
    case: Case
    rate_per_s: float | None
    note: str = ""
    rounds: list[dict[str, float]] = field(default_factory=list)
    failed: str = ""

    def median(self, name: str) -> float | None:
        """The median over rounds of one of MEDIANS; None where it failed or has no such figure."""
        values = [round_[name] for round_ in self.rounds if name in round_]
        return statistics.median(values) if values and not self.failed else None


@dataclass(frozen=True)
class Result:
    """All rows, and what they were measured on."""

    settings: Settings
    rows: list[Row]
    machine: dict[str, object]

    def row(self, contender: str, case: Case, *, in_time: bool = False) -> Row | None:
        """The row of a contender on a case, in the closed loop or the open one."""
        for found in self.rows:
            same = found.contender == contender and found.case == case
            if same and (found.rate_per_s is not None) == in_time:
                return found
        return None


@dataclass(frozen=True)
class Standing:
    """A contender that is up, or why it is not."""

    contender: Contender
    running: Running | None
    reason: str = ""


def measure(settings: Settings, show: Show) -> Result:
    """All cases that are asked for, on an embedded server."""
    cases = settings.cases()
    routes = list(dict.fromkeys(case.route for case in cases))
    rows: list[Row] = []
    before = os.getloadavg()[0]
    with embedded.valkey(port=free_port()) as valkey:
        run = _Run(settings, Server(valkey), show, _shares(cases, settings), rows)
        for route in routes:
            show(f"starting: {route.name}", 0, 0)
            with contextlib.ExitStack() as stack:
                contenders = [_stand(stack, each, route, valkey) for each in settings.contenders()]
                for case in cases:
                    if case.route == route:
                        run.case(case, contenders)
        machine = _machine(before) | {"server": f"Valkey {valkey.version}"}
    return Result(settings, rows, machine)


def _stand(
    stack: contextlib.ExitStack, contender: Contender, route: Route, valkey: embedded.ValkeyServer
) -> Standing:
    try:
        return Standing(contender, stack.enter_context(started(contender, route, valkey)))
    except AbsentError as error:
        return Standing(contender, None, str(error))


def _shares(cases: Sequence[Case], settings: Settings) -> int:
    """How many shares of time there are for the progress bar, if everybody is there."""
    each = settings.rounds * len(settings.contenders())
    return sum(each * (2 if case.in_time else 1) for case in cases)


class _Run:
    """One run: the server, the rows so far, and how far it is."""

    def __init__(
        self, settings: Settings, server: Server, show: Show, shares: int, rows: list[Row]
    ) -> None:
        self._settings = settings
        self._server = server
        self._show = show
        self._shares = shares
        self._rows = rows
        self._done = 0
        self._seed = 0
        self._filled: set[str] = set()

    def case(self, case: Case, contenders: Sequence[Standing]) -> None:
        """One case for everybody: the closed loop, then the open one at half the server's rate."""
        if case.prefix not in self._filled:
            self._filled.add(case.prefix)
            self._server.fill(case.prefix, case.keys, case.value_bytes)
        for standing in contenders:
            if standing.running and case.operation in ("get", "mget", "mixed"):
                with contextlib.suppress(OSError):
                    self._load(case, standing.running, warm_up=True)
        rows = self._contest(case, contenders, None)
        server = next(row.median("throughput_per_s") for row in rows if row.contender == DIRECT)
        if case.in_time and server:
            self._contest(case, contenders, case.rate_per_s(server))

    def _contest(
        self, case: Case, contenders: Sequence[Standing], rate_per_s: float | None
    ) -> list[Row]:
        rows = [
            Row(each.contender.name, case, rate_per_s, each.contender.note, failed=each.reason)
            for each in contenders
        ]
        for _ in range(self._settings.rounds):
            for row, standing in zip(rows, contenders, strict=True):
                self._show(case.name, self._done, self._shares)
                self._done += 1
                if row.failed or standing.running is None:
                    continue
                try:
                    row.rounds.append(self._load(case, standing.running, rate_per_s))
                except OSError as error:
                    row.failed = str(error)
        self._rows += rows
        return rows

    def _load(
        self,
        case: Case,
        running: Running,
        rate_per_s: float | None = None,
        *,
        warm_up: bool = False,
    ) -> dict[str, float]:
        """One share of time: the load's own figures, and what the others spent meanwhile."""
        self._seed += 1
        before = self._server.work(), cpu_ns(running.pid)
        load = generate_load(
            running.address,
            operation="get" if warm_up else case.operation,
            connections=CLIENTS,
            threads=self._settings.threads,
            pipeline=WARM_UP_PIPELINE if warm_up else case.pipeline,
            seconds=WARM_UP_S if warm_up else self._settings.seconds,
            rate_per_s=rate_per_s,
            keys=case.keys,
            value_bytes=case.value_bytes,
            read_share=READ_SHARE,
            mget_keys=MGET_KEYS,
            seed=self._seed,
            prefix=case.prefix,
            password=self._server.password,
        )
        after = self._server.work(), cpu_ns(running.pid)
        if load["unanswered"]:
            raise OSError("commands were without an answer 5 s after the last was sent")
        if load["errors"] or (load["nils"] > 0) != (case.operation == "missing"):
            raise OSError(f"wrong answers: {load['errors']:g} errors, {load['nils']:g} nils")
        operations = load["operations"]
        commands = (after[0].commands - before[0].commands) / operations
        figures = {
            **load,
            "throughput_per_s": operations / load["seconds"],
            "load_cpu_us": load["cpu_seconds"] / operations * 1e6,
            "server_cpu_us": (after[0].cpu_ns - before[0].cpu_ns) / operations / 1e3,
            "server_commands_per_operation": commands,
        }
        if running.pid is not None:
            figures["proxy_cpu_us"] = (after[1] - before[1]) / operations / 1e3
        return figures


def _machine(load_before: float) -> dict[str, object]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
        "python": platform.python_version(),
        "cachee": __version__,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
