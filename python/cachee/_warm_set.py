"""The warm set of a running process or proxy: names of hot keys out to the file, and in again at
the start.

A proxy has a loop that calls `tick`; in a process `WarmThread` does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from cachee import _hot_keys
from cachee._hot_keys import HotKey, SnapshotError

SAVE_INTERVAL_S = 60.0
SAVE_FIRST_S = 5.0
"""After the start, then twice as long each time: few processes are let to the end of their exit."""
WARM_POLL_S = 0.2
STOP_TIMEOUT_S = 2.0
IN_PROCESS = "in process"
"""In the place of an upstream: the owners of names in a process say which server."""

logger = logging.getLogger("cachee")

__all__ = ["NamesHotKeys", "WarmSet", "WarmThread"]


@runtime_checkable
class NamesHotKeys(Protocol):
    """What can name its hot keys and load such names."""

    def is_ready(self) -> bool:
        """Whether names can be taken."""

    def hot_keys(self, count: int) -> list[HotKey]:
        """The reads that are answered most, at most `count`."""

    def warm(self, names: list[HotKey]) -> None:
        """Load these in the background, at a bounded rate, as far as their owners are known."""


class WarmSet:
    """Writes the names of hot keys down from time to time, and hands those of the last run over.

    `upstream` is whose names they are: those of another are left unused.
    """

    def __init__(
        self, names: NamesHotKeys, path: str, upstream: str, say: Callable[[str], None]
    ) -> None:
        self._named = names
        self._path = Path(path)
        self._upstream = upstream
        self._say = say
        self._failed = ""
        self._interval_s = SAVE_FIRST_S
        self._save_at_s = time.monotonic() + self._interval_s
        # None: not read yet. That takes long enough to do it when clients are served already.
        self._names: list[HotKey] | None = None

    def tick(self) -> float:
        """Do what is due; seconds until something is due again."""
        if self._names is None:
            self._names = self._of_last_run()
        if self._names and self._named.is_ready():
            names, self._names = self._names, []
            self._named.warm(names)
        now_s = time.monotonic()
        if now_s >= self._save_at_s:
            self._interval_s = min(2 * self._interval_s, SAVE_INTERVAL_S)
            self._save_at_s = now_s + self._interval_s
            self.save()
        return WARM_POLL_S if self._names else max(0.0, self._save_at_s - now_s)

    def _of_last_run(self) -> list[HotKey]:
        try:
            return _hot_keys.read(self._path, self._upstream)
        except SnapshotError as error:
            self._say(f"snapshot {self._path} is not used: {error}")
            return []

    def save(self) -> None:
        """Write the names down; an empty L1 leaves the file as it was."""
        names = self._named.hot_keys(_hot_keys.NAMES_MAX)
        if not names:
            return
        try:
            _hot_keys.write(self._path, self._upstream, names)
            self._failed = ""
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._failed:
                self._say(f"snapshot {self._path} is not written: {reason}")
            self._failed = reason


class WarmThread:
    """A daemon thread that keeps the warm set of this process. A fork leaves it behind."""

    def __init__(self, names: NamesHotKeys, path: str) -> None:
        self._warm_set = WarmSet(names, path, IN_PROCESS, lambda text: logger.warning("%s", text))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cachee-snapshot", daemon=True)

    @classmethod
    def start(cls, names: NamesHotKeys, path: str) -> WarmThread | None:
        """Started; None, with a warning, where there are no threads (any more)."""
        warm = cls(names, path)
        try:
            warm._thread.start()
        except RuntimeError as error:
            logger.warning("snapshot %s is not used: %s", path, error)
            return None
        return warm

    def _run(self) -> None:
        while not self._over.wait(self._warm_set.tick()):
            pass
        self._warm_set.save()

    def stop(self) -> None:
        """Save for the last time, and end."""
        self._over.set()
        self._thread.join(STOP_TIMEOUT_S)
