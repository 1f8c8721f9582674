"""RESP as the tests need it: where a frame ends, a command's arguments, and a bare connection.

The bare connection exists so that what the tests use as the truth shares no line of code with
the clients under test.
"""

import socket
import threading
from collections.abc import Callable, Sequence

from cachee.conformance.frames import command_of, frame_end, is_push

__all__ = [
    "ServerError",
    "Wire",
    "command_of",
    "decode",
    "encode",
    "frame_end",
    "is_push",
    "refusal",
]


class ServerError(Exception):
    """An error reply of the server."""


def refusal(call: Callable[..., object], *args: object) -> str:
    """The error that a command is answered with, which it must be."""
    try:
        reply = call(*args)
    except ServerError as error:
        return str(error)
    raise AssertionError(f"{args} was answered with {reply!r}")


def encode(*args: object) -> bytes:
    """A command as the array of bulks a client sends."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        raw = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(raw), raw))
    return b"".join(parts)


def decode(frame: bytes, start: int = 0) -> tuple[object, int]:
    """The value that begins at `start` and the index behind it; maps become lists of pairs."""
    line = frame.index(b"\r\n", start)
    kind, text = frame[start : start + 1], frame[start + 1 : line]
    position = line + 2
    if kind in (b"$", b"=", b"!"):
        size = int(text)
        if size < 0:
            return None, position
        value = frame[position : position + size]
        return (ServerError(value.decode()) if kind == b"!" else value), position + size + 2
    if kind in (b"*", b"~", b">", b"%"):
        count = int(text) * (2 if kind == b"%" else 1)
        if count < 0:
            return None, position
        items = []
        for _ in range(count):
            item, position = decode(frame, position)
            items.append(item)
        return items, position
    simple = {b"+": bytes, b":": int, b",": float, b"_": lambda _: None, b"#": lambda t: t == b"t"}
    if kind == b"-":
        return ServerError(text.decode()), position
    return simple[kind](text), position


class Wire:
    """A blocking RESP connection of the tests' own: the source of truth and of foreign writes."""

    def __init__(
        self, address: tuple[str, int] | str, *, protocol: int = 2, timeout_s: float = 30.0
    ):
        if isinstance(address, str):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(timeout_s)
            self._socket.connect(address)
        else:
            self._socket = socket.create_connection(address, timeout=timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._lock = threading.Lock()
        self.pushes: list[object] = []
        if protocol == 3:
            self("HELLO", "3")

    def __call__(self, *args: object) -> object:
        """Sends one command, returns its reply, raises an error reply."""
        with self._lock:
            self._socket.sendall(encode(*args))
            return self._reply()

    def many(self, commands: Sequence[Sequence[object]]) -> list[object]:
        """One pipeline."""
        with self._lock:
            self._socket.sendall(b"".join(encode(*command) for command in commands))
            return [self._reply() for _ in commands]

    def message(self) -> object:
        """What comes next without being asked for: of a RESP2 subscription."""
        with self._lock:
            return self._reply()

    def _reply(self) -> object:
        while True:
            end = frame_end(self._buffer) if self._buffer else None
            if end is None:
                received = self._socket.recv(1 << 20)
                if not received:
                    raise ConnectionError("the server closed the connection")
                self._buffer += received
                continue
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            value, _ = decode(frame)
            if is_push(frame):
                self.pushes.append(value)
                continue
            if isinstance(value, ServerError):
                raise value
            return value

    def close(self) -> None:
        self._socket.close()
