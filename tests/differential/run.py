"""A whole run: twins, what is between, episodes, and the report."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests.differential import garbage
from tests.differential.compare import Difference
from tests.differential.exclusions import NEVER_SENT
from tests.differential.generate import Generator, Table
from tests.differential.shrink import shrink, told
from tests.differential.steps import Step
from tests.differential.twins import Addresses, run_episode, twins
from tests.harness.proxies import proxy
from tests.harness.servers import Server

EPISODE_COMMANDS = 3000
HIT_SHARE_FLOOR = 0.1
SHRINK_S = 20.0


@dataclass
class Between:
    """What stands before the second twin: its port and how many hits it counted."""

    port: int
    hits: Callable[[], int] = lambda: 0
    counts: bool = False


Through = Callable[[Server], AbstractContextManager[Between]]


@contextlib.contextmanager
def nothing(server: Server) -> Iterator[Between]:
    """The twin itself: a run without any difference proves the generator and the exclusions."""
    yield Between(server.port)


@contextlib.contextmanager
def the_proxy(server: Server) -> Iterator[Between]:
    """`cachee proxy` with its L1 on."""
    upstream = f"redis://{server.host}:{server.port}"
    with proxy(upstream=upstream) as running:
        yield Between(running.port, lambda: int(running.stats()["hits"]), counts=True)


@dataclass
class Outcome:
    """What a run has found."""

    seed: int
    protocol: int
    commands: int = 0
    streams: int = 0
    hits: int = 0
    seconds: float = 0.0
    covered: int = 0
    known: int = 0
    counts_hits: bool = False
    differences: list[str] = field(default_factory=list)

    @property
    def hit_share(self) -> float:
        return self.hits / max(self.commands, 1)

    @property
    def counts(self) -> bool:
        """Whether the L1 answered often enough for the run to say anything."""
        return not self.counts_hits or self.hit_share >= HIT_SHARE_FLOOR

    def __str__(self) -> str:
        rate = (self.commands or self.streams) / max(self.seconds, 1e-9)
        what = f"{self.commands} commands" if self.commands else f"{self.streams} garbage streams"
        lines = [
            f"differential, seed {self.seed}, RESP{self.protocol}",
            f"  sent         {what} in {self.seconds:.1f} s ({rate:.0f}/s)",
        ]
        if self.commands:
            lines.append(
                f"  table        {self.covered} of {self.known}, {len(NEVER_SENT)} left out"
            )
            lines.append(f"  hits         {self.hits} ({self.hit_share:.1%} of all commands)")
        lines.append(f"  differences  {len(self.differences)}")
        return "\n".join(lines + self.differences)


def commands(
    count: int, seed: int, protocol: int, through: Through = the_proxy, stop_after: int = 1
) -> Outcome:
    """At least `count` commands in episodes, until `stop_after` differences."""
    outcome = Outcome(seed, protocol)
    with twins() as (first, second), through(second) as between:
        table = Table(first)
        generator = Generator(table, seed, protocol)
        outcome.covered, outcome.known = len(table.covered), len(table.known)
        addresses = (first.address, (first.host, between.port))
        began, outcome.counts_hits = time.monotonic(), between.counts
        while outcome.commands < count and len(outcome.differences) < stop_after:
            mode = generator.mode()
            size = min(EPISODE_COMMANDS, count) if mode.pipelined else EPISODE_COMMANDS // 6
            found, done = run_episode(addresses, protocol, generator.episode(mode, size))
            outcome.commands += sum(len(step.commands) for step in done)
            if found is not None:
                reset, rest = done[:1], done[1:]
                again = functools.partial(_again, addresses, protocol, reset)
                steps, smaller = shrink(rest, again, SHRINK_S)
                outcome.differences.append(_report(mode, found, smaller, told(steps)))
        outcome.seconds, outcome.hits = time.monotonic() - began, between.hits()
    return outcome


def _again(
    addresses: Addresses, protocol: int, reset: list[Step], steps: list[Step]
) -> Difference | None:
    """Runs steps on twins that were made equal before."""
    return run_episode(addresses, protocol, iter(reset + steps))[0]


def _report(mode: object, found: Difference, smaller: Difference | None, steps: str) -> str:
    if smaller is None:
        return f"  ({mode}) {found}\n    did not come again when the episode was repeated"
    return f"  ({mode}) {smaller}\n{steps}"


def streams(count: int, seed: int, through: Through = the_proxy, stop_after: int = 1) -> Outcome:
    """Garbage streams, until `stop_after` differences."""
    outcome = Outcome(seed, 2)
    with twins() as (first, second), through(second) as between:
        addresses = (first.address, (first.host, between.port))
        began = time.monotonic()
        for stream in garbage.streams(seed, count):
            outcome.streams += 1
            found = garbage.compare(addresses, stream)
            if found is not None:
                outcome.differences.append(f"  {found}")
                if len(outcome.differences) >= stop_after:
                    break
        outcome.seconds, outcome.hits = time.monotonic() - began, between.hits()
    return outcome
