"""TLS between slow sides: what the TLS layer holds is sent as well."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from tests.harness.proxies import Proxy, proxy
from tests.harness.resp import ServerError, Wire, encode
from tests.harness.servers import Server
from tests.harness.tls import Certificates, TlsFront
from tests.harness.waiting import until


@contextlib.contextmanager
def _reader(front: Proxy, certificates: Certificates) -> Iterator[ssl.SSLSocket]:
    """A client whose window is small and stays so."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    raw.settimeout(10)
    raw.connect(("127.0.0.1", front.tls_port))
    with contextlib.closing(context.wrap_socket(raw, server_hostname="localhost")) as client:
        yield client


def _ask(front: Proxy, client: ssl.SSLSocket) -> int:
    """Asks for a large value and waits until the proxy can write no more: what it has written."""
    seen = [int(front.stats()["bytes_out"])]
    client.sendall(encode("GET", "k"))

    def stands() -> bool:
        seen.append(int(front.stats()["bytes_out"]))
        return len(seen) > 4 and seen[0] < seen[-3] == seen[-2] == seen[-1]

    until(stands, "the proxy can write no more")
    return seen[-1] - seen[0]


def _read(client: ssl.SSLSocket, size: int) -> None:
    left = len(b"$%d\r\n" % size) + size + 2
    while left:
        piece = client.recv(1 << 16)
        assert piece, f"closed {left} bytes before the end"
        left -= len(piece)


@pytest.mark.parametrize("mode", ["on", "off"])
def test_a_slow_reader_gets_the_whole_reply(
    own_server: Server, certificates: Certificates, mode: str
) -> None:
    listen = ("--listen", "tls://127.0.0.1:0", "--mode", mode)
    files = ("--tls-cert", str(certificates.server), "--tls-key", str(certificates.server_key))
    with proxy(*listen, *files, upstream=f"redis://127.0.0.1:{own_server.port}") as front:
        size = 7_000_000
        own_server.call("SET", "k", "x" * size)
        for _ in range(2):
            with _reader(front, certificates) as client:
                written = _ask(front, client)
                assert written < size
                _read(client, size)
        # As long as what the socket takes, and a little more, which the TLS layer takes over.
        for less in range(4_000, 64_000, 6_000):
            size = written - less
            own_server.call("SET", "k", "x" * size)
            for _ in range(2):
                with _reader(front, certificates) as client:
                    _ask(front, client)
                    _read(client, size)


@pytest.mark.parametrize("size", [16_000_000, 16_077_777])
def test_a_slow_server_gets_the_whole_command(
    own_server: Server, certificates: Certificates, size: int
) -> None:
    answers: list[object] = []
    with (
        TlsFront(own_server.address, certificates) as server,
        proxy(
            "--upstream-ca", str(certificates.ca), upstream=f"rediss://127.0.0.1:{server.port}"
        ) as front,
        contextlib.closing(Wire(("127.0.0.1", front.port), timeout_s=20)) as wire,
    ):
        assert wire("SET", "a", "1") == b"OK"
        taken = front.stats()["bytes_in"] + size
        sending = threading.Thread(target=lambda: answers.append(wire("SET", "k", "y" * size)))
        own_server.pause()
        try:
            sending.start()
            until(lambda: front.stats()["bytes_in"] >= taken, "the proxy has taken all of it")
        finally:
            own_server.resume()
        sending.join()
        assert answers == [b"OK"]
        assert wire("STRLEN", "k") == size


def test_an_upstream_without_tls_is_given_up(
    own_server: Server, certificates: Certificates
) -> None:
    with (
        proxy(
            *("--upstream-ca", str(certificates.ca), "--connect-timeout", "300ms"),
            upstream=f"rediss://127.0.0.1:{own_server.port}",
        ) as front,
        contextlib.closing(Wire(("127.0.0.1", front.port), timeout_s=20)) as wire,
        pytest.raises(ServerError, match="MASTERDOWN cachee: no TLS with"),
    ):
        wire("GET", "k")


def test_a_certificate_nobody_vouches_for_is_told(
    own_server: Server, certificates: Certificates
) -> None:
    with (
        TlsFront(own_server.address, certificates) as server,
        proxy(upstream=f"rediss://127.0.0.1:{server.port}") as front,
        contextlib.closing(Wire(("127.0.0.1", front.port), timeout_s=20)) as wire,
    ):
        with pytest.raises(ServerError, match=r"no TLS with .*certificate"):
            wire("GET", "k")
        assert "certificate" in str(front.stats()["problem"])
