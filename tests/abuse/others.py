"""A client that wants nothing but prompt answers, while somebody else misbehaves."""

import threading
import time
from collections.abc import Sequence

from tests.harness.resp import Wire


class Bystander:
    """Asks the same thing again and again in a thread and notes how long every answer took."""

    def __init__(self, address: tuple[str, int], *command: object, expected: object):
        self._wire = Wire(address, timeout_s=30.0)
        self._command, self._expected = command, expected
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._problem: BaseException | None = None
        self.took_ms: list[float] = []

    def __enter__(self) -> "Bystander":
        assert self._wire(*self._command) == self._expected
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(40)
        self._wire.close()
        if self._problem is not None and exc[0] is None:
            raise self._problem

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.perf_counter()
                answer = self._wire(*self._command)
                self.took_ms.append((time.perf_counter() - began) * 1000)
                assert answer == self._expected, f"somebody else's reply: {answer!r:.200}"
        except BaseException as problem:  # noqa: BLE001 - told at the end of the block
            self._problem = problem

    def p99_ms(self) -> float:
        return percentile(self.took_ms, 0.99)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
