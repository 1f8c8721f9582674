"""Waiting for the link in asyncio: one descriptor a loop, one future a read.

The link's thread makes the loop's descriptor readable; the loop drains it and sets futures. A read
that is not answered within the reply timeout becomes a miss, so that the client's own connection,
with its own timeouts and retries, decides how the failure looks.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref
from typing import Any

from cachee import _core

__all__ = ["LoopWaiter", "forget_loops", "loop_waiter"]


class LoopWaiter:
    """Submitted reads of one event loop. Used on that loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.completions = _core.Completions()
        self._tickets = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        loop.add_reader(self.completions.fileno(), self._drain)

    async def read(
        self, binding: _core.Binding, args: tuple[object, ...], timeout_s: float
    ) -> object:
        """As `Binding.read`; a cancelled caller leaves nothing behind."""
        ticket = next(self._tickets)
        submitted = binding.submit(args, self.completions, ticket)
        if submitted is not _core.PENDING:
            return submitted
        return await self._wait(ticket, timeout_s)

    async def read_many(
        self, binding: _core.Binding, commands: list[tuple[object, ...]], timeout_s: float
    ) -> list[object]:
        """As `Binding.read_many`."""
        ticket = next(self._tickets)
        replies = binding.submit_many(commands, self.completions, ticket)
        if replies is _core.PENDING:
            replies = await self._wait(ticket, timeout_s)
        return replies if isinstance(replies, list) else [_core.MISS] * len(commands)

    async def _wait(self, ticket: int, timeout_s: float) -> object:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting[ticket] = future
        timer = loop.call_later(timeout_s, _time_out, future)
        try:
            return await future
        finally:
            timer.cancel()
            self._waiting.pop(ticket, None)

    def _drain(self) -> None:
        for ticket, reply in self.completions.drain():
            future = self._waiting.get(ticket)
            if future is not None and not future.done():
                future.set_result(reply)


def _time_out(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(_core.MISS)


_making = threading.Lock()
_waiters: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWaiter] = (
    weakref.WeakKeyDictionary()
)


def loop_waiter() -> LoopWaiter:
    """The waiter of the running loop, made at its first miss."""
    loop = asyncio.get_running_loop()
    waiter = _waiters.get(loop)
    if waiter is None:
        waiter = LoopWaiter(loop)
        with _making:
            _forget_closed_loops()
            _waiters[loop] = waiter
    return waiter


def _forget_closed_loops() -> None:
    """A loop closed over a pending read is held by that read's future: let both go."""
    for loop in [loop for loop in _waiters if loop.is_closed()]:
        _waiters.pop(loop).completions.close()


def forget_loops() -> None:
    """In a forked child: the parent's descriptors are not ours to read."""
    global _making
    _making = threading.Lock()
    _waiters.clear()
