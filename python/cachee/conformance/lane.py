"""One direction of a relayed connection: whole frames in a queue, and what may pass."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from cachee.conformance.frames import command_of, frame_end, is_push
from cachee.conformance.waiting import PATIENCE_S, until

_LOG_FRAMES = 4096
_LOG_BYTES = 4096

Fits = Callable[[bytes], bool]


class Waker(Protocol):
    """What a lane needs of its relay: the lock its state is under, and to be run again."""

    lock: Any

    def wake(self) -> None: ...


class Lane:
    """One direction of one connection."""

    def __init__(self, relay: Waker, source: socket.socket, target: socket.socket) -> None:
        self._relay = relay
        self.source, self.target = source, target
        self._buffer = bytearray()
        self._queue: deque[tuple[float, bytes]] = deque()
        self._out = bytearray()
        self._budget: int | None = None
        self._trap: Fits | None = None
        self._late: tuple[Fits, float] | None = None
        self._fragment: int | None = None
        self._delay_s = 0.0
        self._swallow = False
        self._stalled = False
        self._rewrite: Callable[[bytes], bytes] | None = None
        self.on_frame: Callable[[bytes], None] | None = None
        self.ended = False
        self.log: deque[bytes] = deque(maxlen=_LOG_FRAMES)

    # What a test asks for. Every call takes effect for frames that have not left yet.

    def hold(self) -> None:
        """Frames pile up in the relay until released."""
        self._set(_budget=0)

    def flow(self) -> None:
        """Everything held goes out in one segment if the kernel takes it, and holding ends."""
        self._set(
            _budget=None,
            _trap=None,
            _late=None,
            _delay_s=0.0,
            _fragment=None,
            _swallow=False,
            _stalled=False,
        )

    def release_all(self) -> None:
        """What is held goes and holding ends; lateness and all other states stay."""
        self._set(_budget=None, _trap=None)

    def release(self, count: int = 1) -> None:
        """Exactly the next `count` frames may pass, whether they are there yet or not."""
        with self._relay.lock:
            if self._budget is None:
                raise ValueError("release() is for a held lane")
            self._budget += count
        self._relay.wake()

    def trap(self, fits: Fits) -> None:
        """Frames pass until one fits; that one and all behind it are held."""
        self._set(_trap=fits)

    def late(self, fits: Fits, seconds: float) -> None:
        """Frames that fit leave that much later than they came, and those behind them with them."""
        self._set(_late=(fits, seconds))

    def delay(self, seconds: float) -> None:
        """Each frame leaves that much later than it came."""
        self._set(_delay_s=seconds)

    def fragment(self, size: int) -> None:
        """Bytes leave in pieces of `size`."""
        self._set(_fragment=size)

    def black_hole(self) -> None:
        """Everything is swallowed, the connection stays up."""
        self._set(_swallow=True)

    def stall(self) -> None:
        """The relay stops reading, so that the sender's own buffers fill."""
        self._set(_stalled=True)

    def rewrite(self, change: Callable[[bytes], bytes] | None) -> None:
        """Each frame becomes what `change` returns; nothing if that is empty."""
        self._set(_rewrite=change)

    def drop_pushes(self) -> None:
        """Pushes vanish, replies pass."""
        self.rewrite(lambda frame: b"" if is_push(frame) else frame)

    def held(self) -> list[bytes]:
        """The frames that wait in the relay, oldest first."""
        with self._relay.lock:
            return [frame for _, frame in self._queue]

    def wait_held(self, count: int = 1, patience_s: float = PATIENCE_S) -> list[bytes]:
        """Waits until that many frames are held."""

        def enough() -> list[bytes]:
            frames = self.held()
            return frames if len(frames) >= count else []

        return until(enough, f"{count} frames held, have {self.held()!r:.300}", patience_s)

    def wait_frame(self, wanted: Fits | bytes) -> int:
        """Waits until a frame is held that has these bytes; returns how many wait before it."""
        fits = (lambda frame: wanted in frame) if isinstance(wanted, bytes) else wanted

        def index() -> list[int]:
            return [at for at, frame in enumerate(self.held()) if fits(frame)][:1]

        return until(index, "the wanted frame among the held ones")[0]

    def wait_push(self) -> int:
        """Waits until a push is held; returns how many frames wait before it."""
        return self.wait_frame(is_push)

    def release_through(self, wanted: Fits | bytes) -> None:
        """Waits for that frame and lets it and everything before it pass, nothing behind it."""
        self.release(self.wait_frame(wanted) + 1)

    def release_through_push(self) -> None:
        """The next push and what comes before it pass."""
        self.release_through(is_push)

    def commands(self) -> list[list[bytes]]:
        """The commands that came in on this lane so far."""
        with self._relay.lock:
            return [command_of(frame) for frame in self.log]

    def _set(self, **state: object) -> None:
        with self._relay.lock:
            for name, value in state.items():
                setattr(self, name, value)
        self._relay.wake()

    # What the relay's thread does, under its lock.

    def feed(self, data: bytes, now: float) -> None:
        self._buffer += data
        while self._buffer:
            end = frame_end(self._buffer)
            if end is None:
                return
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            self.log.append(frame[:_LOG_BYTES])
            if self.on_frame is not None:
                self.on_frame(frame)
            self._queue.append((now, frame))

    def pass_on(self, now: float) -> float | None:
        """Moves what may leave into the socket; returns when the next frame is due, if known."""
        due = None
        while self._queue and self._budget != 0:
            came, frame = self._queue[0]
            if self._trap is not None and self._trap(frame):
                self._trap, self._budget = None, 0
                break
            wait_s = self._delay_s
            if self._late is not None and self._late[0](frame):
                wait_s = max(wait_s, self._late[1])
            if wait_s and now < came + wait_s:
                due = came + wait_s
                break
            self._queue.popleft()
            if self._budget is not None:
                self._budget -= 1
            if not self._swallow:
                self._out += frame if self._rewrite is None else self._rewrite(frame)
        while self._out:
            piece = self._out[: self._fragment] if self._fragment else self._out
            try:
                sent = self.target.send(piece)
            except BlockingIOError:
                return now + 0.001
            del self._out[:sent]
        if self.ended and not self._queue:
            with contextlib.suppress(OSError):
                self.target.shutdown(socket.SHUT_WR)
        return due

    @property
    def wants_bytes(self) -> bool:
        return not self._stalled and not self.ended
