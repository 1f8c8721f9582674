"""The runs: the same application, the same requests, the same writers, without and with cachee.

Each run starts from freshly filled stores and a new application process. Its warm-up asks once for
every user (which fills what the application itself keeps in Redis, in both runs, and L1 in one of
them); then the measured requests follow, the same sequence in both. The writers run all the time,
and every answer, those of the warm-up included, goes to the checker. After the second run the
application is started twice more, with and without the snapshot it has left, and asked the measured
requests again until it is warm. A third run is a warm-up alone, without prediction: what the first
visit of a user costs then.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg
from redis import Redis

from cachee._warm_set import SAVE_FIRST_S
from cachee.demo import content, history, servers
from cachee.demo.checker import Verdict, check
from cachee.demo.load import Answer, ask_all
from cachee.demo.measurement import CACHEABLE_STAGES, Durations
from cachee.demo.restart import Restart, watch

BOUND_MS = 1000.0
WARM_UP_CONCURRENCY = 8
SNAPSHOT_POLL_S = 0.05
# The commands of the cacheable stages, as the server's own statistics call them.
READ_COMMANDS = ("get", "hgetall", "smembers")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """What the user chose."""

    rtt_ms: float
    requests: int
    seed: int
    users: int
    write_rate: float
    concurrency: int


@dataclass(frozen=True)
class L1Counts:
    """How often the application's L1 answered, as its process tells."""

    hits: int
    misses: int
    bypasses: int

    @property
    def hit_rate(self) -> float:
        """Hits of all reads, those that L1 would not answer included."""
        return self.hits / max(1, self.hits + self.misses + self.bypasses)

    def __sub__(self, earlier: L1Counts) -> L1Counts:
        return L1Counts(
            self.hits - earlier.hits,
            self.misses - earlier.misses,
            self.bypasses - earlier.bypasses,
        )


@dataclass(frozen=True)
class Phase:
    """What one phase of a run (warm-up, measured) was like."""

    requests: int
    took_s: float
    reads_asked: int
    reads_at_store: int
    l1: L1Counts | None


@dataclass(frozen=True)
class Run:
    """One of the two runs."""

    warm_up: Phase
    measured: Phase
    first_visits: Durations
    durations: Durations
    verdict: Verdict
    restarts: dict[str, Restart] = field(default_factory=dict)
    """With and without a snapshot; of the run with cachee only."""


@dataclass(frozen=True)
class Result:
    """The runs and the circumstances; `unpredicted` has first visits alone, and may be missing."""

    settings: Settings
    rtt_added_ms: dict[str, float]
    relay_late_us_p50: float
    relay_late_us_p99: float
    without: Run
    with_cachee: Run
    unpredicted: Run | None
    server_versions: dict[str, str]


def compare(settings: Settings, progress: Progress, prefix: Sequence[str] | None = None) -> Result:
    """Start everything, run, stop everything.

    `prefix` stands before the application's command line in the second run, in place of
    `cachee run --`; then no process is asked for its L1's statistics, and there is no third run.
    """
    progress("starting Valkey and PostgreSQL", 0, 0)
    with servers.stores() as stores:
        with servers.relay(stores) as relay:
            relay.add(settings.rtt_ms)
            added_ms = {store: relay.added_ms(store) for store in ("valkey", "postgres")}
            without = _run(settings, stores, relay, partial(progress, "without"), prefix=())
            with_cachee = _run(
                settings, stores, relay, partial(progress, "with cachee"), prefix=prefix
            )
            unpredicted = None
            if prefix is None:
                unpredicted = _run(
                    replace(settings, requests=0),
                    stores,
                    relay,
                    partial(progress, "without prediction"),
                    prefix=cachee_command("run", "--prefetch", "off", "--"),
                )
            relay.end()
        return Result(
            settings,
            added_ms,
            relay.late_us_p50,
            relay.late_us_p99,
            without,
            with_cachee,
            unpredicted,
            {"valkey": stores.valkey.version, "postgresql": stores.postgres.version},
        )


def cachee_command(*words: str) -> list[str]:
    """The command line of `cachee` in this environment."""
    return [sys.executable, "-m", "cachee", *words]


def _run(
    settings: Settings,
    stores: servers.Stores,
    relay: servers.Relay,
    progress: Callable[[int, int], None],
    *,
    prefix: Sequence[str] | None,
) -> Run:
    users = content.Users(settings.users)
    dice = random.Random(settings.seed)
    everyone = dice.sample(range(settings.users), settings.users)
    asked = users.draw(dice, settings.requests)
    whole = len(everyone) + len(asked)
    answers: list[Answer] = []
    late: list[Answer] = []

    def each(answer: Answer) -> None:
        answers.append(answer)
        progress(len(answers), whole)

    with Redis.from_url(stores.valkey.url) as redis:
        with psycopg.connect(stores.postgres.url, autocommit=True) as database:
            content.fill(redis, database, settings.users)
        filled = history.Commit(content.FIRST_REVISION, 0, time.monotonic_ns(), present=True)
        with tempfile.TemporaryDirectory(prefix="cachee-demo-") as directory:
            log, snapshot = Path(directory) / "commits", Path(directory) / "hot"
            restarts: dict[str, Restart] = {}
            command = cachee_command("run", "--snapshot", str(snapshot), "--")
            if prefix is not None:
                command = list(prefix)
            with servers.writers(stores, log, settings.users, settings.write_rate, settings.seed):
                with servers.application(command, relay) as application:
                    observer = _Observer(redis, application, has_l1=prefix is None)
                    port, crowd = application.port, max(WARM_UP_CONCURRENCY, settings.concurrency)
                    warm_up = observer.phase(answers, lambda: ask_all(port, everyone, crowd, each))
                    measured = observer.phase(
                        answers, lambda: ask_all(port, asked, settings.concurrency, each)
                    )
                    if measured.l1 is not None:
                        _wait_for(snapshot)
                if measured.l1 is not None:
                    again = asked[: len(asked) // 2]
                    restarts = {
                        name: _restart(settings, relay, measured.l1.hit_rate, again, flags, late)
                        for name, flags in (
                            ("with_snapshot", ("--snapshot", str(snapshot))),
                            ("without", ()),
                        )
                    }
            verdict = check(history.read(log, filled), [*answers, *late], BOUND_MS)
    first, later = Durations(answers[: len(everyone)]), Durations(answers[len(everyone) :])
    return Run(warm_up, measured, first, later, verdict, restarts)


def _wait_for(snapshot: Path) -> None:
    """The application may not be let to the end of its exit; a short run is over before the first
    time that it writes its names down."""
    until_s = time.monotonic() + 2 * SAVE_FIRST_S
    while not snapshot.exists() and time.monotonic() < until_s:
        time.sleep(SNAPSHOT_POLL_S)


def _restart(
    settings: Settings,
    relay: servers.Relay,
    steady_rate: float,
    asked: Sequence[int],
    flags: Sequence[str],
    answers: list[Answer],
) -> Restart:
    """How soon a new process of the application is warm; its answers are added to the others."""
    with servers.application(cachee_command("run", *flags, "--"), relay) as application:
        port, crowd = application.port, settings.concurrency
        load = partial(ask_all, port, asked, crowd, answers.append)
        return watch(application.pid, steady_rate, load)


class _Observer:
    """Counts from outside the application what its reads cost: at the store and in its L1."""

    def __init__(self, redis: Redis, application: servers.Application, *, has_l1: bool) -> None:
        self._redis = redis
        self._application = application
        self._has_l1 = has_l1

    def phase(self, answers: list[Answer], ask: Callable[[], None]) -> Phase:
        before, l1_before, answers_before = self._reads_at_store(), self._l1(), len(answers)
        since_s = time.monotonic()
        gc.disable()
        try:
            ask()
        finally:
            gc.enable()
        took_s = time.monotonic() - since_s
        l1_after = self._l1()
        here = answers[answers_before:]
        return Phase(
            requests=len(here),
            took_s=took_s,
            reads_asked=sum(len(CACHEABLE_STAGES) if a.stages_ns else 1 for a in here),
            reads_at_store=self._reads_at_store() - before,
            l1=l1_after - l1_before if l1_after and l1_before else None,
        )

    def _reads_at_store(self) -> int:
        calls = self._redis.info("commandstats")
        return sum(calls.get(f"cmdstat_{name}", {}).get("calls", 0) for name in READ_COMMANDS)

    def _l1(self) -> L1Counts | None:
        if not self._has_l1:
            return None
        command = cachee_command("stats", str(self._application.pid), "--json")
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise servers.ProcessError(f"{' '.join(command[1:])} gave no statistics")
        told = json.loads(done.stdout)
        asked = told["misses"] + told["coalesced"]
        return L1Counts(told["hits"], asked, sum(told["bypasses"].values()))
