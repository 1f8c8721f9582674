"""Each ceiling is where it was set, and says what the server would say."""

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.harness.proxies import Proxy, proxy
from tests.harness.resp import Wire, encode
from tests.harness.servers import Server, running
from tests.harness.waiting import until


def _socket(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _everything(client: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(4096):
            received += piece
    return received


def _one_too_many(port: int, taken: int) -> bytes:
    with contextlib.ExitStack() as stack:
        for _ in range(taken):
            client = stack.enter_context(contextlib.closing(_socket(port)))
            client.sendall(encode("PING"))
            assert client.recv(100) == b"+PONG\r\n"
        last = stack.enter_context(contextlib.closing(_socket(port)))
        return _everything(last)


def test_one_client_too_many_is_told_so_as_by_the_server(own_server: Server) -> None:
    with running(maxclients="5") as full:
        theirs = _one_too_many(full.port, 5)
    with proxy("--max-clients", "5", upstream=f"redis://127.0.0.1:{own_server.port}") as front:
        assert _one_too_many(front.port, 5) == theirs
        until(lambda: front.stats()["clients"] == 0, "all are gone")
        with contextlib.closing(Wire(("127.0.0.1", front.port))) as wire:
            assert wire("PING") == b"PONG"


def test_an_idle_client_is_closed_and_a_busy_one_is_not(own_server: Server) -> None:
    upstream = f"redis://127.0.0.1:{own_server.port}"
    with proxy("--idle-timeout", "1s", upstream=upstream) as front:
        idle, busy = _socket(front.port), Wire(("127.0.0.1", front.port))
        with contextlib.closing(idle), contextlib.closing(busy):
            closed: list[bytes] = []
            thread = threading.Thread(target=lambda: closed.append(_everything(idle)), daemon=True)
            thread.start()
            until(lambda: busy("PING") and not thread.is_alive(), "the idle one is closed", 5)
            assert closed == [b""]
            assert busy("PING") == b"PONG"


def test_a_half_closed_client_gets_its_replies(front: Proxy, own_server: Server) -> None:
    own_server.call("SET", "k", "1")
    with contextlib.closing(_socket(front.port)) as client:
        client.sendall(encode("GET", "k") + encode("INCR", "n") + encode("GET", "k") * 3)
        client.shutdown(socket.SHUT_WR)
        assert _everything(client) == b"$1\r\n1\r\n:1\r\n" + b"$1\r\n1\r\n" * 3


@pytest.mark.parametrize(
    "said",
    [b"*2\r\n$3\r\nGET\r\n$536870913\r\n", b"*99999999999\r\n", b"*1\r\n$x\r\n", b"x" * 70_000],
    ids=["a bulk too long", "too many arguments", "no length", "a line too long"],
)
def test_what_the_server_refuses_is_refused_in_its_words(
    front: Proxy, own_server: Server, said: bytes
) -> None:
    answers = []
    for port in (own_server.port, front.port):
        with contextlib.closing(_socket(port)) as client:
            client.sendall(said)
            answers.append(_everything(client))
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"-ERR Protocol error")


def test_what_a_client_has_sent_before_it_went_is_executed(
    front: Proxy, own_server: Server
) -> None:
    with contextlib.closing(_socket(front.port)) as client:
        client.sendall(encode("CLIENT", "REPLY", "OFF") + encode("INCR", "n") * 1_000)
    until(lambda: own_server.call("GET", "n") == b"1000", "all of them were executed")
    own_server.call("XADD", "s", "1-1", "a", "b")
    with contextlib.closing(_socket(front.port)) as client:
        client.sendall(encode("SET", "q", "1") + encode("XREAD", "STREAMS", "s", "0"))
        client.shutdown(socket.SHUT_WR)
        assert _everything(client).startswith(b"+OK\r\n*1\r\n")


def test_a_blocked_client_that_has_gone_takes_nothing(front: Proxy, own_server: Server) -> None:
    with contextlib.closing(_socket(front.port)) as client:
        client.sendall(encode("BLPOP", "l", "0") + encode("MONITOR"))
        until(lambda: b"blocked_clients:1" in own_server.call("INFO", "clients"), "it is blocked")
    until(lambda: front.stats()["clients"] == 0, "it is gone here")
    until(lambda: b"blocked_clients:0" in own_server.call("INFO", "clients"), "and at the server")
    assert own_server.call("RPUSH", "l", "x") == 1
    assert own_server.call("LLEN", "l") == 1


def test_a_file_that_is_no_socket_is_not_replaced(own_server: Server, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    command = [sys.executable, "-m", "cachee", "proxy", "--listen", f"unix:{path}"]
    command += ["--upstream", f"redis://127.0.0.1:{own_server.port}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert str(path) in ended.stderr
    assert path.read_text() == "data"
