"""Many clients, some of them rude: everybody is answered, and in time."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from cachee._core import generate_load
from tests.abuse.crowd import connection, crowd_of
from tests.abuse.process import cpu_seconds, rss_bytes
from tests.harness.proxies import Proxy, proxy
from tests.harness.resp import encode
from tests.harness.servers import Server
from tests.harness.waiting import until

IDLE, BUSY, RATE_PER_S, SECONDS = 1_000, 100, 4_000, 1.0
NOTICED, BYTES_A_CLIENT = 2.0, 16 << 10
RUDE = {
    "half a command": b"*2\r\n$3\r\nGET\r\n$10\r\nab",
    "a huge bulk announced": b"*2\r\n$3\r\nGET\r\n$500000000\r\n",
    "a huge array announced": b"*1000000\r\n",
    "replies that nobody reads": encode("GET", "large") * 200,
    "tiny commands": b"PING\r\n" * 20_000,
}


def _load(front: Proxy, **how: Any) -> dict[str, float]:
    """GET of 1 000 keys; every command is answered, and none with an error."""
    settings = {"operation": "get", "threads": 1, "pipeline": 1, "rate_per_s": None} | how
    found = generate_load(
        f"tcp://127.0.0.1:{front.port}",
        seconds=SECONDS,
        keys=1_000,
        value_bytes=100,
        read_share=1.0,
        mget_keys=1,
        prefix="crowd:",
        password=None,
        **settings,
    )
    assert (found["unanswered"], found["errors"]) == (0, 0)
    return found


@contextlib.contextmanager
def _rude(front: Proxy, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for said in RUDE.values():
            for _ in range(count):
                client = stack.enter_context(contextlib.closing(connection(front)))
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.send(said)
                if said == RUDE["half a command"]:
                    client.shutdown(socket.SHUT_WR)
        yield


def test_cold_keys_that_everybody_asks_for_at_once(own_server: Server, amount) -> None:
    """Reads end in every order, some in the moment they are asked: nobody is forgotten."""
    for at in range(amount(5)):
        # A new one each time: its L1 is empty.
        with proxy(upstream=f"redis://127.0.0.1:{own_server.port}") as front:
            found = _load(front, connections=50, pipeline=64, seed=at)
            assert found["operations"] > 10_000


def test_a_crowd_and_rude_clients_are_not_noticed(own_server: Server, amount, capsys) -> None:
    own_server.call("SET", "large", "x" * 10_000)
    idle, busy = amount(IDLE), amount(BUSY)
    upstream = f"redis://127.0.0.1:{own_server.port}"
    with proxy("--max-clients", str(idle + busy + 1_000), upstream=upstream) as front:
        load = {"connections": busy, "rate_per_s": RATE_PER_S}
        for at in range(3):
            alone = _load(front, seed=at, **load)
        before = rss_bytes(front.pid)
        with crowd_of(front, idle, b""), _rude(front, 5):
            crowded = [_load(front, seed=10 + at, **load) for at in range(3)]
            each = (rss_bytes(front.pid) - before) / (idle + busy)
    took = min(one["latency_us_p99"] for one in crowded)
    with capsys.disabled():
        print(
            f"\n{idle} idle, {busy} busy and {5 * len(RUDE)} rude clients: p99"
            f" {alone['latency_us_p99']:.0f} µs before, {took:.0f} µs with them;"
            f" {each:.0f} B a client"
        )
    assert took <= amount.bar(NOTICED) * alone["latency_us_p99"]
    assert each <= BYTES_A_CLIENT


def test_who_has_nothing_to_do_rests(front: Proxy, own_server: Server, connect) -> None:
    """A push that comes to an idle link does not keep its thread awake."""
    wire = connect(front)
    wire("GET", "k")
    until(lambda: front.stats()["stored"] > 0, "the key is held")
    # Nobody is served for longer than the link asks for signs of life.
    quiet = front.stats()["invalidated"]
    until(lambda: _rests(front), "the proxy rests")
    own_server.call("SET", "k", "1")
    until(lambda: front.stats()["invalidated"] > quiet, "the push has come")
    until(lambda: _rests(front), "the proxy rests again")


def _rests(front: Proxy) -> bool:
    """Whether it used little of the processor while somebody else was waited for."""
    before = cpu_seconds(front.pid)
    with contextlib.closing(connection(front)) as client:
        client.sendall(encode("BLPOP", "nothing", "1"))
        assert client.recv(100) == b"*-1\r\n"
    return cpu_seconds(front.pid) - before < 0.3
