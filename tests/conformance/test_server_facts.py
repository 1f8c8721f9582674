"""What servers push and what they do not, and that cachee is right either way."""

from collections.abc import Iterator

import pytest

from tests.conformance.conftest import Stage
from tests.conformance.foreign_writer import ForeignWriter
from tests.conformance.writes import WRITES
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server, running
from tests.harness.waiting import until
from tests.integration.reads import outcome

FOREIGN = {
    "set": [("SET", "k", "new")],
    "set same value": [("SET", "k", "old"), ("SET", "k", "new")],
    "multi": [("MULTI",), ("SET", "k", "x"), ("SET", "k", "new"), ("EXEC",)],
    "lua undeclared": [("EVAL", "redis.call('SET', 'k', 'new')", "0")],
    "rename onto": [("SET", "t", "new"), ("RENAME", "t", "k")],
    "copy onto": [("SET", "t", "new"), ("COPY", "t", "k", "REPLACE")],
    "move away and back": [
        ("MOVE", "k", "7"),
        ("SELECT", "7"),
        ("SET", "k", "new"),
        ("MOVE", "k", "0"),
        ("SELECT", "0"),
    ],
    "append": [("DEL", "k"), ("APPEND", "k", "new")],
    "getex": [("GETEX", "k", "EX", "100"), ("SET", "k", "new", "KEEPTTL")],
    "bitop": [("SET", "t", "new"), ("BITOP", "OR", "k", "t", "t")],
    "sort store": [("DEL", "k"), ("SET", "k", "new")],
    "flush and set": [("FLUSHALL",), ("SET", "k", "new")],
    "debug reload": [("SET", "k", "new"), ("DEBUG", "RELOAD")],
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_write_is_seen(stage: Stage, name: str) -> None:
    stage.warm("k", "old")
    stage.server.fill(FOREIGN[name])
    until(lambda: stage.client.get("k") == b"new", "the foreign write", patience_s=1.0)
    assert {stage.client.get("k") for _ in range(50)} == {b"new"}
    assert stage.warm() == b"new"


SEEN = [name for name in WRITES if not name.startswith("swapdb")]
_READS = ("get", "hgetall", "hget", "lrange", "smembers", "zrange", "exists", "geopos", "xlen")


@pytest.fixture(scope="module")
def foreign_writer(shared_server: Server) -> Iterator[ForeignWriter]:
    """A process without cachee that writes to the shared server."""
    with ForeignWriter(shared_server.port) as writer:
        yield writer


@pytest.mark.parametrize("name", SEEN)
def test_every_kind_of_write_by_another_process_is_seen(
    server: Server, clients, foreign_writer: ForeignWriter, name: str
) -> None:
    """The table of own writes once more; SWAPDB is not in it, no server pushes that."""
    write = WRITES[name]
    if write.before:
        server.fill(write.before)
    reader = clients.make("redis", server.port)
    with installed():
        before = warm(server, lambda: outcome(write.read, reader), *_READS)
        foreign_writer.write(name)
        until(lambda: outcome(write.read, reader) != before, "the foreign write", patience_s=1.0)
        after = outcome(write.read, reader)
    assert after == outcome(write.read, reader)


def test_the_same_name_in_another_database(stage: Stage) -> None:
    stage.warm("k", "zero")
    stage.server.fill([("SELECT", 7), ("SET", "k", "seven"), ("SELECT", 0)])
    assert {stage.client.get("k") for _ in range(20)} == {b"zero"}
    assert stage.warm() == b"zero"


def test_a_tracking_table_of_one_key(clients, flavour: str) -> None:
    """The server forgets what it tracks at once and says so: slow, never wrong."""
    with running(tracking_table_max_keys="1") as server, installed():
        client = clients.make(flavour, server.port)
        server.fill([("SET", f"k{at}", "old") for at in range(30)])
        for at in range(30):
            assert client.get(f"k{at}") == b"old"
        server.fill([("SET", f"k{at}", "new") for at in range(30)])

        def seen() -> bool:
            return all(client.get(f"k{at}") == b"new" for at in range(30))

        until(seen, "all foreign writes", patience_s=1.0)
        assert warm(server, lambda: client.get("k0"), "get") == b"new"
        clients.close()


def test_commands_that_change_what_no_push_tells(stage: Stage) -> None:
    """XPENDING and XINFO change by XREADGROUP and XACK without a push: asked each time."""
    stage.server.fill([("XADD", "s", "1-1", "f", "v"), ("XGROUP", "CREATE", "s", "g", "0")])
    stage.warm("k", "v")
    assert stage.client.xpending("s", "g")["pending"] == 0
    stage.server.call("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "s", ">")
    assert stage.client.xpending("s", "g")["pending"] == 1
    assert stage.client.xinfo_groups("s")[0]["pending"] == 1
    stage.server.call("XACK", "s", "g", "1-1")
    assert stage.client.xpending("s", "g")["pending"] == 0
    assert stage.client.xinfo_groups("s")[0]["pending"] == 0


def test_patterns_of_sort_are_not_trusted(stage: Stage) -> None:
    stage.server.fill([("RPUSH", "l", "1", "2"), ("MSET", "o1", "a", "o2", "b", "w1", 2, "w2", 1)])
    stage.warm("k", "v")

    def sort() -> object:
        return stage.client.execute_command("SORT_RO", "l", "BY", "w*", "GET", "o*")

    assert sort() == [b"b", b"a"]
    stage.server.call("MSET", "o1", "z", "w1", "0")
    assert sort() == [b"z", b"b"]


def test_the_own_write_comes_before_its_push(stage: Stage) -> None:
    """+OK first, push after it, on another connection: a tight loop of write and read is right."""
    stage.link()
    stage.warm("k", "-1")
    for number in range(300):
        stage.client.set("k", number)
        assert stage.client.get("k") == b"%d" % number
        assert stage.client.get("k") == b"%d" % number


def test_an_eviction_by_the_server_is_seen(clients, flavour: str) -> None:
    options = {"maxmemory": "3mb", "maxmemory-policy": "allkeys-random"}
    with running(**{k.replace("-", "_"): v for k, v in options.items()}) as server, installed():
        client = clients.make(flavour, server.port)
        server.fill([("SET", f"k{at}", "v" * 100) for at in range(50)])
        for at in range(50):
            client.get(f"k{at}")
        server.fill([("SET", f"f{at}", "v" * 1000) for at in range(4000)])

        def agree() -> bool:
            truth = [server.call("GET", f"k{at}") for at in range(50)]
            return [client.get(f"k{at}") for at in range(50)] == truth

        assert None in [server.call("GET", f"k{at}") for at in range(50)]
        until(agree, "evicted keys are gone", patience_s=1.0)
        clients.close()


def test_a_server_with_two_io_threads(clients, flavour: str) -> None:
    with running(io_threads="2") as server, installed():
        client = clients.make(flavour, server.port)
        warm(server, lambda: client.get("k"), "get")
        for number in range(200):
            client.set("k", number)
            assert client.get("k") == b"%d" % number
            server.call("SET", "k", -number)
            until(lambda n=number: client.get("k") == b"%d" % -n, "the foreign write", 1.0)
        clients.close()


def test_no_subscription_is_needed_for_a_hit(stage: Stage) -> None:
    stage.warm("k", "v")
    spy = Spy(stage.server, "get", "subscribe", "psubscribe", "config|set")
    assert [stage.client.get("k") for _ in range(1000)] == [b"v"] * 1000
    assert spy.asked == 0
