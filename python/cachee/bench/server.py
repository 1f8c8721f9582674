"""The server behind every contender: filling it, and what it has done so far."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cachee.embedded import ValkeyServer

FILL_BATCH_BYTES = 1 << 20
TIMEOUT_S = 30.0
# What clients and proxies send to set themselves up or to stay alive.
HOUSEKEEPING = ("info", "ping", "hello", "client", "command", "config", "select", "auth", "acl")


class Work(NamedTuple):
    """Commands answered, housekeeping left out, and nanoseconds of CPU."""

    commands: int
    cpu_ns: int


class Server:
    """An embedded Valkey that is asked directly, over its Unix socket."""

    def __init__(self, valkey: ValkeyServer) -> None:
        self._valkey = valkey
        self.password = valkey.password

    def work(self) -> Work:
        """What the server has done so far."""
        commands = 0
        with self._connected() as connection:
            lines = _bulk(connection, b"INFO commandstats\r\n").decode().splitlines()
        for line in lines:
            name, _, text = line.partition(":")
            if text and name.removeprefix("cmdstat_").partition("|")[0] not in HOUSEKEEPING:
                commands += int(text.partition(",")[0].removeprefix("calls="))
        return Work(commands, cpu_ns(self._valkey.pid))

    def fill(self, prefix: str, keys: int, value_bytes: int) -> None:
        """Set every key of a case."""
        value = b"x" * value_bytes
        head = b"*3\r\n$3\r\nSET\r\n"
        each = [
            b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (head, len(key), key, value_bytes, value)
            for key in (b"%b%010d" % (prefix.encode(), index) for index in range(keys))
        ]
        a_batch = max(1, FILL_BATCH_BYTES // len(each[0]))
        with self._connected() as connection, connection.makefile("rb") as replies:
            for start in range(0, keys, a_batch):
                batch = each[start : start + a_batch]
                connection.sendall(b"".join(batch))
                for _ in batch:
                    if replies.readline() != b"+OK\r\n":
                        raise OSError("the server could not be filled")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(self._valkey.path))
            connection.sendall(f"AUTH {self.password}\r\n".encode())
            connection.recv(64)
            yield connection


def cpu_ns(pid: int | None) -> int:
    """CPU time of all threads of a process so far; 0 for none, and where there is no /proc."""
    found = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        # A thread may end between the two.
        with contextlib.suppress(OSError):
            found += int(task.read_text().split()[0])
    return found


def _bulk(connection: socket.socket, command: bytes) -> bytes:
    connection.sendall(command)
    with connection.makefile("rb") as reply:
        return reply.read(int(reply.readline()[1:]))
