"""A relay that stands for the network: every byte arrives half a round trip after it was sent.

The problem: on one machine a store answers in 40 µs, in a data centre in 0.3 to 1.5 ms, and the
demo is about the difference. The idea: a process between application and stores stamps each piece
of bytes when it arrives and passes it on half a round trip later, in each direction. Since the
delay is the same for all, the order of arrival is the order of departure: one queue serves every
connection, order is kept, and any number of pieces is under way at once, so pipelining keeps its
worth. `select` sleeps with microsecond precision where epoll knows milliseconds; on Linux the
timer slack of 50 µs is switched off. How late each piece really left is counted and reported.

Cost: 100-300 µs a round trip that are nobody's wish (two processes woken, Python); whoever starts
the relay measures them and asks for that much less, so that what is added is what was meant.
Rejected: netem (root, and it delays the whole loopback), asyncio (timers of 1 ms), spinning (one of
two cores).

Run as `python -m cachee.demo.relay NAME=UNIX_SOCKET…`: it prints one line of JSON with the port of
each name, takes the round trip in milliseconds from each line of its standard input, ends when that
ends, and then prints how late the pieces left.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import sys
import time
from array import array
from collections import deque
from typing import NamedTuple

READ_BYTES = 1 << 16
UNDER_WAY_BYTES_MAX = 1 << 22
# select() cannot watch descriptors of 1024 and above; a connection needs two.
CONNECTIONS_MAX = 480
LATENESS_SAMPLES_MAX = 1 << 20
PR_SET_TIMERSLACK = 29


class Half:
    """One direction of one connection: what comes in at `source` leaves at `target`."""

    __slots__ = ("ended", "finished", "paused", "source", "target", "under_way_bytes", "unsent")

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.unsent = bytearray()
        self.under_way_bytes = 0
        self.ended = False
        self.finished = False
        self.paused = False


class Piece(NamedTuple):
    """Bytes of one direction and when they are to leave; no bytes stand for the end."""

    due_ns: int
    half: Half
    content: bytes


class Relay:
    """Listens for each route and moves the bytes of all connections, in one thread."""

    def __init__(self, routes: dict[str, str]) -> None:
        self._delay_ns = 0
        self._queue: deque[Piece] = deque()
        self._halves: dict[socket.socket, Half] = {}
        self._blocked: dict[socket.socket, Half] = {}
        self._listeners: dict[socket.socket, str] = {}
        self.late_ns = array("q")
        self.ports: dict[str, int] = {}
        for name, path in routes.items():
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            self._listeners[listener] = path
            self.ports[name] = int(listener.getsockname()[1])

    def run(self, orders: int) -> None:
        """Serve until the descriptor `orders` ends; a line read from it sets the round trip."""
        while True:
            self._send_due()
            reading: list[int | socket.socket] = [
                orders,
                *self._listeners,
                *(source for source, half in self._halves.items() if not half.paused),
            ]
            ready, writable, _ = select.select(reading, list(self._blocked), [], self._wait_s())
            for source in ready:
                if isinstance(source, int):
                    line = os.read(orders, 64)
                    if not line:
                        return
                    self._delay_ns = int(float(line) * 1e6 / 2)
                    continue
                if source in self._listeners:
                    self._accept(source)
                elif source in self._halves:
                    self._receive(self._halves[source])
            for target in writable:
                if target in self._blocked:
                    self._write(self._blocked.pop(target), b"")

    def _wait_s(self) -> float | None:
        if not self._queue:
            return None
        return max(0.0, (self._queue[0].due_ns - time.monotonic_ns()) / 1e9)

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        upstream = socket.socket(socket.AF_UNIX)
        try:
            if len(self._halves) >= 2 * CONNECTIONS_MAX:
                raise OSError("too many connections")
            upstream.connect(self._listeners[listener])
        except OSError:
            upstream.close()
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        upstream.setblocking(False)
        self._halves[client] = Half(client, upstream)
        self._halves[upstream] = Half(upstream, client)

    def _receive(self, half: Half) -> None:
        try:
            content = half.source.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._close(half)
            return
        half.under_way_bytes += _weight(content)
        half.paused = not content or half.under_way_bytes > UNDER_WAY_BYTES_MAX
        half.ended = not content
        self._queue.append(Piece(time.monotonic_ns() + self._delay_ns, half, content))

    def _send_due(self) -> None:
        while self._queue:
            now_ns = time.monotonic_ns()
            if self._queue[0].due_ns > now_ns:
                return
            piece = self._queue.popleft()
            if len(self.late_ns) < LATENESS_SAMPLES_MAX:
                self.late_ns.append(now_ns - piece.due_ns)
            piece.half.under_way_bytes -= _weight(piece.content)
            self._write(piece.half, piece.content)

    def _write(self, half: Half, content: bytes) -> None:
        if half.source not in self._halves:
            return
        half.unsent += content
        try:
            while half.unsent:
                del half.unsent[: half.target.send(half.unsent)]
        except BlockingIOError:
            self._blocked[half.target] = half
        except OSError:
            self._close(half)
            return
        under_way_bytes = half.under_way_bytes + len(half.unsent)
        half.paused = half.ended or under_way_bytes > UNDER_WAY_BYTES_MAX
        if half.ended and not under_way_bytes and not half.finished:
            self._finish(half)

    def _finish(self, half: Half) -> None:
        """Pass the end of one direction on; when both have ended the connection goes."""
        half.finished = True
        opposite = self._halves.get(half.target)
        if opposite is None or opposite.finished:
            self._close(half)
            return
        with contextlib.suppress(OSError):
            half.target.shutdown(socket.SHUT_WR)

    def _close(self, half: Half) -> None:
        for end in (half.source, half.target):
            self._halves.pop(end, None)
            self._blocked.pop(end, None)
            end.close()


def _weight(content: bytes) -> int:
    """An end weighs something too: as long as it is under way, its direction is not finished."""
    return len(content) or 1


def main(argv: list[str]) -> None:
    """Relay until standard input ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    relay = Relay(dict(route.split("=", 1) for route in argv[1:]))
    sys.stdout.write(json.dumps(relay.ports) + "\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        relay.run(sys.stdin.fileno())
    late_us = sorted(late_ns / 1e3 for late_ns in relay.late_ns)
    told = {
        "pieces": len(late_us),
        "late_us_p50": late_us[len(late_us) // 2] if late_us else 0.0,
        "late_us_p99": late_us[len(late_us) * 99 // 100] if late_us else 0.0,
    }
    # Whoever started the relay may be gone, which is why its input ended.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv)
