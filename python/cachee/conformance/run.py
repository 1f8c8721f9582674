"""Runs cases one after the other, each in a process of its own that is killed at its deadline."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import IO

from cachee import embedded
from cachee._errors import CacheeError
from cachee.conformance.case import Case
from cachee.conformance.clients import adapter
from cachee.conformance.server import Server
from cachee.conformance.verdict import Outcome

EMBEDDED = "embedded"
START_S = 15.0
_LOWEST_PORT = 20_000
_PORTS = 10_000


@dataclass(frozen=True)
class Result:
    """How one case ended for one client."""

    client: str
    case: str
    outcome: Outcome
    evidence: str
    seconds: float


@contextlib.contextmanager
def serving(url: str, *, overwrite: bool) -> Iterator[Server]:
    """The server to run against: an embedded Valkey, or the one at a URL, which loses its keys."""
    if url == EMBEDDED:
        allowed = ("--enable-debug-command", "local")
        with (
            embedded.valkey(port=_free_port(), arguments=allowed) as valkey,
            closing(Server(f"redis://:{valkey.password}@127.0.0.1:{valkey.port}/0")) as server,
        ):
            yield server
        return
    with closing(Server(url)) as server:
        keys = server.keys()
        if keys and not overwrite:
            raise CacheeError(
                f"{server.address.shown} holds {keys} keys, which the cases would flush; "
                "--overwrite allows that"
            )
        yield server


def _free_port() -> int:
    while True:
        port = _LOWEST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def versions(client: str) -> dict[str, str]:
    """The versions of what a client consists of; an error that says what to install."""
    found = {}
    for name in adapter(client).distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError as error:  # noqa: PERF203 - a handful
            wanted = " ".join(adapter(client).distributions)
            raise CacheeError(
                f"{client}: {name} is not installed; install it with: pip install {wanted}"
            ) from error
    for name in adapter(client).accelerators:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def about(server: Server) -> dict[str, str]:
    """Server and interpreter, for the record."""
    fields = dict(
        line.partition(":")[::2] for line in bytes(server.call("INFO", "server")).decode().split()
    )
    if "valkey_version" in fields:
        told = f"Valkey {fields['valkey_version']}"
    else:
        told = f"Redis {fields.get('redis_version', 'of unknown version')}"
    return {"server": told, "python": platform.python_version(), "system": platform.system()}


def run(
    client: str, cases: Sequence[Case], server: Server, tell: Callable[[Result], object]
) -> list[Result]:
    """All of these cases for one client, in order; each result is told when it is there."""
    settings = server.settings()
    results = []
    try:
        for each in cases:
            server.reset(settings)
            results.append(_play(client, each, server))
            tell(results[-1])
    finally:
        server.reset(settings)
    return results


def _play(client: str, case: Case, server: Server) -> Result:
    command = [sys.executable, "-W", "ignore", "-m", "cachee.conformance.child"]
    deadline_s = START_S + case.deadline_s
    with (
        tempfile.TemporaryFile("w+") as said,
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [*command, client, case.name],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process,
    ):
        timed_out = False
        try:
            process.communicate(server.url + "\n", timeout=deadline_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        lines = _lines(said)
        return _result(client, case, lines, errors, process.wait(), deadline_s if timed_out else 0)


def _lines(file: IO[str]) -> list[dict[str, object]]:
    """The JSON lines a child said; a client may print other things."""
    file.seek(0)
    found = []
    for line in file:
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found


def _result(
    client: str,
    case: Case,
    lines: list[dict[str, object]],
    errors: IO[str],
    code: int,
    timed_out_s: float,
) -> Result:
    last: dict[str, object] = {}
    for line in lines:
        last.update(line)
    if "error" in last:
        raise CacheeError(str(last["error"]))
    if "outcome" in last:
        seconds = float(str(last["seconds"]))
        outcome = Outcome(last["outcome"])
        return Result(client, case.name, outcome, str(last["evidence"]), round(seconds, 2))
    stood = last.get("at", "its start")
    if timed_out_s:
        told = f"not done in {timed_out_s:.0f} s, stood at: {stood}"
        return Result(client, case.name, Outcome.HANG, told, timed_out_s)
    errors.seek(0)
    said = [line.strip() for line in errors if line.strip()]
    told = f"the process ended with {code} at: {stood}" + (f"; {said[-1][:160]}" if said else "")
    return Result(client, case.name, Outcome.FAIL, told, 0.0)
