"""The proxy's memory has a ceiling, whatever clients send, announce or leave unread."""

import contextlib
import socket
import struct
import threading

import pytest

from tests.abuse.crowd import connection, crowd_of
from tests.abuse.others import Bystander
from tests.abuse.process import MB, open_files, rss_bytes
from tests.harness.proxies import Proxy, proxy
from tests.harness.resp import Wire, encode
from tests.harness.servers import Server, running
from tests.harness.waiting import until

NEVER_READING_MB, OTHERS_P99_MS = 64, 10
IDLE_BYTES, ANNOUNCED_BYTES = 10 << 10, 16 << 10
PARTIAL_BYTES = UNAUTHENTICATED_BYTES = 80 << 10
"""64 KB that a client may leave half said, and what it costs besides."""

BACK_TO_START_MB = 2
_RESET = struct.pack("ii", 1, 0)


def _bystander(front: Proxy) -> Bystander:
    """Somebody whose reads are hits."""
    return Bystander(("127.0.0.1", front.port), "GET", "other", expected=b"1")


def _push(target: socket.socket, data: bytes) -> int:
    """Sends until nobody takes any more for a second; how much that was."""
    target.settimeout(1.0)
    sent = 0
    with contextlib.suppress(OSError):
        while sent < len(data):
            sent += target.send(data[sent : sent + 65536])
    return sent


def _settled(pid: int) -> int:
    """Resident memory once it stands still between two looks."""
    seen = [0]

    def stands() -> int:
        before, seen[0] = seen[0], rss_bytes(pid)
        return seen[0] if before == seen[0] else 0

    return until(stands, "the memory stands still", 20)


@pytest.mark.parametrize("size", [100_000, 100], ids=["large values", "small values"])
def test_a_client_that_never_reads(
    front: Proxy, own_server: Server, amount, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    own_server.call("SET", "k", "x" * size)
    own_server.call("SET", "other", "1")
    before, upstream_before = rss_bytes(front.pid), rss_bytes(own_server.pid)
    with _bystander(front) as other, contextlib.closing(connection(front)) as client:
        sent = _push(client, encode("GET", "k") * amount(150_000))
        until(lambda: len(other.took_ms) > 500, "the other goes on", 30)
        grown = rss_bytes(front.pid) - before
        upstream = rss_bytes(own_server.pid) - upstream_before
    with capsys.disabled():
        print(
            f"\nnever reading, {size} B: {sent} B of commands taken, proxy +{grown / MB:.1f} MB,"
            f" server +{upstream / MB:.1f} MB, others' p99 {other.p99_ms():.2f} ms"
        )
    assert grown <= NEVER_READING_MB * MB
    assert other.p99_ms() <= amount.bar(OTHERS_P99_MS)


def test_a_slow_reader_gets_everything_and_nobody_waits(
    front: Proxy, own_server: Server, amount
) -> None:
    value = bytes(range(256)) * 400
    own_server.call("SET", "k", value)
    own_server.call("SET", "other", "1")
    count = amount(100)
    wanted = count * len(b"$%d\r\n%s\r\n" % (len(value), value))
    with _bystander(front) as other, contextlib.closing(connection(front)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        writer = threading.Thread(target=client.sendall, args=(encode("GET", "k") * count,))
        writer.start()
        taken = bytearray()
        while len(taken) < wanted:
            piece = client.recv(4096)
            assert piece, f"closed after {len(taken)} of {wanted} bytes"
            taken += piece
        writer.join()
    assert taken == b"$%d\r\n%s\r\n" % (len(value), value) * count
    assert other.p99_ms() <= amount.bar(OTHERS_P99_MS)


def test_a_million_tiny_pipelined_commands(front: Proxy, own_server: Server, amount) -> None:
    own_server.call("SET", "other", "1")
    count = amount(100_000)
    before = rss_bytes(front.pid)
    with _bystander(front) as other, contextlib.closing(connection(front)) as client:
        writer = threading.Thread(target=client.sendall, args=(b"PING\r\n" * count,))
        writer.start()
        left = len(b"+PONG\r\n") * count
        while left:
            piece = client.recv(1 << 16)
            assert piece
            left -= len(piece)
        writer.join()
        grown = rss_bytes(front.pid) - before
        until(lambda: len(other.took_ms) >= 100, "the other was answered too", 30)
    assert grown <= NEVER_READING_MB * MB
    assert other.p99_ms() <= amount.bar(OTHERS_P99_MS)


def test_an_idle_client_costs_little(
    front: Proxy, amount, capsys: pytest.CaptureFixture[str]
) -> None:
    count = amount(2_000)
    with crowd_of(front, 200, b""):
        pass
    before = _settled(front.pid)
    with crowd_of(front, count, b""):
        each = (_settled(front.pid) - before) / count
    with crowd_of(front, count // 4, encode("GET", "none")) as crowd:
        for client in crowd:
            assert client.recv(100) == b"$-1\r\n"
        used = (_settled(front.pid) - before) / (count // 4)
    with capsys.disabled():
        print(f"\nidle connection: {each:.0f} B, after a GET: {used:.0f} B")
    assert each <= IDLE_BYTES
    assert used <= 2 * IDLE_BYTES


@pytest.mark.parametrize(
    ("said", "bytes_each"),
    [
        (b"*2\r\n$3\r\nGET\r\n$100000000\r\n", ANNOUNCED_BYTES),
        (b"*1048576\r\n", ANNOUNCED_BYTES),
        (b"*2\r\n$3\r\nGET\r\n$500000000\r\nx", ANNOUNCED_BYTES),
        (b"GET " + b"x" * 60_000, PARTIAL_BYTES),
    ],
    ids=["a huge bulk", "a million arguments", "a byte of a huge bulk", "an unended line"],
)
def test_what_is_only_announced_costs_little(
    front: Proxy, amount, said: bytes, bytes_each: int
) -> None:
    count = amount(500)
    before = _settled(front.pid)
    with crowd_of(front, count, said):
        assert (_settled(front.pid) - before) / count <= bytes_each


def test_before_the_password_nothing_large_is_taken(amount) -> None:
    with (
        running(requirepass="secret") as server,
        proxy(upstream=f"redis://127.0.0.1:{server.port}") as front,
    ):
        before, count = _settled(front.pid), amount(100)
        partial = b"*2\r\n$3\r\nGET\r\n$16000\r\n" + b"x" * 15_999
        with crowd_of(front, count, partial):
            assert (_settled(front.pid) - before) / count <= UNAUTHENTICATED_BYTES
        for said, answer in (
            (
                b"*2\r\n$3\r\nGET\r\n$16385\r\n",
                b"-ERR Protocol error: unauthenticated bulk length\r\n",
            ),
            (b"*11\r\n", b"-ERR Protocol error: unauthenticated multibulk length\r\n"),
            (encode("GET", "k"), b"-NOAUTH Authentication required.\r\n"),
        ):
            with contextlib.closing(connection(front)) as client:
                client.sendall(said)
                assert client.recv(1000) == answer
                assert b"Protocol" not in answer or client.recv(100) == b""
        with contextlib.closing(connection(front)) as client:
            _push(client, (encode("PING") * 100_000) + b"x" * MB)
            assert rss_bytes(front.pid) - before <= NEVER_READING_MB * MB


def test_files_and_memory_go_back_to_where_they_were(
    front: Proxy, own_server: Server, amount, capsys: pytest.CaptureFixture[str]
) -> None:
    def round_of(connects: int, resets: int, kills: int) -> None:
        for _ in range(connects):
            with contextlib.closing(connection(front)) as client:
                client.sendall(encode("GET", "k"))
                client.recv(100)
        for at in range(resets):
            client = connection(front)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.sendall(encode("SET", "k", at)[: 1 + at % 25])
            client.close()
        for _ in range(kills):
            with contextlib.closing(Wire(("127.0.0.1", front.port))) as wire:
                wire("INCR", "n")
                own_server.call("CLIENT", "KILL", "TYPE", "normal")
        until(lambda: front.stats()["clients"] == 0, "every client is gone", 30)

    round_of(amount(1_000), amount(100), amount(10))
    files, memory = open_files(front.pid), _settled(front.pid)
    round_of(amount(1_000), amount(100), amount(10))
    until(lambda: open_files(front.pid) <= files + 1, f"{files} files again", 10)
    grown = _settled(front.pid) - memory
    with capsys.disabled():
        print(f"\nsecond round: {open_files(front.pid) - files:+d} files, {grown / MB:+.2f} MB")
    assert grown <= BACK_TO_START_MB * MB
