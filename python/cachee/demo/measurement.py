"""Durations of one run: percentiles and histograms by stage."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from cachee.demo.load import Answer

# What a stage of the application asks, in the order it asks.
STAGES = {
    "session": "Redis GET, JSON",
    "permissions": "Redis SMEMBERS",
    "flags": "Redis HGETALL",
    "rate_limit": "Redis INCR",
    "cached_query": "Redis GET, JSON",
    "direct_query": "PostgreSQL SELECT",
    "serialisation": "Pydantic to JSON",
}
CACHEABLE_STAGES = ("session", "permissions", "flags", "cached_query")
TOGETHER = "redis_stages"
REST = "rest"
TOTAL = "total"
SIGNIFICANT_DIGITS = 3


class Percentiles(NamedTuple):
    """The middle and the tail of a stage, in microseconds."""

    p50_us: float
    p99_us: float


class Durations:
    """How long each stage took in each answered request, in nanoseconds, sorted."""

    def __init__(self, answers: Iterable[Answer]) -> None:
        whole = [answer for answer in answers if answer.stages_ns]
        self.answers = len(whole)
        self._sorted_ns: dict[str, list[int]] = {
            name: sorted(answer.stages_ns[name] for answer in whole) for name in STAGES
        }
        self._sorted_ns[TOGETHER] = sorted(
            sum(answer.stages_ns[name] for name in CACHEABLE_STAGES) for answer in whole
        )
        self._sorted_ns[REST] = sorted(
            answer.ended_ns - answer.started_ns - sum(answer.stages_ns.values()) for answer in whole
        )
        self._sorted_ns[TOTAL] = sorted(answer.ended_ns - answer.started_ns for answer in whole)

    def percentiles(self, stage: str) -> Percentiles:
        """Median and 99th percentile by nearest rank."""
        return Percentiles(self._rank_us(stage, 50), self._rank_us(stage, 99))

    def histogram(self, stage: str) -> list[tuple[float, int]]:
        """Pairs of duration in microseconds, to three digits, and how many requests took it."""
        digits = f".{SIGNIFICANT_DIGITS}g"
        counts = Counter(float(f"{took_ns / 1e3:{digits}}") for took_ns in self._sorted_ns[stage])
        return sorted(counts.items())

    def share_below(self, stage: str, limit_us: float) -> float:
        """The share of requests whose stage took less than this."""
        return bisect_left(self._sorted_ns[stage], limit_us * 1e3) / max(1, self.answers)

    def _rank_us(self, stage: str, percent: int) -> float:
        ordered_ns = self._sorted_ns[stage]
        if not ordered_ns:
            return 0.0
        return ordered_ns[(len(ordered_ns) * percent + 99) // 100 - 1] / 1e3
