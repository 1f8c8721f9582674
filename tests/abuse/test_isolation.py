"""No client ever gets what belongs to another one."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.abuse.conftest import warm
from tests.harness.proxies import Proxy, proxy
from tests.harness.relay import Connection, Relay
from tests.harness.resp import ServerError, Wire, encode
from tests.harness.servers import Server
from tests.harness.waiting import until

_RESET = struct.pack("ii", 1, 0)
_SPLIT = b"-ERR E\r\n$6\r\nFORGED\r\n"


@pytest.fixture
def splitting(own_server: Server) -> Iterator[Proxy]:
    """A proxy whose upstream splits the text of an error into two replies, as some servers do."""

    def splits(connection: Connection) -> None:
        connection.down.rewrite(lambda frame: _SPLIT if b"FORGED" in frame else frame)

    relay = Relay(own_server.address)
    relay.on_connect = splits
    with relay, proxy(upstream=f"redis://127.0.0.1:{relay.port}") as running:
        yield running


class Victim:
    """Asks for what only it can be told, in a thread, some of it from the L1."""

    def __init__(self, front: Proxy, at: int, rounds: int):
        self._wire, self._at, self._rounds = Wire(("127.0.0.1", front.port)), at, rounds
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            hot = f"hot:{self._at}"
            self._wire("SET", hot, hot)
            for count in range(self._rounds):
                name = f"{self._at}:{count}"
                assert self._wire("ECHO", name) == name.encode()
                assert self._wire("GET", hot) == hot.encode()
                assert self._wire.many([("SET", name, name), ("GET", name), ("GET", hot)]) == [
                    b"OK",
                    name.encode(),
                    hot.encode(),
                ]
                assert self._wire("GET", f"none:{name}") is None
        except BaseException as problem:  # noqa: BLE001 - told by join()
            self._problem = problem

    @property
    def busy(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(600)
        self._wire.close()
        if self._problem is not None:
            raise self._problem


def test_a_forged_reply_reaches_nobody_else(splitting: Proxy, amount) -> None:
    victims = [Victim(splitting, at, amount(400)) for at in range(3)]
    attacks = 0
    forge = encode("EVAL", "error('E\\r\\n$6\\r\\nFORGED')", 0)
    while any(each.busy for each in victims):
        attacks += 1
        with contextlib.closing(socket.create_connection(("127.0.0.1", splitting.port))) as client:
            client.settimeout(5)
            client.sendall(encode("GET", "hot:0") + forge + encode("GET", "hot:1") + forge)
            with contextlib.suppress(OSError):
                client.recv(4096)
    for each in victims:
        each.join()
    assert attacks > 10


def test_aborted_requests_shift_nobodys_replies(front: Proxy, amount) -> None:
    victims = [Victim(front, at, amount(400)) for at in range(2)]
    for at in range(amount(1_000)):
        client = socket.create_connection(("127.0.0.1", front.port))
        client.sendall(
            encode("GET", f"aborted:{at % 7}") + encode("ECHO", "aborted") + encode("GET", "hot:0")
        )
        if at % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.close()
    for each in victims:
        each.join()


def test_a_user_is_not_told_what_another_has_made_hot(
    front: Proxy, own_server: Server, connect
) -> None:
    own_server.call("ACL", "SETUSER", "narrow", "on", ">secret", "~mine:*", "+@all")
    own_server.call("SET", "mine:1", "1")
    own_server.call("SET", "theirs:1", "2")
    default, narrow = connect(front), connect(front)
    warm(front, default, "GET", "theirs:1")
    warm(front, default, "GET", "mine:1")
    assert narrow("AUTH", "narrow", "secret") == b"OK"
    for _ in range(3):
        assert narrow("GET", "mine:1") == b"1"
        with pytest.raises(ServerError, match="NOPERM"):
            narrow("GET", "theirs:1")
    assert narrow("ACL", "SETUSER", "narrow", "resetkeys", "~other:*") == b"OK"
    with pytest.raises(ServerError, match="NOPERM"):
        narrow("GET", "mine:1")
    assert default("GET", "mine:1") == b"1"


def test_nothing_is_told_before_the_password(own_server: Server, connect) -> None:
    own_server.call("SET", "k", "1")
    own_server.call("CONFIG", "SET", "requirepass", "secret")
    with proxy(upstream=f"redis://127.0.0.1:{own_server.port}") as front:
        known, unknown = connect(front), connect(front)
        assert known("AUTH", "secret") == b"OK"
        warm(front, known, "GET", "k")
        with pytest.raises(ServerError, match="NOAUTH"):
            unknown("GET", "k")
        with pytest.raises(ServerError, match="WRONGPASS"):
            unknown("AUTH", "guess")
        with pytest.raises(ServerError, match="NOAUTH"):
            unknown("GET", "k")


def test_nobody_runs_as_somebody_else_when_the_proxys_login_is_refused(
    own_server: Server, connect
) -> None:
    own_server.call("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all")
    with proxy(upstream=f"redis://app:secret@127.0.0.1:{own_server.port}") as front:
        assert connect(front).many([("SET", "k", "1"), ("ACL", "WHOAMI")]) == [b"OK", b"app"]
        own_server.call("ACL", "SETUSER", "app", "resetpass", ">other")
        with pytest.raises(ServerError, match="refuses the proxy's own login"):
            connect(front)("SET", "k", "2")
    assert own_server.call("GET", "k") == b"1"


def test_a_user_that_may_not_track_leaves_nothing_in_the_acl_log(
    front: Proxy, own_server: Server, connect
) -> None:
    own_server.call("ACL", "SETUSER", "u", "reset", "on", ">p", "~*", "+get", "+set")
    own_server.call("ACL", "LOG", "RESET")
    wire = connect(front)
    assert wire("AUTH", "u", "p") == b"OK"
    assert wire("SET", "k", "v") == b"OK"

    def states() -> list[str]:
        assert wire("GET", "k") == b"v"
        return [link["state"] for link in front.stats()["links"] if link["user"] == "u"]

    until(lambda: states() == ["unsupported"], "the link knows that it may not track")
    assert own_server.call("ACL", "LOG") == []


@pytest.mark.parametrize("exchange", [("SWAPDB", "0", "1"), ("SWAPDB", "1", "0")])
def test_exchanged_databases_are_seen_by_everyone(front: Proxy, connect, exchange) -> None:
    one, two = connect(front), connect(front)
    for at in range(50):
        one.many([("SELECT", "0"), ("SET", "k", f"zero {at}"), ("SELECT", "1")])
        one.many([("SET", "k", f"one {at}"), ("SELECT", "0")])
        warm(front, two, "GET", "k")
        assert one(*exchange) == b"OK"
        assert two("GET", "k") == f"one {at}".encode()
        assert one("GET", "k") == f"one {at}".encode()


def test_databases_and_versions_do_not_mix(front: Proxy, connect) -> None:
    two, three = connect(front), connect(front, protocol=3)
    two("HSET", "h", "f", "v")
    for wire in (two, three):
        warm(front, wire, "HGETALL", "h")
        warm(front, wire, "ZSCORE", "none", "m")
    for _ in range(3):
        with contextlib.closing(socket.create_connection(("127.0.0.1", front.port))) as raw:
            raw.sendall(encode("HGETALL", "h"))
            assert raw.recv(100) == b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
            raw.sendall(encode("SELECT", "1") + encode("HGETALL", "h"))
            received = b""
            while len(received) < 9:
                received += raw.recv(100)
            assert received == b"+OK\r\n*0\r\n"
    assert three("HGETALL", "h") == [b"f", b"v"]


def test_a_transaction_costs_no_connection_of_its_own(
    front: Proxy, own_server: Server, connect, amount
) -> None:
    wire, count = connect(front), amount(2_000)
    wire("SET", "k", "1")

    def connections() -> int:
        text = own_server.call("INFO", "stats")
        assert isinstance(text, bytes)
        return int(text.split(b"total_connections_received:")[1].split()[0])

    before = connections()
    for _ in range(count):
        assert wire.many([("MULTI",), ("INCR", "n"), ("GET", "k"), ("EXEC",)])[-1][1] == b"1"
    assert connections() - before <= count // 100
    assert wire("GET", "n") == str(count).encode()


def test_waiting_clients_hold_up_nobody(front: Proxy, connect) -> None:
    blocked, subscribed, queued, free = (connect(front) for _ in range(4))
    waiting = threading.Thread(target=lambda: blocked("BLPOP", "queue", "0"), daemon=True)
    waiting.start()
    subscribed("SUBSCRIBE", "channel")
    queued("MULTI")
    for at in range(200):
        assert free("INCR", "n") == at + 1
        assert free("GET", "n") == str(at + 1).encode()
    assert queued("PING") == b"QUEUED"
    assert queued("EXEC") == [b"PONG"]
    assert free("RPUSH", "queue", "x") == 1
    waiting.join(10)
    assert not waiting.is_alive()
