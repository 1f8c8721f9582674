"""How long something is not possible: several attempts side by side, each until it succeeds."""

import threading
import time
from collections.abc import Callable

from tests.harness.waiting import until

_PATIENCE_S = 30.0


def recovery_s(**attempts: Callable[[], object]) -> dict[str, float]:
    """Seconds from now until each attempt did not raise for the first time."""
    begun = time.monotonic()
    found: dict[str, float] = {}
    threads = [
        threading.Thread(target=_try, args=(name, attempt, begun, found), daemon=True)
        for name, attempt in attempts.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE_S * 2)
    assert found.keys() == attempts.keys(), f"never possible: {attempts.keys() - found.keys()}"
    return found


def _try(name: str, attempt: Callable[[], object], begun: float, found: dict[str, float]) -> None:
    until(lambda: _succeeds(attempt), name, _PATIENCE_S)
    found[name] = time.monotonic() - begun


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except Exception:  # noqa: BLE001 - whatever it is, it is not possible yet
        return False
    return True
