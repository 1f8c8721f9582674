"""Owns one child process, so that nothing outlives whoever asked for it.

The problem: a server started by a program must go when the program goes, also when the program is
killed without a chance to clean up. The idea: this file, run as a script, stands between the two.
Its standard input is a pipe whose other end only the program holds; when that end closes, for
whatever reason, it stops the server and removes its directory. It uses nothing but the standard
library (`python -I -S _guard.py`), so it costs about 10 MB and 20 ms. What to run comes as the
first line of its standard input, not as an argument: it holds passwords, and `ps` is for everybody.

Rejected: PR_SET_PDEATHSIG (Linux only, tied to the thread that forked), a list of pids to kill
later (pids are reused; only a parent's own child surely still means the same process).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
ASK_INTERVAL_S = 0.01
LOG_LINES_SHOWN = 12
LOG_NAME = "log"


class GuardedProcessError(RuntimeError):
    """A guarded process could not be run, ended too early or never became ready."""


class Guarded:
    """A process behind its guard."""

    def __init__(self, name: str, guard: subprocess.Popen[bytes], pid: int, log: Path) -> None:
        self._name = name
        self._guard = guard
        self._log = log
        self.pid = pid

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Ask until the process answers; an error when it ends first or takes too long."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not answers():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(ASK_INTERVAL_S)
                raise self._failure("ended while starting")
            if time.monotonic() > deadline_s:
                raise self._failure(f"did not answer within {START_TIMEOUT_S:.0f} s")

    def _failure(self, what: str) -> GuardedProcessError:
        return GuardedProcessError(f"{self._name} {what}{log_tail(self._log)}")


@contextlib.contextmanager
def guarded(
    name: str,
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    stop: signal.Signals,
    user: str | None = None,
) -> Iterator[Guarded]:
    """Run the command in its directory, which goes with it, for the length of the block."""
    log = directory / LOG_NAME
    spec = {
        "command": list(command),
        "directory": str(directory),
        "environment": dict(environment),
        "stop_signal": int(stop),
        "user": user,
    }
    lifeline_read, lifeline_write = os.pipe()
    with log.open("ab") as errors:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=lifeline_read,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    os.close(lifeline_read)
    try:
        with os.fdopen(lifeline_write, "wb", closefd=False) as lifeline:
            lifeline.write(json.dumps(spec).encode() + b"\n")
        first_line = guard.stdout.readline() if guard.stdout else b""
        if not first_line.strip().isdigit():
            raise GuardedProcessError(f"{name} could not be run{log_tail(log)}")
        yield Guarded(name, guard, int(first_line), log)
    finally:
        os.close(lifeline_write)
        # A forked child of this process may hold a copy of the pipe: do not rely on its end alone.
        guard.terminate()
        guard.communicate()


def log_tail(log: Path) -> str:
    """The end of a log as the end of an error message; empty when there is none."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    shown = ["; its log ends with:", *lines[-LOG_LINES_SHOWN:]] if lines else []
    return "\n  ".join(shown)


def main() -> int:
    """The guard itself: start the command, say its pid, and stay until it or the parent ends."""
    with os.fdopen(0, "rb", buffering=0, closefd=False) as lifeline:
        spec = json.loads(lifeline.readline())
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, _wake)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Path(spec["directory"], LOG_NAME).open("ab") as log:
        user, group = _identity(spec["user"])
        server = subprocess.Popen(
            spec["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=spec["directory"],
            env=spec["environment"],
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    while server.poll() is None:
        ready, _, _ = select.select([0, wake_read], [], [])
        if 0 in ready and os.read(0, 4096) == b"":
            break
        if wake_read in ready and signal.SIGTERM in os.read(wake_read, 64):
            break
    else:
        return server.returncode or 1
    _stop(server, spec["stop_signal"])
    shutil.rmtree(spec["directory"], ignore_errors=True)
    return 0


def _stop(server: subprocess.Popen[bytes], stop_signal: int) -> None:
    server.send_signal(stop_signal)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(STOP_TIMEOUT_S)
    if server.poll() is None:
        server.kill()
        server.wait()


def _identity(user: str | None) -> tuple[int | None, int | None]:
    if user is None:
        return None, None
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Exists so that the signal reaches the wake-up pipe."""


if __name__ == "__main__":
    sys.exit(main())
