"""Rule 7 and P5: nothing outlives the server's own expiry, nor `max_age`.

The server's active expiry is off, so that no push comes: what ends, ends by the entry's deadline.
"""

import time
from collections.abc import Iterator

import pytest

from tests.harness.clients import FLAVOURS, Clients
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server, binaries_with, running
from tests.harness.waiting import until

# The deadline counts from before the read was sent, so the entry must end before the key does.
# What remains is the granule of the clocks compared here.
SLACK_S = 0.001


@pytest.fixture
def lazy_server(own_server: Server) -> Iterator[Server]:
    """A server that reaps expired keys only when they are touched: it sends no push."""
    own_server.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    return own_server


def _latest_hit(client, key: str, value: bytes, patience_s: float = 5.0) -> float:
    """When the last read began that still gave the value."""
    last, deadline = 0.0, time.monotonic() + patience_s
    while time.monotonic() < deadline:
        began = time.monotonic()
        if client.get(key) != value:
            return last
        last = began
    raise AssertionError("the value never ended")


def test_an_entry_ends_with_its_key(lazy_server: Server, clients: Clients, flavour: str) -> None:
    client = clients.make(flavour, lazy_server.port)
    with installed():
        warm(lazy_server, lambda: client.get("none"), "get")
        for attempt in range(5):
            key = f"k{attempt}"
            lazy_server.call("SET", key, "old", "PX", "150")
            ends = time.monotonic() + 0.150
            assert client.get(key) == b"old"
            spy = Spy(lazy_server, "get")
            assert client.get(key) == b"old"
            assert spy.asked == 0
            assert _latest_hit(client, key, b"old") <= ends + SLACK_S


def test_an_expiry_set_later_is_seen(lazy_server: Server, clients: Clients, flavour: str) -> None:
    client = clients.make(flavour, lazy_server.port)
    lazy_server.call("SET", "k", "old")
    with installed():
        warm(lazy_server, lambda: client.get("k"), "get")
        lazy_server.call("PEXPIRE", "k", "100")
        ends = time.monotonic() + 0.100
        assert _latest_hit(client, "k", b"old") <= ends + SLACK_S


def test_own_expire_shortens_an_entry(lazy_server: Server, clients: Clients, flavour: str) -> None:
    client = clients.make(flavour, lazy_server.port)
    lazy_server.call("SET", "k", "old")
    with installed():
        warm(lazy_server, lambda: client.get("k"), "get")
        client.pexpire("k", 80)
        ends = time.monotonic() + 0.080
        assert _latest_hit(client, "k", b"old") <= ends + SLACK_S


def test_a_persisted_key_lives_on(lazy_server: Server, clients: Clients, flavour: str) -> None:
    client = clients.make(flavour, lazy_server.port)
    lazy_server.call("SET", "k", "old", "PX", "120")
    with installed():
        warm(lazy_server, lambda: client.get("k"), "get")
        lazy_server.call("PERSIST", "k")
        begun = time.monotonic()
        until(lambda: time.monotonic() > begun + 0.2, "the old deadline has passed")
        assert client.get("k") == b"old"


def test_containers_end_with_their_key(lazy_server: Server, clients: Clients, flavour: str) -> None:
    client = clients.make(flavour, lazy_server.port)
    with installed():
        warm(lazy_server, lambda: client.get("none"), "get")
        lazy_server.fill([("HSET", "h", "f", "v"), ("PEXPIRE", "h", "100")])
        ends = time.monotonic() + 0.100
        last = 0.0
        while True:
            began = time.monotonic()
            if client.hgetall("h") == {}:
                break
            last = began
        assert last <= ends + SLACK_S
        assert client.hget("h", "f") is None


def test_many_keys_that_end_together(lazy_server: Server, clients: Clients) -> None:
    """The server says nothing of 10 000 dead keys; no read of one gives its value."""
    client = clients.make("redis", lazy_server.port)
    count = 10_000
    with installed():
        warm(lazy_server, lambda: client.get("none"), "get")
        lazy_server.fill([("SET", f"e{at}", "v", "PX", "2500") for at in range(count)])
        loaded = time.monotonic()
        for at in range(0, count, 1000):
            client.mget([f"e{each}" for each in range(at, at + 1000)])
        spy = Spy(lazy_server, "get", "mget")
        assert client.get("e5") == b"v"
        assert spy.asked == 0
        until(lambda: time.monotonic() > loaded + 2.5, "every key has ended")
        dead = sum(
            value is not None
            for at in range(0, count, 1000)
            for value in client.mget([f"e{each}" for each in range(at, at + 1000)])
        )
        assert dead == 0


def test_max_age_bounds_an_entry_without_expiry(
    server: Server, clients: Clients, flavour: str
) -> None:
    client = clients.make(flavour, server.port)
    server.call("SET", "k", "v")
    spy = Spy(server, "get")
    with installed(max_age="200ms"):
        until(lambda: (client.get("k"), spy.asked)[1] >= 5, "the entry is fetched anew")
        warm(server, lambda: client.get("k"), "get")


def test_a_missing_key_is_cached_until_it_is_made(
    server: Server, clients: Clients, flavour: str
) -> None:
    client = clients.make(flavour, server.port)
    with installed():
        assert warm(server, lambda: client.get("k"), "get") is None
        server.call("SET", "k", "made")
        until(lambda: client.get("k") == b"made", "the key that was made", patience_s=1.0)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("read", ["hget", "hgetall", "hmget", "hlen"])
def test_a_hash_field_that_ends(clients: Clients, flavour: str, read: str) -> None:
    """PTTL of the key says nothing of its fields; still no dead field beyond P1."""
    known = binaries_with("HPEXPIRE")
    if not known:
        pytest.skip("no server at hand knows field expiry (set CACHEE_TEST_SERVER to a 7.4 or 9)")
    staleness_s = 0.3
    reads = {
        "hget": (lambda r: r.hget("h", "f"), lambda v: v is not None),
        "hgetall": (lambda r: r.hgetall("h"), lambda v: b"f" in v),
        "hmget": (lambda r: r.hmget("h", ["f", "g"]), lambda v: v[0] is not None),
        "hlen": (lambda r: r.hlen("h"), lambda v: v == 2),
    }
    call, alive = reads[read]
    with running(known[0]) as server, installed(max_staleness="300ms"):
        server.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        client = clients.make(flavour, server.port)
        server.fill([("HSET", "h", "f", "1", "g", "2")])
        server.call("HPEXPIRE", "h", "200", "FIELDS", "1", "f")
        ends = time.monotonic() + 0.2
        last = 0.0
        while time.monotonic() < ends + 2 * staleness_s:
            began = time.monotonic()
            if alive(call(client)):
                last = began
        if read == "hlen":
            return  # the server itself counts a dead field until it reaps it
        assert last <= ends + staleness_s
        clients.close()
