"""The load: a number of connections, each asking again as soon as it has its answer.

One thread and blocking-free sockets: the moment the last byte of an answer is there is the moment
noted, and the answer is taken apart only after the next question is out.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from cachee._errors import CacheeError
from cachee.demo import content
from cachee.demo.history import Subject

READ_BYTES = 1 << 16
ANSWER_TIMEOUT_S = 10.0
HEADER_END = b"\r\n\r\n"
UNAUTHORIZED = 401


class LoadError(CacheeError):
    """The application gave an answer that the load does not expect."""


class Answer(NamedTuple):
    """One answer: when it was asked and had, the revisions it shows, and how long each stage took.

    A revision of None means that the answer says there is no such value.
    """

    started_ns: int
    ended_ns: int
    shown: dict[Subject, int | None]
    stages_ns: dict[str, int]


class Connection:
    """One keep-alive connection and the request under way on it."""

    __slots__ = ("account", "received", "socket", "started_ns")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.account = 0
        self.started_ns = 0

    def ask(self, account: int) -> None:
        """Send the request of this account's user."""
        self.account = account
        self.received.clear()
        request = (
            "GET /api/v1/dashboard HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {content.token(account)}\r\n\r\n"
        ).encode()
        self.started_ns = time.monotonic_ns()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come; whether the answer is whole."""
        piece = self.socket.recv(READ_BYTES)
        if not piece:
            raise LoadError("the application closed the connection")
        self.received += piece
        header_end = self.received.find(HEADER_END)
        if header_end < 0:
            return False
        length = int(_header(self.received[:header_end], b"content-length"))
        return len(self.received) >= header_end + len(HEADER_END) + length


def ask_all(
    port: int, accounts: Sequence[int], concurrency: int, each: Callable[[Answer], None]
) -> None:
    """Ask once for each of `accounts`, over `concurrency` connections, and hand on each answer."""
    remaining: Iterator[int] = iter(accounts)
    with selectors.DefaultSelector() as selector:
        connections = [Connection(port) for _ in range(min(concurrency, len(accounts)))]
        try:
            for connection in connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.ask(next(remaining))
            under_way = len(connections)
            while under_way:
                ready = selector.select(ANSWER_TIMEOUT_S)
                if not ready:
                    raise LoadError(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")
                for key, _ in ready:
                    under_way -= not _turn(key.data, remaining, each)
        finally:
            for connection in connections:
                connection.socket.close()


def _turn(connection: Connection, remaining: Iterator[int], each: Callable[[Answer], None]) -> bool:
    """Receive; when an answer is whole ask the next question. False when none was left."""
    if not connection.receive():
        return True
    ended_ns = time.monotonic_ns()
    answered = (connection.account, connection.started_ns, bytes(connection.received))
    account = next(remaining, None)
    if account is not None:
        connection.ask(account)
    each(parse(*answered, ended_ns))
    return account is not None


def parse(account: int, started_ns: int, answer: bytes, ended_ns: int) -> Answer:
    """The answer's revisions and stage timings."""
    header, _, body = answer.partition(HEADER_END)
    status = int(header[9:12])
    if status == UNAUTHORIZED:
        return Answer(started_ns, ended_ns, {Subject("session", account): None}, {})
    if status != 200:
        raise LoadError(f"status {status}: {body[:200].decode(errors='replace')}")
    shown = json.loads(body)
    permissions = next(word for word in shown["permissions"] if word.startswith("revision:"))
    return Answer(
        started_ns,
        ended_ns,
        {
            Subject("session", account): shown["session"]["revision"],
            Subject("permissions", account): int(permissions.removeprefix("revision:")),
            Subject("flags", content.ACCOUNT_OF_EVERYBODY): int(shown["flags"]["revision"]),
            Subject("cached_query", account): shown["summary"]["revision"],
        },
        _stages_ns(_header(header, b"server-timing").decode()),
    )


def _stages_ns(server_timing: str) -> dict[str, int]:
    named = (part.strip().split(";dur=") for part in server_timing.split(","))
    return {name: round(float(duration_ms) * 1e6) for name, duration_ms in named}


def _header(headers: bytes | bytearray, name: bytes) -> bytes:
    for text in headers.split(b"\r\n")[1:]:
        found, _, value = text.partition(b":")
        if found.strip().lower() == name:
            return bytes(value.strip())
    raise LoadError(f"an answer without {name.decode()}")
