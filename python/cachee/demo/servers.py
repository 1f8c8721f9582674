"""Everything that runs beside the load: the stores, the relay, the writers and the application."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg
from redis import Redis

from cachee import embedded
from cachee._errors import CacheeError
from cachee._guard import GuardedProcessError, guarded

RTT_SAMPLES = 200
STOP_TIMEOUT_S = 5.0
# The demo is about reads: nobody is to be turned away, however busy Zipf makes one user.
RATE_LIMIT_PER_MINUTE = 1_000_000


class ProcessError(CacheeError):
    """A process of the demo did not start, or ended with an error."""


class Relay:
    """The running relay: the stores' addresses through it, and what a round trip costs there."""

    def __init__(self, stores: Stores, process: subprocess.Popen[str]) -> None:
        self._stores = stores
        self._process = process
        ports = json.loads(_line(process))
        valkey, postgres = stores.valkey, stores.postgres
        self.redis_url = f"redis://:{valkey.password}@127.0.0.1:{ports['valkey']}/0"
        self.database_url = (
            f"postgresql://postgres:{postgres.password}@127.0.0.1:{ports['postgres']}"
            "/postgres?sslmode=disable"
        )
        self.late_us_p50 = 0.0
        self.late_us_p99 = 0.0

    def add(self, rtt_ms: float) -> None:
        """Make a round trip that much longer than without the relay, its own cost included."""
        self._order(rtt_ms)
        own_ms = self.added_ms("valkey") - rtt_ms
        self._order(max(0.0, rtt_ms - own_ms))

    def added_ms(self, store: str) -> float:
        """By how much the median round trip to `valkey` or `postgres` is longer than directly."""
        ask = {"valkey": _valkey_asked, "postgres": _postgres_asked}[store]
        urls = {
            "valkey": (self._stores.valkey.url, self.redis_url),
            "postgres": (self._stores.postgres.url, self.database_url),
        }[store]
        with ask(urls[0]) as direct, ask(urls[1]) as relayed:
            pairs = [(_took_ms(direct), _took_ms(relayed)) for _ in range(RTT_SAMPLES)]
        return median(through for _, through in pairs) - median(plain for plain, _ in pairs)

    def end(self) -> None:
        """Stop relaying and learn how late the pieces left."""
        told, _ = self._process.communicate(timeout=STOP_TIMEOUT_S)
        late = json.loads(told)
        self.late_us_p50 = float(late["late_us_p50"])
        self.late_us_p99 = float(late["late_us_p99"])

    def _order(self, rtt_ms: float) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(f"{rtt_ms}\n")
            self._process.stdin.flush()


@dataclass(frozen=True)
class Stores:
    """The two embedded stores."""

    valkey: embedded.ValkeyServer
    postgres: embedded.PostgresServer


@dataclass(frozen=True)
class Application:
    """The running sample application."""

    port: int
    pid: int


@contextlib.contextmanager
def stores() -> Iterator[Stores]:
    """An embedded Valkey and an embedded PostgreSQL."""
    with embedded.valkey() as valkey, embedded.postgres() as postgres:
        yield Stores(valkey, postgres)


@contextlib.contextmanager
def relay(to: Stores) -> Iterator[Relay]:
    """A relay in front of both stores."""
    routes = (f"valkey={to.valkey.path}", f"postgres={to.postgres.path}")
    with _child("relay", *routes) as process:
        yield Relay(to, process)


@contextlib.contextmanager
def writers(to: Stores, log: Path, accounts: int, rate: float, seed: int) -> Iterator[None]:
    """The background writers, beside the relay; their commits are in `log` after the block."""
    log.write_text("")
    addresses = {"REDIS_URL": to.valkey.url, "DATABASE_URL": to.postgres.url}
    with _child("writers", str(log), str(accounts), str(rate), str(seed), environment=addresses):
        yield


@contextlib.contextmanager
def application(prefix: Sequence[str], through: Relay) -> Iterator[Application]:
    """The sample application under uvicorn, its command line preceded by `prefix`."""
    port = _free_port()
    command = [*prefix, *uvicorn_command(port)]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CACHEE_")},
        "REDIS_URL": through.redis_url,
        "DATABASE_URL": through.database_url,
        "RATE_LIMIT_PER_MINUTE": str(RATE_LIMIT_PER_MINUTE),
    }
    directory = Path(tempfile.mkdtemp(prefix="cachee-demo-"))
    try:
        run = guarded("the application", command, directory, environment, stop=signal.SIGTERM)
        with run as process:
            process.wait_until(lambda: _accepts(port))
            yield Application(port, process.pid)
    except GuardedProcessError as error:
        raise ProcessError(str(error)) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def uvicorn_command(port: int) -> list[str]:
    """The command line that runs the sample application."""
    folder = str(Path(__file__).parent)
    listen = ["--host", "127.0.0.1", "--port", str(port)]
    quiet = ["--log-level", "warning", "--no-access-log"]
    return [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", folder, *listen, *quiet]


@contextlib.contextmanager
def _child(
    module: str, *words: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process of ours that ends when its standard input does."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"cachee.demo.{module}", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode != 0:
        raise ProcessError(f"the {module} ended with exit code {process.returncode}")


def _line(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise ProcessError("the relay ended while starting")
    return line


@contextlib.contextmanager
def _valkey_asked(url: str) -> Iterator[Callable[[], object]]:
    redis = Redis.from_url(url)
    redis.ping()
    try:
        yield redis.ping
    finally:
        redis.close()


@contextlib.contextmanager
def _postgres_asked(url: str) -> Iterator[Callable[[], object]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield lambda: connection.execute("SELECT 1").fetchone()


def _took_ms(ask: Callable[[], object]) -> float:
    since_ns = time.perf_counter_ns()
    ask()
    return (time.perf_counter_ns() - since_ns) / 1e6


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
