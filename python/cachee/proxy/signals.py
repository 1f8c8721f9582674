"""SIGTERM, SIGINT and SIGHUP as something the main thread can wait for.

They arrive through the interpreter's wake-up descriptor: the C half of a handler runs in whichever
thread the kernel chose, also in a native one, and writes the signal's number there. A Python
handler alone would not do, since it only runs when the main thread does.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import Any

__all__ = ["Signals"]


class Signals:
    """SIGTERM, SIGINT and SIGHUP as something to wait for, in the main thread."""

    NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __enter__(self) -> Signals:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._former = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._handlers = {each: signal.signal(each, _note) for each in self.NUMBERS}
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former)
        self._reader.close()
        self._writer.close()

    def wait(self, timeout_s: float | None) -> list[int]:
        """The signals that came, in order; empty after the timeout or a `wake`."""
        self._reader.settimeout(timeout_s if timeout_s is None else max(timeout_s, 0.001))
        try:
            return [number for number in self._reader.recv(64) if number in self.NUMBERS]
        except TimeoutError:
            return []

    def wake(self) -> None:
        """End a `wait` from another thread."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")


def _note(_number: int, _frame: Any) -> None:
    """Exists so that the signal reaches the wake-up descriptor."""
