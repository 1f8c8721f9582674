"""Timed loops: source compiled once per contender, so no two contenders share a specialised one.

The interpreter specialises a call site for the type it sees. One loop function used for a dict and
for a client would be slow for both, so each contender gets code of its own, as timeit does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

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


def async_loop(statement: str, loop: asyncio.AbstractEventLoop, **names: object) -> Timed:
    """The same inside one coroutine on `loop`; the statement may await."""
    timed = _compiled(_ASYNC, statement, names)
    values = tuple(names.values())
    return lambda items: loop.run_until_complete(timed(items, time.perf_counter_ns, *values))


def _compiled(template: str, statement: str, names: dict[str, object]) -> Callable:
    scope: dict[str, Callable] = {}
    exec(template.format(names=", ".join(names), statement=statement), scope)
    return scope["timed"]
