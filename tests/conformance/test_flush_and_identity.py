"""Rule 6 and P6: what flushes everything, and who may share an entry with whom."""

import time

import pytest

from tests.conformance.conftest import Stage
from tests.harness.clients import exceptions_of
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server
from tests.harness.waiting import until

FOREIGN_FLUSHES = {
    "flushall": [("FLUSHALL",)],
    "flushdb": [("FLUSHDB",)],
    "flushall_async": [("FLUSHALL", "ASYNC")],
}


@pytest.mark.parametrize("name", FOREIGN_FLUSHES)
def test_a_foreign_flush_empties_everything(stage: Stage, name: str) -> None:
    for key in ("a", "b", "c"):
        stage.warm(key, "old")
    stage.server.fill(FOREIGN_FLUSHES[name])
    for key in ("a", "b", "c"):
        until(lambda k=key: stage.client.get(k) is None, "the flush is seen", patience_s=1.0)
    assert [stage.client.get(key) for key in ("a", "b", "c")] == [None] * 3


def test_a_flush_of_another_database_may_cost_entries_but_not_truth(stage: Stage) -> None:
    stage.warm("k", "kept")
    stage.server.fill([("SELECT", 5), ("FLUSHDB",), ("SELECT", 0)])
    assert stage.client.get("k") == b"kept"
    assert stage.warm() == b"kept"


def test_a_foreign_debug_reload(stage: Stage) -> None:
    stage.warm("k", "old")
    stage.server.fill([("SET", "k", "new"), ("DEBUG", "RELOAD")])
    until(lambda: stage.client.get("k") == b"new", "the new value", patience_s=1.0)


def test_a_foreign_swapdb_is_bounded_by_max_age(server, clients, flavour: str) -> None:
    """No server pushes anything for SWAPDB: the bound is `max_age`, and it holds."""
    client = clients.make(flavour, server.port)
    server.fill([("SET", "k", "zero"), ("SELECT", 1), ("SET", "k", "one"), ("SELECT", 0)])
    with installed(max_age="400ms"):
        assert warm(server, lambda: client.get("k"), "get") == b"zero"
        server.call("SWAPDB", 0, 1)
        swapped = time.monotonic()
        until(lambda: client.get("k") == b"one", "the swap is seen", patience_s=5)
        assert time.monotonic() < swapped + 0.5
    server.call("SWAPDB", 0, 1)


def test_databases_do_not_share_entries(stage: Stage) -> None:
    other = stage.another(db=3)
    stage.server.fill([("SET", "k", "zero"), ("SELECT", 3), ("SET", "k", "three"), ("SELECT", 0)])
    assert stage.warm() == b"zero"
    assert warm(stage.server, lambda: other.get("k"), "get") == b"three"
    assert stage.client.get("k") == b"zero"
    other.set("k", "four")
    assert other.get("k") == b"four"
    assert stage.client.get("k") == b"zero"


def test_decodings_do_not_share_replies(stage: Stage) -> None:
    kinds = {
        "bytes": {},
        "text": {"decode_responses": True},
        "latin": {"decode_responses": True, "encoding": "latin-1"},
        "resp2": {"protocol": 2},
        "resp3": {"protocol": 3, "decode_responses": True},
    }
    clients = {kind: stage.another(**options) for kind, options in kinds.items()}
    stage.server.fill([("SET", "k", "\u00e9".encode()), ("ZADD", "z", "1.5", "m")])
    expected = {"text": "\u00e9", "latin": "\u00c3\u00a9", "resp3": "\u00e9"}
    for _ in range(3):
        for kind, client in clients.items():
            assert client.get("k") == expected.get(kind, "\u00e9".encode())
            scores = client.zrange("z", 0, -1, withscores=True)
            assert scores[0][1] == 1.5
            assert isinstance(scores[0][0], str) == bool(kinds[kind].get("decode_responses"))
    spy = Spy(stage.server, "get")
    for client in clients.values():
        warm(stage.server, lambda c=client: c.get("k"), "get")
    assert spy.asked <= len(clients)


def _users(server: Server) -> None:
    server.call("ACL", "SETUSER", "alice", "reset", "on", ">one", "~*", "&*", "+@all")
    server.call("ACL", "SETUSER", "bob", "reset", "on", ">two", "~public:*", "&*", "+@all")


def test_users_do_not_share_entries(own_server: Server, clients, flavour: str) -> None:
    errors = exceptions_of(flavour)
    _users(own_server)
    own_server.fill([("SET", "secret", "s"), ("SET", "public:k", "p")])
    alice = clients.make(flavour, own_server.port, username="alice", password="one")
    bob = clients.make(flavour, own_server.port, username="bob", password="two")
    with installed():
        assert warm(own_server, lambda: alice.get("secret"), "get") == b"s"
        assert warm(own_server, lambda: bob.get("public:k"), "get") == b"p"
        for _ in range(3):
            with pytest.raises(errors.NoPermissionError):
                bob.get("secret")
            assert alice.get("secret") == b"s"


def test_nothing_is_answered_before_the_password_was_accepted(
    own_server: Server, clients, flavour: str
) -> None:
    errors = exceptions_of(flavour)
    _users(own_server)
    own_server.call("SET", "secret", "s")
    alice = clients.make(flavour, own_server.port, username="alice", password="one")
    thief = clients.make(flavour, own_server.port, username="alice", password="guess", retry=None)
    with installed():
        assert warm(own_server, lambda: alice.get("secret"), "get") == b"s"
        for _ in range(3):
            with pytest.raises(errors.AuthenticationError):
                thief.get("secret")
        with pytest.raises(errors.AuthenticationError):
            thief.execute_command("GET", "secret")
        with pytest.raises(errors.AuthenticationError):
            thief.pipeline(transaction=False).get("secret").execute()


def test_a_deleted_user_gets_no_more_answers(own_server: Server, clients, flavour: str) -> None:
    errors = exceptions_of(flavour)
    _users(own_server)
    own_server.call("SET", "secret", "s")
    alice = clients.make(flavour, own_server.port, username="alice", password="one", retry=None)
    with installed(max_staleness="300ms"):
        warm(own_server, lambda: alice.get("secret"), "get")
        own_server.call("ACL", "DELUSER", "alice")
        gone = time.monotonic()
        failures = (errors.AuthenticationError, errors.ConnectionError)

        def refused() -> bool:
            try:
                alice.get("secret")
            except failures:
                return True
            return False

        until(refused, "the deleted user is refused", patience_s=1.0)
        assert time.monotonic() < gone + 0.4
        with pytest.raises(failures):
            alice.get("secret")


def test_two_servers_do_not_share_entries(
    server: Server, own_server: Server, clients, flavour: str
) -> None:
    one, two = clients.make(flavour, server.port), clients.make(flavour, own_server.port)
    server.call("SET", "k", "one")
    own_server.call("SET", "k", "two")
    with installed():
        assert warm(server, lambda: one.get("k"), "get") == b"one"
        assert warm(own_server, lambda: two.get("k"), "get") == b"two"
        assert warm(server, lambda: one.get("only here"), "get") is None
        own_server.call("FLUSHALL")
        until(lambda: two.get("k") is None, "the flush of the second", patience_s=1.0)
        assert one.get("k") == b"one"
        spy = Spy(server, "get")
        assert one.get("only here") is None
        assert spy.asked == 0, "a flush of one server cost the other's entries"
