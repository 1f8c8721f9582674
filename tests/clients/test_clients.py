"""Real clients, unchanged: the same program against the server and through the proxy.

Set CACHEE_TEST_CLIENTS_DIRECT to run both against servers: that shows that the programs themselves
print the same bytes twice.
"""

import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.clients.programs import (
    PROGRAMS,
    ROOT,
    MissingError,
    Program,
    build,
    command_line,
    environment,
)
from tests.harness.proxies import proxy
from tests.harness.servers import Server, running
from tests.harness.tls import Certificates, TlsFront

_RUN_S = 60.0
_DIRECT_VARIABLE = "CACHEE_TEST_CLIENTS_DIRECT"
_STEPS_AT_LEAST = 50
_PASSWORD = "open-sesame"
_USER, _USER_PASSWORD = "app", "let-me-in"


@dataclass(frozen=True)
class Mode:
    """How a program connects."""

    protocol: int
    is_tls: bool = False
    user: str | None = None
    password: str | None = None


MODES = {
    "resp2": Mode(2, password=_PASSWORD),
    "resp3": Mode(3),
    "tls": Mode(3, is_tls=True, user=_USER, password=_USER_PASSWORD),
}
CASES = [(name, mode) for name, program in PROGRAMS.items() for mode in program.modes]


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest) -> Iterator[Callable[[str], list[str]]]:
    """What the selected programs need, built beside the first tests; a missing tool skips."""
    selected = {
        PROGRAMS[item.callspec.params["name"]].toolchain
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    }
    with ThreadPoolExecutor(2) as builders:
        builds: dict[str, Future[list[str]]] = {
            toolchain: builders.submit(build, toolchain)
            for toolchain in ("go", "c", "node", "java", "python")
            if toolchain in selected
        }

        def wait(toolchain: str) -> list[str]:
            try:
                return builds[toolchain].result()
            except MissingError as reason:
                pytest.skip(str(reason))

        yield wait


@contextlib.contextmanager
def server_for(mode: Mode) -> Iterator[Server]:
    """A fresh server that wants the credentials of a mode."""
    options = {}
    if mode.password:
        rule = f"{_USER} on >{_USER_PASSWORD} ~* &* +@all"
        options = {"requirepass": _PASSWORD, "user": rule}
    with running(**options) as server:
        yield server


def store(mode: Mode, port: int, certificates: Certificates) -> dict[str, str]:
    """The programs' variables."""
    found = {"STORE_HOST": "127.0.0.1", "STORE_PORT": str(port)}
    found["STORE_PROTOCOL"] = str(mode.protocol)
    if mode.is_tls:
        found["STORE_CA"] = str(certificates.ca)
    if mode.user:
        found["STORE_USER"] = mode.user
    if mode.password:
        found["STORE_PASSWORD"] = mode.password
    return found


@contextlib.contextmanager
def direct(mode: Mode, certificates: Certificates) -> Iterator[int]:
    """The port of a fresh server; the wheel's has no TLS of its own."""
    with server_for(mode) as server, contextlib.ExitStack() as stack:
        if mode.is_tls:
            yield stack.enter_context(TlsFront(server.address, certificates)).port
        else:
            yield server.port


@contextlib.contextmanager
def proxied(mode: Mode, certificates: Certificates, *, is_served: bool) -> Iterator[int]:
    """The port of a proxy in front of a fresh server; checks at the end that L1 took part."""
    listen = ("--listen", "tls://127.0.0.1:0")
    keys = ("--tls-cert", str(certificates.server), "--tls-key", str(certificates.server_key))
    with server_for(mode) as server:
        login = f":{_PASSWORD}@" if mode.password else ""
        upstream = f"redis://{login}127.0.0.1:{server.port}"
        with proxy(*(listen + keys if mode.is_tls else ()), upstream=upstream) as front:
            yield front.tls_port if mode.is_tls else front.port
            stats = front.stats()
            assert stats["commands"] > 0, stats
            assert not is_served or stats["hits"] > 0, stats


def start(program: Program, built: list[str], variables: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command_line(program, built),
        cwd=ROOT,
        env=environment(program, variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def lines(process: "subprocess.Popen[str]") -> list[str]:
    """What a program printed, once it has ended well."""
    try:
        said, errors = process.communicate(timeout=_RUN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, errors = process.communicate()
        raise AssertionError(f"hangs after {said[-500:]!r} {errors[-2000:]}") from None
    assert process.returncode == 0, f"after {said[-500:]!r}: {errors[-3000:]}"
    return said.splitlines()


def difference(expected: list[str], found: list[str]) -> str:
    """The first line that differs, from shortly before the place where it does."""
    for want, got in itertools.zip_longest(expected, found, fillvalue=""):
        if want != got:
            same = itertools.takewhile(
                lambda pair: pair[0] == pair[1], zip(want, got, strict=False)
            )
            at = max(len(list(same)) - 60, 0)
            return f"in {want[:40]}:\ndirect …{want[at : at + 160]}\nproxy  …{got[at : at + 160]}"
    return ""


@pytest.mark.parametrize(("name", "mode_name"), CASES)
def test_prints_the_same_through_the_proxy(
    name: str,
    mode_name: str,
    built: Callable[[str], list[str]],
    certificates: Certificates,
) -> None:
    program, mode = PROGRAMS[name], MODES[mode_name]
    parts = built(program.toolchain)
    with contextlib.ExitStack() as stack:
        plain_port = stack.enter_context(direct(mode, certificates))
        if os.environ.get(_DIRECT_VARIABLE):
            twin = direct(mode, certificates)
        else:
            twin = proxied(mode, certificates, is_served=program.is_served)
        ports = (plain_port, stack.enter_context(twin))
        processes = [start(program, parts, store(mode, port, certificates)) for port in ports]
        expected, found = (lines(process) for process in processes)
    assert len(expected) >= _STEPS_AT_LEAST
    assert json.loads(expected[-1])["step"] == "hot"
    problem = difference(expected, found)
    assert not problem, problem
