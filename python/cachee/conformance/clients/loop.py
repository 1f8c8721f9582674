"""An event loop in a thread, so that asynchronous clients are called like the others."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any


class Loop:
    """Calls made here from any thread are tasks there."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def call(self, call: Callable[[], Any]) -> Any:
        """The result of a function run on the loop, awaited when it is awaitable."""
        return asyncio.run_coroutine_threadsafe(_outcome(call), self._loop).result()

    def cancelled(
        self, begin: Callable[[], Awaitable[Any]], when_sent: Callable[[], object]
    ) -> None:
        """Begin a task, let `when_sent` happen, cancel the task, and wait for its end."""
        future = asyncio.run_coroutine_threadsafe(_outcome(begin), self._loop)
        when_sent()
        ended = threading.Event()

        def cancel() -> None:
            future.cancel()
            self._loop.call_later(0, ended.set)

        self._loop.call_soon_threadsafe(cancel)
        ended.wait()
        self.call(lambda: asyncio.sleep(0.01))

    def close(self) -> None:
        """Stop; what still runs is abandoned."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)


async def _outcome(call: Callable[[], Any]) -> Any:
    result = call()
    # Clients and pipelines are awaitable and not results.
    is_result = inspect.iscoroutine(result) or isinstance(result, asyncio.Future)
    if is_result or (inspect.isawaitable(result) and not hasattr(result, "execute_command")):
        return await result
    return result
