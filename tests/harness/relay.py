"""A byte relay between client and server that lets a test decide what passes when.

Problem: the races that matter are orders of bytes on one socket (a reply before a push, a push
between two replies, silence without an end of stream). Sleeping does not make them, it only makes
them likely.

Idea: the relay splits both directions into whole RESP frames and keeps, per direction ("lane"), a
queue of frames and a budget of how many may pass. A test holds a lane, waits until the frames it
wants are in the queue, and lets exactly so many go. Order is never changed, as TCP never does.
Black holes, delays, fragments, stalls and rewritten frames are further states of a lane.

Cost: one thread a relay; a relay under load belongs into its own process (`python -m
tests.harness.relay_process`), otherwise it fights the test for the interpreter.

A connection is a link of cachee if it asked for tracking; the product's own names are not needed.
"""

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable

from tests.harness.resp import command_of, frame_end, is_push
from tests.harness.waiting import PATIENCE_S, until

_READ_BYTES = 1 << 18
_LOG_FRAMES = 4096
_RESET = struct.pack("ii", 1, 0)


class Lane:
    """One direction of one connection."""

    def __init__(self, relay: "Relay", source: socket.socket, target: socket.socket):
        self._relay = relay
        self.source, self.target = source, target
        self._buffer = bytearray()
        self._queue: deque[tuple[float, bytes]] = deque()
        self._out = bytearray()
        self._budget: int | None = None
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
        self._set(_budget=None, _delay_s=0.0, _fragment=None, _swallow=False, _stalled=False)

    def release(self, count: int = 1) -> None:
        """Exactly the next `count` frames may pass, whether they are there yet or not."""
        with self._relay.lock:
            assert self._budget is not None, "release() is for a held lane"
            self._budget += count
        self._relay.wake()

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

        def enough() -> list[bytes] | None:
            frames = self.held()
            return frames if len(frames) >= count else None

        return until(enough, f"{count} frames held, have {self.held()!r:.300}", patience_s)

    def wait_frame(self, wanted: Callable[[bytes], bool] | bytes) -> int:
        """Waits until a frame is held that has these bytes; returns how many wait before it."""
        fits = (lambda frame: wanted in frame) if isinstance(wanted, bytes) else wanted

        def index() -> list[int]:
            return [at for at, frame in enumerate(self.held()) if fits(frame)][:1]

        return until(index, "the wanted frame among the held ones")[0]

    def wait_push(self) -> int:
        """Waits until a push is held; returns how many frames wait before it."""
        return self.wait_frame(is_push)

    def release_through(self, wanted: Callable[[bytes], bool] | bytes) -> None:
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
            self.log.append(frame[:4096])
            if self.on_frame is not None:
                self.on_frame(frame)
            self._queue.append((now, frame))

    def pass_on(self, now: float) -> float | None:
        """Moves what may leave into the socket; returns when the next frame is due, if known."""
        due = None
        while self._queue and self._budget != 0:
            came, frame = self._queue[0]
            if self._delay_s and now < came + self._delay_s:
                due = came + self._delay_s
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


class Connection:
    """One relayed connection: `up` to the server, `down` to the client."""

    def __init__(self, relay: "Relay", client: socket.socket, server: socket.socket):
        self._relay = relay
        self.client, self.server = client, server
        self.up = Lane(relay, client, server)
        self.down = Lane(relay, server, client)
        self.up.on_frame = self._learn
        self.alive = True
        self.is_link = False
        self.name = b""

    def _learn(self, frame: bytes) -> None:
        words = [word.upper() for word in command_of(frame)]
        if words[:3] == [b"CLIENT", b"TRACKING", b"ON"]:
            self.is_link = True
            if self._relay.on_link is not None:
                self._relay.on_link(self)
        if b"SETNAME" in words[:-1]:
            self.name = command_of(frame)[words.index(b"SETNAME") + 1]

    def cut(self) -> None:
        """Ends the connection on both sides."""
        with self._relay.lock:
            self._relay.forget(self)

    def reset(self) -> None:
        """Ends it with a RST on both sides."""
        with self._relay.lock:
            for each in (self.client, self.server):
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._relay.forget(self)


class Relay:
    """Listens on a port of its own and passes everything on to `upstream` until told otherwise."""

    host = "127.0.0.1"

    def __init__(self, upstream: tuple[str, int]):
        self.upstream = upstream
        self.lock = threading.RLock()
        self.connections: list[Connection] = []
        self.accepted = 0
        self.refusing = False
        self.on_connect: Callable[[Connection], None] | None = None
        self.on_link: Callable[[Connection], None] | None = None
        self._selector = selectors.DefaultSelector()
        self._registered: dict[int, Lane] = {}
        self._listener = socket.create_server((self.host, 0), backlog=512)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def start(self) -> "Relay":
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._thread.start()
        return self

    def close(self) -> None:
        self._stopping = True
        self.wake()
        self._thread.join()
        for connection in list(self.connections):
            self.forget(connection)
        self._selector.close()
        self._listener.close()
        os.close(self._wake_out)
        os.close(self._wake_in)

    def __enter__(self) -> "Relay":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def links(self) -> list[Connection]:
        """The live connections that asked for tracking."""
        with self.lock:
            return [each for each in self.connections if each.is_link and each.alive]

    def link(self) -> Connection:
        """The one live link, waited for."""
        return until(self.links, "a link through the relay")[0]

    def refuse(self, refusing: bool = True) -> None:
        """New connections are closed at once, as by a server that is gone."""
        self.refusing = refusing

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_in, b".")

    def forget(self, connection: Connection) -> None:
        """Closes both sockets; the caller holds the lock."""
        if not connection.alive:
            return
        connection.alive = False
        self.connections.remove(connection)
        for lane in (connection.up, connection.down):
            self._unregister(lane)
            lane.ended = True
        connection.client.close()
        connection.server.close()

    def _unregister(self, lane: Lane) -> None:
        if self._registered.pop(lane.source.fileno(), None) is not None:
            self._selector.unregister(lane.source)

    def _run(self) -> None:
        timeout: float | None = None
        while not self._stopping:
            ready = self._selector.select(timeout)
            with self.lock:
                for key, _ in ready:
                    self._serve(key.fileobj, key.fd)
                timeout = self._pass_all_on()

    def _serve(self, source: object, fd: int) -> None:
        if source is self._listener:
            self._accept()
        elif fd == self._wake_out:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_out, 4096)
        elif fd in self._registered:
            self._read(self._registered[fd])

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            client, _ = self._listener.accept()
            self.accepted += 1
            try:
                if self.refusing:
                    raise ConnectionRefusedError
                server = socket.create_connection(self.upstream)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                return
            for each in (client, server):
                each.setblocking(False)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, client, server)
            self.connections.append(connection)
            if self.on_connect is not None:
                self.on_connect(connection)

    def _read(self, lane: Lane) -> None:
        try:
            data = lane.source.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            lane.feed(data, time.monotonic())
        else:
            lane.ended = True

    def _pass_all_on(self) -> float | None:
        now = time.monotonic()
        next_due = None
        for connection in list(self.connections):
            try:
                dues = [connection.up.pass_on(now), connection.down.pass_on(now)]
            except OSError:
                self.forget(connection)
                continue
            next_due = min([each for each in [next_due, *dues] if each is not None], default=None)
            lanes = (connection.up, connection.down)
            if all(lane.ended and not lane.held() for lane in lanes):
                self.forget(connection)
                continue
            for lane in lanes:
                self._watch(lane)
        return None if next_due is None else max(next_due - now, 0)

    def _watch(self, lane: Lane) -> None:
        fd = lane.source.fileno()
        if lane.wants_bytes and fd not in self._registered:
            self._selector.register(lane.source, selectors.EVENT_READ)
            self._registered[fd] = lane
        elif not lane.wants_bytes:
            self._unregister(lane)
