"""Lets `cachee stats` ask a running process: one Unix socket a process, in a directory of its user.

The problem: a snapshot lives in the process, the operator is outside. The idea: a daemon thread
sleeps in accept() on RUNTIME/cachee-UID/PID.sock (directory mode 0700, owner checked) and answers
every connection with one JSON snapshot. No port, nothing to configure, nothing another user can
read. A forked child gets a socket of its own; a socket whose process is gone is removed by whoever
lists them.

Off by default, because a library should not start threads unasked; `cachee run` switches it on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cachee._errors import ProcessNotFoundError

ANSWER_TIMEOUT_S = 2.0
EXHAUSTED_PAUSE_S = 0.05
PASSING_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED)
ANSWER_BYTES_MAX = 4 * 1024**2


class Answer(Protocol):
    """A snapshot, of whatever kind."""

    def as_dict(self) -> dict[str, object]:
        """Plain types, ready for `json.dumps`."""


_serving: Callable[[], Answer] | None = None
_path: Path | None = None
_listener: socket.socket | None = None


def runtime_directory() -> Path:
    """The directory of this user's sockets; it may not exist yet."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"cachee-{os.getuid()}"


def serve(take: Callable[[], Answer]) -> None:
    """Answer with `take()` from now on, in this process and in its forked children.

    A directory that cannot be used (not ours, read-only) means no statistics from outside, not an
    error: the application comes first.
    """
    global _serving
    first = _serving is None
    _serving = take
    if first:
        os.register_at_fork(after_in_child=_start)
    if _path is None:
        _start()


def running_processes() -> list[int]:
    """Process ids that have a socket and are alive, oldest first."""
    found = []
    for path in runtime_directory().glob("*.sock"):
        if path.stem.isdigit() and _is_alive(int(path.stem)):
            found.append((path.stat().st_mtime, int(path.stem)))
        else:
            path.unlink(missing_ok=True)
    return [pid for _, pid in sorted(found)]


def ask(pid: int) -> dict[str, object]:
    """The snapshot of another process of this user; ProcessNotFoundError when none answers."""
    path = runtime_directory() / f"{pid}.sock"
    chunks: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            connection.connect(str(path))
            while sum(map(len, chunks)) < ANSWER_BYTES_MAX:
                chunk = connection.recv(65536)
                if not chunk:
                    break
                chunks.append(chunk)
            content = json.loads(b"".join(chunks))
        except FileNotFoundError:
            raise ProcessNotFoundError(
                f"no process {pid} of this user, or cachee does not answer for it"
            ) from None
        except (OSError, ValueError) as error:
            raise ProcessNotFoundError(f"process {pid} does not answer ({error})") from None
    if not isinstance(content, dict):
        raise ProcessNotFoundError(f"process {pid} does not answer in JSON")
    return content


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _start() -> None:
    global _path, _listener
    _path = None
    if _listener is not None:
        _listener.close()
    if _serving is None:
        return
    directory = runtime_directory()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return
        path = directory / f"{os.getpid()}.sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(8)
    except OSError:
        return
    _path, _listener = path, listener
    thread = threading.Thread(target=_answer, args=(listener,), name="cachee-stats", daemon=True)
    thread.start()
    import atexit

    atexit.register(_remove, path, os.getpid())


def _answer(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno not in PASSING_ERRNOS:
                return
            time.sleep(EXHAUSTED_PAUSE_S)
            continue
        with connection, contextlib.suppress(OSError):
            connection.settimeout(ANSWER_TIMEOUT_S)
            take = _serving
            if take is not None:
                connection.sendall(json.dumps(take().as_dict()).encode())


def _remove(path: Path, pid: int) -> None:
    if os.getpid() == pid:
        with contextlib.suppress(OSError):
            path.unlink()
