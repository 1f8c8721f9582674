"""How soon the L1 is warm again: the hit rate of a restarted application, watched while it serves.

The application's own count is asked for from outside, many times a second, while the requests of
the measured phase come again. Warm is when the reads of the last moments were answered at nine
tenths of the rate before the restart.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

from cachee import _stats_socket
from cachee._errors import ProcessNotFoundError

PART_OF_STEADY = 0.9
POLL_S = 0.01
WINDOW_READS = 400
"""The last moments: at least so many reads."""


@dataclass(frozen=True)
class Restart:
    """When it was warm, from the first request on; None: it was not."""

    seconds: float | None
    reads: int


class _Count(NamedTuple):
    at_s: float
    hits: int
    reads: int


def watch(pid: int, steady_rate: float, load: Callable[[], None]) -> Restart:
    """Run the load and tell when the application with this process was warm."""
    counts: list[_Count] = []
    over = threading.Event()
    watcher = threading.Thread(target=_count, args=(pid, counts, over), daemon=True)
    since_s = time.monotonic()
    watcher.start()
    try:
        load()
    finally:
        over.set()
        watcher.join()
    return when_warm(counts, since_s, PART_OF_STEADY * steady_rate)


def _count(pid: int, counts: list[_Count], over: threading.Event) -> None:
    while not over.wait(POLL_S):
        try:
            told = cast("dict[str, int]", _stats_socket.ask(pid))
        except ProcessNotFoundError:
            continue
        counts.append(_Count(time.monotonic(), told["hits"], told["reads"]))


def when_warm(counts: list[_Count], since_s: float, rate: float) -> Restart:
    """The first moment at which the last reads were answered at this rate.

    >>> when_warm([_Count(1.0, 0, 0), _Count(2.0, 10, 500), _Count(3.0, 490, 1000)], 1.0, 0.9)
    Restart(seconds=2.0, reads=1000)
    """
    window: deque[_Count] = deque([_Count(since_s, 0, 0)])
    for count in counts:
        window.append(count)
        while len(window) > 2 and count.reads - window[1].reads >= WINDOW_READS:
            window.popleft()
        reads, hits = count.reads - window[0].reads, count.hits - window[0].hits
        if reads >= WINDOW_READS and hits >= rate * reads:
            return Restart(count.at_s - since_s, count.reads)
    return Restart(None, counts[-1].reads if counts else 0)
