"""The upstream goes away, comes back, or answers slowly."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.abuse.conftest import warm
from tests.abuse.others import Bystander, percentile
from tests.harness.proxies import Proxy, proxy
from tests.harness.relay import Relay
from tests.harness.resp import ServerError, Wire, encode
from tests.harness.servers import Server
from tests.harness.waiting import until

FIRST_GOOD_REPLY_S, RECONNECTS_A_SECOND, DEADLINE_S, HIT_P99_MS = 0.2, 20, 1.0, 5.0


def _try(port: int, *command: object, patience_s: float = 2.0) -> object:
    """One command on a connection of its own; the exception if that fails."""
    try:
        with contextlib.closing(Wire(("127.0.0.1", port), timeout_s=patience_s)) as wire:
            return wire(*command)
    except (OSError, ServerError) as problem:
        return problem


def test_after_a_restart_the_upstream_is_used_at_once(
    front: Proxy, own_server: Server, amount, capsys
) -> None:
    longest = 0.0
    for at in range(amount(3)):
        assert _try(front.port, "SET", "k", at) == b"OK"
        own_server.kill()
        assert isinstance(_try(front.port, "SET", "k", "lost"), Exception)
        own_server.start()
        up = time.monotonic()
        while _try(front.port, "SET", "k", at) != b"OK":
            assert time.monotonic() < up + 20, "no good reply any more"
        longest = max(longest, time.monotonic() - up)
    with capsys.disabled():
        print(f"\nfirst good reply after the upstream's start: {longest * 1000:.0f} ms at most")
    assert longest <= amount.bar(FIRST_GOOD_REPLY_S)


def test_a_lost_upstream_is_not_flooded_with_attempts(own_server: Server) -> None:
    with (
        Relay(own_server.address) as relay,
        proxy(upstream=f"redis://127.0.0.1:{relay.port}") as front,
    ):
        with contextlib.closing(Wire(("127.0.0.1", front.port))) as wire:
            wire("SET", "k", "1")
            warm(front, wire, "GET", "k")
        relay.refuse()
        for connection in list(relay.connections):
            connection.cut()
        before, began = relay.accepted, time.monotonic()
        while time.monotonic() < began + 3:
            front.stats()
        attempts = (relay.accepted - before) / (time.monotonic() - began)
        relay.refuse(False)
    assert attempts <= RECONNECTS_A_SECOND


@pytest.mark.parametrize("loss", ["stopped", "killed"])
def test_without_upstream_hits_end_at_the_deadline(
    front: Proxy, own_server: Server, connect, amount, loss: str
) -> None:
    own_server.call("SET", "k", "1")
    wire = connect(front)
    warm(front, wire, "GET", "k")
    wire._socket.settimeout(0.3)
    if loss == "stopped":
        own_server.pause()
    else:
        own_server.kill()
    began = last = time.monotonic()
    outcome: object = None
    with contextlib.suppress(OSError, ServerError):
        while time.monotonic() < began + 5:
            outcome = wire("GET", "k")
            assert outcome == b"1"
            last = time.monotonic()
    if loss == "stopped":
        own_server.resume()
    assert last - began <= DEADLINE_S + amount.bar(0.1)


def test_a_lost_upstream_is_an_error_in_the_servers_style(front: Proxy, own_server: Server) -> None:
    assert _try(front.port, "SET", "k", "1") == b"OK"
    own_server.kill()
    for command in (("SET", "k", "2"), ("GET", "k"), ("NOSUCH",)):
        problem = _try(front.port, *command)
        assert isinstance(problem, (ServerError, ConnectionError)), f"{command}: {problem!r}"
    assert _try(front.port, "PING") is not None
    own_server.start()


def test_one_line_tells_of_an_upstream_that_is_lost_and_of_its_return(
    own_server: Server, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "cachee", "proxy", "--listen", f"unix:{tmp_path}/s"]
    command += ["--upstream", f"redis://127.0.0.1:{own_server.port}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("ready ")
        own_server.kill()
        lost = process.stderr.readline()
        own_server.start()
        back = process.stderr.readline()
        process.terminate()
        assert process.stderr.read() == ""
    assert lost.startswith("cachee proxy: the upstream is lost: ")
    assert back == "cachee proxy: the upstream is back\n"
    assert process.returncode == 0


@pytest.mark.parametrize("slow", ["sleep", "keys", "large value"])
def test_a_slow_command_does_not_delay_hits_of_others(
    front: Proxy, own_server: Server, connect, amount, capsys, slow: str
) -> None:
    own_server.call("SET", "hot", "1")
    if slow == "keys":
        own_server.call("DEBUG", "POPULATE", "300000")
    if slow == "large value":
        own_server.call("SETRANGE", "large", amount(20 << 20), "x")
    command = {
        "sleep": ("DEBUG", "SLEEP", "0.4"),
        "keys": ("KEYS", "*"),
        "large value": ("GET", "large"),
    }[slow]
    client = connect(front)
    warm(front, connect(front), "GET", "hot")
    with Bystander(("127.0.0.1", front.port), "GET", "hot", expected=b"1") as other:
        before = len(other.took_ms)
        for _ in range(3):
            _raw(front, command)
        during = other.took_ms[before:]
    client("PING")
    with capsys.disabled():
        print(f"\n{slow}: {len(during)} hits meanwhile, p99 {percentile(during, 0.99):.2f} ms")
    assert percentile(during, 0.99) <= amount.bar(HIT_P99_MS)


def _raw(front: Proxy, command: tuple[object, ...]) -> None:
    """Sends a command and reads the reply without taking it apart: that takes the interpreter."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", front.port))) as client:
        client.sendall(encode(*command) + encode("PING"))
        tail = b""
        while not tail.endswith(b"+PONG\r\n"):
            piece = client.recv(1 << 20)
            assert piece
            tail = (tail + piece)[-16:]


def test_a_reload_loses_no_connection(own_server: Server) -> None:
    upstream, saying = f"redis://127.0.0.1:{own_server.port}", "cachee proxy: limits reloaded\n"
    with proxy(upstream=upstream, saying=saying) as front, contextlib.ExitStack() as stack:
        wires = [
            stack.enter_context(contextlib.closing(Wire(("127.0.0.1", front.port))))
            for _ in range(21)
        ]
        subscribed = wires.pop()
        subscribed("SUBSCRIBE", "channel")
        os.kill(front.pid, signal.SIGHUP)
        for wire in wires:
            wire("SET", "k", "1")
        for _ in range(50):
            for wire in wires:
                assert wire("GET", "k") == b"1"
        assert wires[0]("PUBLISH", "channel", "still here") == 1


def test_a_database_that_does_not_exist_is_told(own_server: Server) -> None:
    upstream = f"redis://127.0.0.1:{own_server.port}/99"
    with proxy(upstream=upstream) as front:
        assert not front.stats()["ready"]
        assert "SELECT 99" in front.stats()["problem"]


def test_a_reload_names_what_has_to_wait(
    own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cachee.toml"
    file.write_text("max_clients = 50\n")
    said = (
        "cachee proxy: changed, but only for the next start: mode\ncachee proxy: limits reloaded\n"
    )
    with proxy(upstream=f"redis://127.0.0.1:{own_server.port}", saying=said) as front:
        file.write_text('max_clients = 1\nmode = "off"\n')
        os.kill(front.pid, signal.SIGHUP)
        with contextlib.closing(Wire(("127.0.0.1", front.port))) as first:
            first("PING")
            until(lambda: isinstance(_try(front.port, "PING"), Exception), "one client is allowed")
        assert front.stats()["mode"] == "on"
