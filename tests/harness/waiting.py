"""The one way the tests wait: for a condition, up to a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 10.0
STEP_S = 0.001


def until(condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """Polls until the condition is truthy and returns its value; names what never came."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(STEP_S)
