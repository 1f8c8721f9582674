"""TLS between slow sides: what the TLS layer holds is sent as well."""

import contextlib
import socket
import ssl
import threading
import time

import pytest

from tests.harness.proxies import proxy
from tests.harness.resp import ServerError, Wire, encode
from tests.harness.servers import Server
from tests.harness.tls import Certificates, TlsFront

PAUSE_S = 0.4
"""Until the socket is full and the proxy knows."""


@pytest.mark.parametrize("mode", ["on", "off"])
@pytest.mark.parametrize("size", [4_174_000, 4_186_000, 6_000_000])
def test_a_slow_reader_gets_the_whole_reply(
    own_server: Server, certificates: Certificates, mode: str, size: int
) -> None:
    own_server.call("SET", "k", "x" * size)
    context = ssl.create_default_context(cafile=str(certificates.ca))
    listen = ("--listen", "tls://127.0.0.1:0", "--mode", mode)
    files = ("--tls-cert", str(certificates.server), "--tls-key", str(certificates.server_key))
    with proxy(*listen, *files, upstream=f"redis://127.0.0.1:{own_server.port}") as front:
        for _ in range(2):
            raw = socket.create_connection(("127.0.0.1", front.tls_port), timeout=10)
            with contextlib.closing(context.wrap_socket(raw, server_hostname="localhost")) as slow:
                slow.sendall(encode("GET", "k"))
                time.sleep(PAUSE_S)
                left = len(b"$%d\r\n" % size) + size + 2
                while left:
                    left -= len(slow.recv(1 << 16))


def test_a_slow_server_gets_the_whole_command(
    own_server: Server, certificates: Certificates
) -> None:
    with (
        TlsFront(own_server.address, certificates) as server,
        proxy(
            "--upstream-ca", str(certificates.ca), upstream=f"rediss://127.0.0.1:{server.port}"
        ) as front,
        contextlib.closing(Wire(("127.0.0.1", front.port), timeout_s=20)) as wire,
    ):
        assert wire("SET", "a", "1") == b"OK"
        for at in range(2):
            value = "y" * (16_000_000 + 77_777 * at)
            own_server.pause()
            waking = threading.Timer(PAUSE_S, own_server.resume)
            waking.start()
            try:
                assert wire("SET", "k", value) == b"OK"
            finally:
                waking.join()
            assert wire("STRLEN", "k") == len(value)


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
