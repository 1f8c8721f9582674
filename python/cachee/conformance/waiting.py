"""The one way to wait: for a condition, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 10.0
STEP_S = 0.001


class UnmetError(AssertionError):
    """The condition did not come true in time."""


def until(condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """Polls until the condition is truthy and returns its value; names what never came."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise UnmetError(f"not within {patience_s} s: {what}")
        time.sleep(STEP_S)
