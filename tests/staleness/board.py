"""What readers are judged by: the versions acknowledged, and what a process has seen."""

import mmap
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEYS = 60
WRITERS = 5
TASK_WRITER, FOREIGN_WRITER, PROCESS_WRITER = 2, 3, 4
KINDS = ("string", "hash", "several", "expiring")
RING = 4096
MAX_STALENESS_S = 1.0
EXPIRY_SLACK_S = 0.002
VIOLATIONS_KEPT = 20


def writer_of(key: int) -> int:
    """Which writer owns a key."""
    return key % WRITERS


def kind_of(key: int) -> str:
    """How a key is stored and read."""
    return KINDS[(key // WRITERS) % len(KINDS)]


class Board:
    """When each version was acknowledged and when it ends, in memory shared by all processes.

    A ring per key, indexed by version; doubles on their natural boundary are written whole.
    """

    def __init__(self, path: Path, create: bool = False):
        size = KEYS * (2 * RING + 1) * 8
        if create:
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self._cells = memoryview(self._map).cast("d")

    def note(self, key: int, version: int, acknowledged: float, ends: float) -> None:
        """Version is acknowledged: written by the key's one writer."""
        base = key * (2 * RING + 1)
        self._cells[base + 1 + version % RING] = acknowledged
        self._cells[base + 1 + RING + version % RING] = ends
        self._cells[base] = version

    def latest(self, key: int) -> int:
        return int(self._cells[key * (2 * RING + 1)])

    def superseded(self, key: int, version: int) -> float | None:
        """When the successor of a version was acknowledged, None while it is not."""
        latest = self.latest(key)
        if version >= latest:
            return None
        successor = max(version + 1, latest - RING + 2)
        return self._cells[key * (2 * RING + 1) + 1 + successor % RING]

    def ends(self, key: int, version: int) -> float | None:
        """When a version with a TTL ends at the latest, None if it is too old to tell."""
        if not self.latest(key) - RING + 2 < version <= self.latest(key):
            return None
        return self._cells[key * (2 * RING + 1) + 1 + RING + version % RING]

    def close(self) -> None:
        self._cells.release()
        self._map.close()


@dataclass
class Report:
    """What one process saw."""

    reads: int = 0
    hits: int = 0
    misses: int = 0
    ahead: int = 0
    ahead_used: int = 0
    writes: int = 0
    failures: int = 0
    worst_s: float = 0.0
    violations: list[tuple[float, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def hit_rate(self) -> float:
        return self.hits / max(self.hits + self.misses, 1)


class Checker:
    """Judges every read of one process."""

    def __init__(
        self,
        board: Board,
        stop: threading.Event,
        stop_at: frozenset[str] = frozenset(),
        shared_writers: frozenset[int] = frozenset(),
    ):
        self.board, self.stop = board, stop
        self._shared_writers = shared_writers
        self.report = Report()
        self._seen = [0] * KEYS
        self._stop_at = stop_at

    def judge(self, key: int, value: Any, began: float, floor: int, own: int = 0) -> None:
        """A read that began then gave `value`; `floor` is what this process had seen by then."""
        self.report.reads += 1
        if value is None:
            if kind_of(key) != "expiring":
                self._violated("vanished", f"key {key} reads as missing")
            return
        version = int(value)
        if version < floor:
            self._violated("monotonic", f"key {key}: {version} after {floor}")
        if version < own:
            self._violated("own write", f"key {key}: {version} after {own} was acknowledged")
        superseded = self.board.superseded(key, version)
        if superseded is not None and began > superseded:
            age = began - superseded
            self.report.worst_s = max(self.report.worst_s, age)
            if age > MAX_STALENESS_S:
                self._violated("P1", f"key {key}: {version} was replaced {age:.3f} s ago")
        if kind_of(key) == "expiring":
            ends = self.board.ends(key, version)
            if ends is not None and began > ends + EXPIRY_SLACK_S:
                self._violated("expiry", f"key {key}: {version} ended {began - ends:.3f} s ago")
        if version > self._seen[key]:
            self._seen[key] = version

    def floor(self, key: int) -> int:
        return self._seen[key]

    def owed(self, key: int) -> int:
        """What every reader owes its writer: with one L1 for all, what was acknowledged by now."""
        return self.board.latest(key) if writer_of(key) in self._shared_writers else 0

    def _violated(self, kind: str, text: str) -> None:
        self.report.kinds[kind] += 1
        if len(self.report.violations) < VIOLATIONS_KEPT:
            self.report.violations.append((time.monotonic(), f"{kind}: {text}"))
        if kind in self._stop_at:
            self.stop.set()
