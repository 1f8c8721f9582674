"""The warm set of a running proxy: names of hot keys out to the file, and in again at the start."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from cachee._proxy_settings import ProxySettings
from cachee.proxy import snapshot

SAVE_INTERVAL_S = 60.0
WARM_POLL_S = 0.2
EMBEDDED = "embedded"

__all__ = ["NamesHotKeys", "WarmSet"]


@runtime_checkable
class NamesHotKeys(Protocol):
    """What a native half must offer for a warm restart."""

    def is_ready(self) -> bool:
        """Whether the upstream answers."""

    def hot_keys(self, count: int) -> list[snapshot.HotKey]:
        """The reads that are answered most, at most `count`."""

    def warm(self, names: list[snapshot.HotKey]) -> None:
        """Load these in the background, at a bounded rate, as far as the users are known."""


class WarmSet:
    """Writes the names of hot keys down from time to time, and hands those of the last run over."""

    def __init__(
        self,
        proxy: NamesHotKeys,
        own: ProxySettings,
        upstream: str,
        say: Callable[[str], None],
    ) -> None:
        self._proxy = proxy
        self._path = Path(own.snapshot)
        # An embedded server has another address each time.
        self._upstream = upstream if own.upstream else EMBEDDED
        self._say = say
        self._failed = ""
        self._save_at_s = time.monotonic() + SAVE_INTERVAL_S
        # None: not read yet. That takes long enough to do it when clients are served already.
        self._names: list[snapshot.HotKey] | None = None

    def tick(self) -> float:
        """Do what is due; seconds until something is due again."""
        if self._names is None:
            self._names = self._of_last_run()
        if self._names and self._proxy.is_ready():
            names, self._names = self._names, []
            self._proxy.warm(names)
        now_s = time.monotonic()
        if now_s >= self._save_at_s:
            self._save_at_s = now_s + SAVE_INTERVAL_S
            self.save()
        return WARM_POLL_S if self._names else max(0.0, self._save_at_s - now_s)

    def _of_last_run(self) -> list[snapshot.HotKey]:
        try:
            return snapshot.read(self._path, self._upstream)
        except snapshot.SnapshotError as error:
            self._say(f"snapshot {self._path} is not used: {error}")
            return []

    def save(self) -> None:
        """Write the names down; an empty L1 leaves the file as it was."""
        names = self._proxy.hot_keys(snapshot.NAMES_MAX)
        if not names:
            return
        try:
            snapshot.write(self._path, self._upstream, names)
            self._failed = ""
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._failed:
                self._say(f"snapshot {self._path} is not written: {reason}")
            self._failed = reason
