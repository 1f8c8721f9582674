"""A byte relay between client and server that lets a case decide what passes when.

Problem: the races that matter are orders of bytes on one socket (a reply before a push, a push
between two replies, silence without an end of stream). Sleeping does not make them, it only makes
them likely.

Idea: the relay splits both directions into whole RESP frames and keeps, per direction ("lane"), a
queue of frames and a budget of how many may pass. A test holds a lane, waits until the frames it
wants are in the queue, and lets exactly so many go. Order is never changed, as TCP never does.
Black holes, delays, fragments, stalls and rewritten frames are further states of a lane. A trap
holds a lane from the first frame that fits, on whatever connection it comes, new ones included.

Cost: one thread a relay; a relay under load belongs into its own process, otherwise it fights the
test for the interpreter.

Invalidations come on a connection that asked for tracking, unless it asked to have them redirected,
or that subscribed to the channel they are redirected to; no names of any client are needed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable

from cachee.conformance.frames import INVALIDATE_CHANNEL, command_of, is_invalidation
from cachee.conformance.lane import Fits, Lane
from cachee.conformance.waiting import until

_READ_BYTES = 1 << 18
_RESET = struct.pack("ii", 1, 0)

Address = tuple[str, int] | str


class Connection:
    """One relayed connection: `up` to the server, `down` to the client."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay = relay
        self.client, self.server = client, server
        self.up = Lane(relay, client, server)
        self.down = Lane(relay, server, client)
        self.up.on_frame = self._learn
        self.down.on_frame = self._count
        self.alive = True
        self.is_link = False
        self.invalidations = 0
        self.name = b""

    @property
    def server_port(self) -> int | None:
        """The port the server knows this connection by, None over a Unix socket."""
        name = self.server.getsockname()
        return name[1] if isinstance(name, tuple) else None

    def _learn(self, frame: bytes) -> None:
        given = command_of(frame)
        words = [word.upper() for word in given]
        tracks = words[:3] == [b"CLIENT", b"TRACKING", b"ON"] and b"REDIRECT" not in words
        if tracks or (words[:1] == [b"SUBSCRIBE"] and INVALIDATE_CHANNEL in given):
            self.is_link = True
            if self._relay.on_link is not None:
                self._relay.on_link(self)
        if b"SETNAME" in words[:-1]:
            self.name = given[words.index(b"SETNAME") + 1]

    def _count(self, frame: bytes) -> None:
        if is_invalidation(frame):
            self.invalidations += 1
            self._relay.invalidations += 1

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

    def __init__(self, upstream: Address) -> None:
        self.upstream = upstream
        self.lock = threading.RLock()
        self.connections: list[Connection] = []
        self.accepted = 0
        self.invalidations = 0
        self.refusing = False
        self._trap: Fits | None = None
        self._late: tuple[Fits, float] | None = None
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

    def start(self) -> Relay:
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

    def __enter__(self) -> Relay:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def trap(self, fits: Fits) -> None:
        """A trap on what comes from the server, on every connection and on those to come."""
        with self.lock:
            self._trap = fits
            for connection in self.connections:
                connection.down.trap(fits)

    def late(self, fits: Fits, seconds: float) -> None:
        """Such frames of the server come late, on every connection and on those to come."""
        with self.lock:
            self._late = fits, seconds
            for connection in self.connections:
                connection.down.late(fits, seconds)

    def flow(self) -> None:
        """Everything passes again, in both directions."""
        with self.lock:
            self._trap = self._late = None
            for connection in self.connections:
                connection.up.flow()
                connection.down.flow()

    def holding(self, fits: Fits) -> list[Connection]:
        """The connections that hold such a frame of the server."""
        with self.lock:
            return [
                each for each in self.connections if any(fits(frame) for frame in each.down.held())
            ]

    def links(self) -> list[Connection]:
        """The live connections that invalidations come on."""
        with self.lock:
            return [each for each in self.connections if each.is_link and each.alive]

    def link(self) -> Connection:
        """The one live link, waited for."""
        return until(self.links, "a link through the relay")[0]

    def refuse(self, refusing: bool = True) -> None:  # noqa: FBT001 - reads as a sentence
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
                server = self._connect()
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                return
            for each in (client, server):
                each.setblocking(False)
                if each.family != socket.AF_UNIX:
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, client, server)
            if self._trap is not None:
                connection.down.trap(self._trap)
            if self._late is not None:
                connection.down.late(*self._late)
            self.connections.append(connection)
            if self.on_connect is not None:
                self.on_connect(connection)

    def _connect(self) -> socket.socket:
        if isinstance(self.upstream, str):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.upstream)
            return connection
        return socket.create_connection(self.upstream)

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
