"""A write is applied once or not at all, and what was acknowledged is there."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

from tests.harness.proxies import Proxy, proxy
from tests.harness.resp import ServerError, Wire
from tests.harness.servers import Server
from tests.harness.waiting import until


class Counter:
    """Counts up a counter, a list and a stream of its own, and notes what it was told."""

    def __init__(self, front: Proxy, at: int):
        self._address, self.at = ("127.0.0.1", front.port), at
        self.acknowledged, self.unknown, self.connects = [0, 0, 0], [0, 0, 0], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def commands(self) -> list[tuple[object, ...]]:
        at = self.at
        return [("INCR", f"n:{at}"), ("LPUSH", f"l:{at}", "x"), ("XADD", f"s:{at}", "*", "f", "v")]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                wire = Wire(self._address, timeout_s=10)
            except OSError:
                time.sleep(0.001)
                continue
            self.connects += 1
            with contextlib.closing(wire):
                self._count(wire)

    def _count(self, wire: Wire) -> None:
        """Until told to stop, or until the connection is lost."""
        while not self._stop.is_set():
            for kind, command in enumerate(self.commands()):
                if not self._counted(wire, kind, command):
                    return

    def _counted(self, wire: Wire, kind: int, command: tuple[object, ...]) -> bool:
        try:
            wire(*command)
        except (ServerError, OSError) as problem:
            self.unknown[kind] += 1
            return isinstance(problem, ServerError)
        self.acknowledged[kind] += 1
        return True

    @property
    def total(self) -> int:
        return sum(self.acknowledged)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), "a client hangs"

    def applied(self, server: Server) -> list[int]:
        """What the server has."""
        number = server.call("GET", f"n:{self.at}")
        counts = [server.call("LLEN", f"l:{self.at}"), server.call("XLEN", f"s:{self.at}")]
        return [int(str((number or b"0").decode())), *map(int, map(str, counts))]  # type: ignore[union-attr]

    def judge(self, server: Server, most_unknown: int | None = None) -> None:
        """Applied is acknowledged plus some of the unknown ones."""
        for applied, known, unknown in zip(
            self.applied(server), self.acknowledged, self.unknown, strict=True
        ):
            assert known <= applied <= known + unknown, f"{applied} of {known} + {unknown}"
            assert most_unknown is None or unknown <= most_unknown


def test_no_write_is_applied_twice_or_lost_when_upstreams_are_killed(
    front: Proxy, own_server: Server, amount, capsys
) -> None:
    counters = [Counter(front, at) for at in range(4)]
    for _ in range(amount(25)):
        before = [each.total for each in counters]
        until(
            lambda before=before: all(
                each.total > told for each, told in zip(counters, before, strict=True)
            ),
            "every writer is acknowledged again",
        )
        own_server.call("CLIENT", "KILL", "TYPE", "normal")
    for each in counters:
        each.stop()
    with capsys.disabled():
        known, unknown = sum(each.total for each in counters), sum(sum(c.unknown) for c in counters)
        print(f"\nupstream kills: {known} acknowledged, {unknown} unknown")
    for each in counters:
        each.judge(own_server)


def test_the_end_of_the_proxy_loses_no_acknowledged_write(own_server: Server) -> None:
    with proxy(upstream=f"redis://127.0.0.1:{own_server.port}") as front:
        counters = [Counter(front, at) for at in range(4)]
        until(lambda: all(each.total > 50 for each in counters), "everybody writes")
        os.kill(front.pid, signal.SIGTERM)
        until(lambda: _ended(front.pid), "the proxy has ended", 20)
        for each in counters:
            each.stop()
    for each in counters:
        each.judge(own_server, most_unknown=1)


def test_what_is_in_flight_is_answered_before_the_end(own_server: Server) -> None:
    with (
        proxy(upstream=f"redis://127.0.0.1:{own_server.port}") as front,
        contextlib.closing(Wire(("127.0.0.1", front.port))) as wire,
    ):
        wire("PING")
        answers: list[object] = []

        def slow() -> None:
            answers.extend(wire.many([("DEBUG", "SLEEP", "0.5"), ("INCR", "n")]))

        thread = threading.Thread(target=slow, daemon=True)
        thread.start()
        until(lambda: _asleep(own_server), "the server sleeps")
        os.kill(front.pid, signal.SIGTERM)
        thread.join(10)
        assert answers == [b"OK", 1]
        until(lambda: _ended(front.pid), "the proxy has ended", 20)


def _asleep(server: Server) -> bool:
    with contextlib.closing(server.fresh_wire()) as probe:
        probe._socket.settimeout(0.05)
        try:
            probe("PING")
        except TimeoutError:
            return True
    return False


def _ended(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "\nState:\tZ" in status.read_text()


def test_kill_is_a_clean_close(own_server: Server) -> None:
    outcome: list[object] = []
    with (
        contextlib.suppress(AssertionError),  # of an exit code that is not 0
        proxy(upstream=f"redis://127.0.0.1:{own_server.port}") as front,
        contextlib.closing(Wire(("127.0.0.1", front.port), timeout_s=5)) as wire,
    ):
        outcome.append(wire("SET", "k", "1"))
        os.kill(front.pid, signal.SIGKILL)
        try:
            outcome.append(wire("GET", "k"))
        except ConnectionError:
            outcome.append("closed")
    assert outcome == [b"OK", "closed"]
