"""Bad settings, servers that cannot or do not answer, garbage: an error or a pass-through."""

import contextlib
import re
import socket
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

import cachee
from cachee.conformance.stage import Call
from tests.harness.clients import Clients, exceptions_of
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.relay import Relay
from tests.harness.servers import Server, free_port, running
from tests.harness.waiting import until

WRONG = {
    "max_age": ["soon", "-1s", "0", "1 fortnight", "1e99s", "", []],
    "max_staleness": ["1ms", "1h", "nan", object()],
    "max_memory": ["lots", "1kb", "-5mb", "1e30gb", "mb"],
    "mode": ["maybe", "", 7],
    "tracking": ["all"],
    "include": [7, [7]],
    "exclude": [object()],
    "prefixes": [["a"]],
    "reply_timeout": ["never"],
    "learn_ttl": ["perhaps"],
    "overrides": ["x", {"a": {"max_age": "1s"}}, {"a": 7}],
    "no_such_setting": ["x"],
    "max_agee": ["1s"],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_one_clear_error(name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(cachee.CacheeError) as problem:
            cachee.install(**{name: value})
        assert name in str(problem.value)
        assert cachee.stats().mode == "off"


def test_a_wrong_setting_leaves_what_is_installed(server: Server, clients: Clients) -> None:
    client = clients.make("redis", server.port)
    with installed():
        warm(server, lambda: client.get("k"), "get")
        with pytest.raises(cachee.CacheeError):
            cachee.install(max_age="soon")
        warm(server, lambda: client.get("k"), "get")


def _untouched(server: Server, client, caplog: pytest.LogCaptureFixture) -> str:
    """The client works, every read reaches the server; returns cachee's one warning."""
    key = "k"
    server.call("SET", key, "v")
    with installed():
        spy = Spy(server, "get")
        for _ in range(5):
            assert client.get(key) == b"v"
        until(lambda: _explained(key), "cachee explains why", patience_s=5)
        assert client.get(key) == b"v"
        assert spy.asked == 6
        client.set(key, "own")
        assert client.get(key) == b"own"
        assert client.pipeline(transaction=False).get(key).execute() == [b"own"]
        other = client.hgetall("none")
        assert other == {}
        reasons = str(cachee.explain(key))
    assert "served from the L1" not in reasons.splitlines()[0]
    (warning,) = [each.getMessage() for each in caplog.records if each.name.startswith("cachee")]
    return warning


def _explained(key: str) -> bool:
    return len(cachee.explain(key).reasons) > 0 and "connecting" not in str(cachee.explain(key))


def test_a_server_that_is_too_old(
    too_old: Server, clients: Clients, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    warning = _untouched(too_old, clients.make(flavour, too_old.port, protocol=2), caplog)
    assert "6.2" in warning or "7.0" in warning


@pytest.mark.parametrize(
    "rules",
    [
        "~* &* +@all -client|tracking",
        "~* &* +@all -client",
        "~* &* +@read +@write +@connection +@transaction -hello -client",
    ],
)
def test_a_user_who_may_not_track(
    clients: Clients, flavour: str, rules: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running() as server:
        server.call("ACL", "SETUSER", "app", "on", ">p", *rules.split())
        client = clients.make(flavour, server.port, username="app", password="p", protocol=2)
        assert _untouched(server, client, caplog)
        clients.close()


def test_a_user_who_may_not_ask_for_ttls(clients: Clients, flavour: str) -> None:
    """PTTL is forbidden: nothing may outlive an expiry it cannot know, so nothing is kept."""
    with running() as server:
        server.call("ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all", "-pttl")
        client = clients.make(flavour, server.port, username="app", password="p")
        with warnings.catch_warnings(), installed():
            warnings.simplefilter("ignore")
            server.call("SET", "k", "v", "PX", "150")
            ends = time.monotonic() + 0.15
            while (began := time.monotonic()) < ends + 0.5:
                value = client.get("k")
                assert value == b"v" or began > ends - 0.15
                assert value is None or began <= ends + 0.25
            assert client.get("k") is None
        clients.close()


def test_an_unreachable_server(clients: Clients, flavour: str) -> None:
    errors = exceptions_of(flavour)
    client = clients.make(flavour, free_port(), retry=None, socket_connect_timeout=1)
    with installed():
        for call in (
            lambda: client.get("k"),
            lambda: client.set("k", "v"),
            lambda: client.hgetall("k"),
            lambda: client.pipeline(transaction=False).get("k").execute(),
            lambda: client.execute_command("GET", "k"),
        ):
            began = time.monotonic()
            with pytest.raises(errors.ConnectionError):
                call()
            assert time.monotonic() - began < 2.0


def test_a_host_that_does_not_exist(clients: Clients, flavour: str) -> None:
    errors = exceptions_of(flavour)
    client = clients.make(flavour, 6379, host="no-such-host.invalid", retry=None)
    with installed(), pytest.raises(errors.ConnectionError):
        client.get("k")


def test_a_server_that_comes_up_later(clients: Clients, flavour: str) -> None:
    server = Server()
    errors = exceptions_of(flavour)
    client = clients.make(flavour, server.port, retry=None)
    try:
        with installed():
            with pytest.raises(errors.ConnectionError):
                client.get("k")
            server.start()
            server.call("SET", "k", "v")
            assert client.get("k") == b"v"
            assert warm(server, lambda: client.get("k"), "get") == b"v"
    finally:
        clients.close()
        server.close()


def test_a_wrong_password_is_the_clients_own_error(clients: Clients, flavour: str) -> None:
    errors = exceptions_of(flavour)
    with running(requirepass="right") as server:
        for options in ({"password": "wrong"}, {"username": "nobody", "password": "x"}):
            plain = clients.make(flavour, server.port, retry=None, **options)
            with pytest.raises(errors.AuthenticationError) as expected:
                plain.get("k")
            client = clients.make(flavour, server.port, retry=None, **options)
            with installed(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(3):
                    with pytest.raises(errors.AuthenticationError) as problem:
                        client.get("k")
                    assert str(problem.value) == str(expected.value)
        clients.close()


def test_a_password_that_is_missing(clients: Clients, flavour: str) -> None:
    errors = exceptions_of(flavour)
    with running(requirepass="right") as server:
        client = clients.make(flavour, server.port, retry=None)
        with installed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(3):
                with pytest.raises((errors.AuthenticationError, errors.ResponseError)):
                    client.get("k")
        clients.close()


GARBAGE = {
    "no RESP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": b"\x00" * 64,
    "unknown type": b"?what\r\n",
    "endless line": b"+" + b"x" * 100_000,
    "length of 2^63": b"$9223372036854775807\r\n",
    "length beyond 64 bits": b"$99999999999999999999999999\r\n",
    "negative length": b"$-7\r\nabc\r\n",
    "array of 2^62": b"*4611686018427387904\r\n",
    "map of 2^62": b"%4611686018427387904\r\n",
    "nested a million deep": b"*1\r\n" * 1_000_000,
    "wrong bulk end": b"$3\r\nabcXX",
    "integer that is none": b":12x\r\n",
    "double that is none": b",one\r\n",
    "a reply too many": b"$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n",
    "push of nothing": b">0\r\n",
    "push that is odd": b">2\r\n$10\r\ninvalidate\r\n:5\r\n",
    "nothing and the end": b"",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_from_the_server_on_the_link(
    server: Server, relay: Relay, clients: Clients, flavour: str, name: str
) -> None:
    """The next reply on the link is replaced; the caller still gets the truth, and so on after."""
    client = clients.make(flavour, relay.port)
    server.fill([("SET", f"k{at}", f"v{at}") for at in range(5)])
    with installed(max_staleness="300ms"):
        warm(server, lambda: client.get("k0"), "get")
        link = relay.link()
        bad = GARBAGE[name]
        link.down.rewrite(lambda frame: bad if b"v1" in frame else frame)
        if not bad:
            link.down.rewrite(lambda frame: b"" if b"v1" in frame else frame)
        assert client.get("k1") == b"v1"
        assert [client.get(f"k{at}") for at in range(5)] == [b"v%d" % at for at in range(5)]
        server.call("SET", "k0", "new")
        until(lambda: client.get("k0") == b"new", "the foreign write", patience_s=1.0)
        relay_down(relay)
        assert warm(server, lambda: client.get("k2"), "get") == b"v2"


def relay_down(relay: Relay) -> None:
    """Stops rewriting and gives the link a reason to begin anew if it has not."""
    for link in relay.links():
        link.down.rewrite(None)
        link.cut()


@pytest.mark.parametrize("name", ["no RESP", "zeros", "endless line", "nothing and the end"])
def test_garbage_in_the_handshake(
    server: Server, relay: Relay, clients: Clients, flavour: str, name: str
) -> None:
    """Every reply to a connection that says HELLO 3 and wants tracking is garbage."""
    server.call("SET", "k", "v")
    relay.on_link = lambda link: link.down.rewrite(lambda _: GARBAGE[name] or b"")
    client = clients.make(flavour, relay.port)
    with installed(max_staleness="300ms"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(20):
            began = time.monotonic()
            assert client.get("k") == b"v"
            assert time.monotonic() - began < 2.0


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for each in accepted:
            each.close()


def test_a_server_that_never_answers(clients: Clients, flavour: str, silent_port: int) -> None:
    """The client's own timeout decides, not cachee."""
    errors = exceptions_of(flavour)
    client = clients.make(flavour, silent_port, socket_timeout=0.3, retry=None)
    with installed():
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(errors.TimeoutError):
                client.get("k")
            assert time.monotonic() - began < 2.0


def test_a_link_that_never_gets_ready_does_not_slow_the_client(
    server: Server, relay: Relay, clients: Clients, flavour: str
) -> None:
    server.call("SET", "k", "v")
    client = clients.make(flavour, relay.port)
    assert client.get("k") == b"v"
    relay.on_connect = lambda connection: connection.down.black_hole()
    with installed():
        client.get("k")
        began = time.monotonic()
        for _ in range(100):
            assert client.get("k") == b"v"
        assert time.monotonic() - began < 2.0


def test_a_slow_link_does_not_hold_a_read_for_ever(
    server: Server, relay: Relay, clients: Clients, flavour: str
) -> None:
    server.call("SET", "k", "v")
    client = clients.make(flavour, relay.port)
    with installed(reply_timeout="100ms"):
        warm(server, lambda: client.get("warm-up"), "get")
        relay.link().down.hold()
        began = time.monotonic()
        assert Call(lambda: client.get("k")).result() == b"v"
        assert time.monotonic() - began < 1.0


def test_a_memory_bound_that_is_too_small_for_the_data(
    server: Server, clients: Clients, flavour: str
) -> None:
    client = clients.make(flavour, server.port)
    count, size = 2000, 5000
    server.fill([("SET", f"k{at}", f"{at}".rjust(size)) for at in range(count)])
    with installed(max_memory="2mb"):
        for _ in range(2):
            for start in range(0, count, 100):
                keys = [f"k{at}" for at in range(start, start + 100)]
                assert client.mget(keys) == [k[1:].rjust(size).encode() for k in keys]
        stats = cachee.stats()
        assert stats.weight_bytes <= stats.capacity_bytes <= 2 << 20
        assert stats.evicted > 0
        assert stats.entries > 0


def test_explain_of_any_key(server: Server, clients: Clients) -> None:
    assert not cachee.explain("k").served
    client = clients.make("redis", server.port)
    with installed():
        warm(server, lambda: client.get("k"), "get")
        assert cachee.explain("k").served
        assert cachee.explain(b"k").served
        (entry,) = [line for line in str(cachee.explain("k")).splitlines() if "* " in line]
        assert re.fullmatch(r"  \* GET: held, \d+\.\d s left, \d+ hits?, \d+ B", entry)
        for odd in (b"\xff\x00", "", "x" * 100_000):
            assert str(cachee.explain(odd))
            assert not cachee.explain(odd).served
