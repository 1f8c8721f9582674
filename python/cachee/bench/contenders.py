"""Who is measured: the server itself, the relay, cachee, and other proxies where installed.

Each is started for one route and owned by a guard process, so that nothing outlives the run. A
contender that is not installed or does not start becomes a row with the reason, not an error.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cachee._errors import CacheeError
from cachee._guard import GuardedProcessError, guarded
from cachee.bench import peers
from cachee.bench.cases import Route
from cachee.embedded import ValkeyServer

DIRECT, RELAY, CACHEE = "the server itself", "a byte relay", "cachee proxy"


class AbsentError(CacheeError):
    """The contender is not installed or did not start."""


@dataclass(frozen=True)
class Running:
    """Where to ask, and the proxy's process; the server itself has none besides."""

    address: str
    pid: int | None


@dataclass(frozen=True)
class Place:
    """What a contender is started with."""

    route: Route
    upstream: str
    password: str
    directory: Path

    def listen(self) -> str:
        """Where to listen: a port of the system's choice, or a socket in the directory."""
        return "tcp://127.0.0.1:0" if self.route.listen == "tcp" else f"unix:{self._socket}"

    def chosen(self) -> str:
        """The same for those who cannot tell which port the system chose."""
        return f"tcp://127.0.0.1:{free_port()}" if self.route.listen == "tcp" else self.listen()

    @property
    def _socket(self) -> Path:
        return self.directory / "listen.sock"


@dataclass(frozen=True)
class Contender:
    """A name for the table, and how to run it."""

    name: str
    run: Callable[[Place], contextlib.AbstractContextManager[Running]]
    note: str = ""


@contextlib.contextmanager
def started(contender: Contender, route: Route, server: ValkeyServer) -> Iterator[Running]:
    """The contender between a client and the server, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        upstream = server_address(server, route.upstream)
        if route.rtt_ms:
            place = Place(route, upstream, server.password, stack.enter_context(_directory()))
            upstream = stack.enter_context(_relay(place, route.rtt_ms / 2)).address
        place = Place(route, upstream, server.password, stack.enter_context(_directory()))
        if contender.name == DIRECT and not route.rtt_ms:
            yield Running(server_address(server, route.listen), None)
        else:
            yield stack.enter_context(contender.run(place))


def server_address(server: ValkeyServer, transport: str) -> str:
    """The server's own address."""
    return f"tcp://127.0.0.1:{server.port}" if transport == "tcp" else f"unix:{server.path}"


@contextlib.contextmanager
def _direct(place: Place) -> Iterator[Running]:
    yield Running(place.upstream, None)


@contextlib.contextmanager
def _relay(place: Place, delay_ms: float = 0.0) -> Iterator[Running]:
    command = [sys.executable, "-m", "cachee.bench.relay", place.listen(), place.upstream]
    with _announced("the relay", [*command, str(delay_ms)], place.directory) as running:
        yield running


@contextlib.contextmanager
def _cachee(place: Place) -> Iterator[Running]:
    scheme, _, rest = place.upstream.partition(":")
    secret = f":{place.password}@"
    url = f"unix://{secret}{rest}" if scheme == "unix" else f"redis://{secret}{rest[2:]}"
    command = [sys.executable, "-m", "cachee", "proxy", "--listen", place.listen()]
    # Not as a flag: everybody may read the command lines of everybody.
    variables = {"CACHEE_UPSTREAM": url}
    with _announced("cachee proxy", command, place.directory, variables) as running:
        yield running


@contextlib.contextmanager
def _peer(peer: peers.Peer, place: Place) -> Iterator[Running]:
    program = shutil.which(peer.program)
    if program is None:
        raise AbsentError(f"no {peer.program} on PATH")
    address = place.chosen()
    settings = place.directory / peer.settings
    settings.touch(mode=0o600)
    settings.write_text(peer.configure(address, place.upstream, place.password))
    command = [program, *peer.arguments(settings, free_port())]
    with _guarded(peer.program, command, place.directory) as (pid, wait_until):
        wait_until(lambda: _accepts(address))
        yield Running(address, pid)


@contextlib.contextmanager
def _announced(
    name: str,
    command: list[str],
    directory: Path,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Running]:
    """A process that says `ready ADDRESS …` when it serves."""
    log = directory / "log"

    def line() -> list[str]:
        lines = log.read_text(errors="replace").splitlines()
        return next((text.split() for text in lines if text.startswith("ready ")), [])

    with _guarded(name, command, directory, variables) as (pid, wait_until):
        wait_until(lambda: bool(line()))
        yield Running(line()[1], pid)


@contextlib.contextmanager
def _guarded(
    name: str, command: list[str], directory: Path, more: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[int, Callable[[Callable[[], bool]], None]]]:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("CACHEE_")} | dict(more)
    with contextlib.ExitStack() as stack:
        try:
            context = guarded(name, command, directory, variables, stop=signal.SIGTERM)
            process = stack.enter_context(context)

            def wait_until(answers: Callable[[], bool]) -> None:
                try:
                    process.wait_until(answers)
                except GuardedProcessError as error:
                    raise AbsentError(str(error)) from error

        except GuardedProcessError as error:
            raise AbsentError(str(error)) from error
        yield process.pid, wait_until


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="cachee-bench-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _accepts(address: str) -> bool:
    scheme, _, rest = address.partition(":")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(rest) == 0
    host, _, port = rest[2:].rpartition(":")
    with socket.socket() as connection:
        return connection.connect_ex((host, int(port))) == 0


def all_contenders() -> list[Contender]:
    """The server, the floor, cachee, and everybody else."""
    others = [
        Contender(peer.name, functools.partial(_peer, peer), peer.note) for peer in peers.PEERS
    ]
    return [
        Contender(DIRECT, _direct),
        Contender(RELAY, _relay),
        Contender(CACHEE, _cachee),
        *others,
    ]
