"""Timed loops: source compiled once per contender, so no two contenders share a specialised one.

The interpreter specialises a call site for the type it sees. One loop function used for a dict and
for a client would be slow for both, so each contender gets code of its own, as timeit does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

Timed = Callable[[list], int]

_SYNC = """
def timed(items, clock, {names}):
    start = clock()
    for k in items:
        {statement}
    return clock() - start
"""
_ASYNC = "async " + _SYNC.strip()


def sync_loop(statement: str, **names: object) -> Timed:
    """Nanoseconds for `statement` over all items, each bound to `k` in turn."""
    timed = _compiled(_SYNC, statement, names)
    values = tuple(names.values())
    return lambda items: timed(items, time.perf_counter_ns, *values)


class Host:
    """An event loop whose one long task runs everything, so that clients with task groups live."""

    def __init__(self, new_event_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop = new_event_loop()
        self._work: asyncio.Queue = asyncio.Queue()
        self._task = self._loop.create_task(self._serve())

    def run(self, awaitable: Awaitable) -> object:
        """The awaitable's result, awaited in the long task."""
        done = self._loop.create_future()
        self._work.put_nowait((awaitable, done))
        return self._loop.run_until_complete(done)

    async def _serve(self) -> None:
        while True:
            awaitable, done = await self._work.get()
            try:
                done.set_result(await awaitable)
            except Exception as error:  # noqa: BLE001 - handed to the caller of run
                done.set_exception(error)


def async_loop(statement: str, host: Host, **names: object) -> Timed:
    """The same inside one coroutine of `host`; the statement may await."""
    timed = _compiled(_ASYNC, statement, names)
    values = tuple(names.values())
    return lambda items: host.run(timed(items, time.perf_counter_ns, *values))


def _compiled(template: str, statement: str, names: dict[str, object]) -> Callable:
    scope: dict[str, Callable] = {}
    exec(template.format(names=", ".join(names), statement=statement), scope)
    return scope["timed"]
