"""Pipelines and multi-key reads: the same results, and only what is missing is asked."""

import pytest

import cachee
from tests.harness.clients import exceptions_of
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server
from tests.harness.waiting import until
from tests.integration.reads import DATASET, shown


def _mixed(pipe) -> object:
    pipe.get("text").hgetall("hash").set("new", "1").smembers("set").incr("number")
    pipe.get("number").zrange("zset", 0, -1, withscores=True).get("missing").exists("text")
    pipe.mget("text", "missing").lrange("list", 0, -1).ttl("text").type("hash")
    return pipe.execute()


@pytest.mark.parametrize("transaction", [True, False])
@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_mixed_pipeline(
    server: Server, clients, flavour: str, protocol: int, decode: bool, transaction: bool
) -> None:
    client = clients.make(flavour, server.port, protocol=protocol, decode_responses=decode)

    def run() -> object:
        server.call("FLUSHALL")
        server.fill([each for each in DATASET if each[1] not in ("latin",)])
        return shown(_mixed(client.pipeline(transaction=transaction)))

    plain = run()
    with installed():
        warm(server, lambda: client.get("text"), "get")
        assert [run() for _ in range(3)] == [plain] * 3


def test_a_pipeline_of_reads_asks_only_what_is_missing(server: Server, cached) -> None:
    server.fill([("SET", f"k{at}", at) for at in range(10)])
    for at in range(9):
        warm(server, lambda at=at: cached.get(f"k{at}"), "get")
    spy = Spy(server, "get")
    pipe = cached.pipeline(transaction=False)
    for at in range(10):
        pipe.get(f"k{at}")
    assert pipe.execute() == [b"%d" % at for at in range(10)]
    assert spy.asked == 1
    for at in range(10):
        pipe.get(f"k{at}")
    assert pipe.execute() == [b"%d" % at for at in range(10)]
    assert spy.asked == 1


def test_mget_asks_only_what_is_missing(server: Server, cached) -> None:
    keys = [f"k{at}" for at in range(100)]
    server.fill([("SET", key, key) for key in keys])
    warm(server, lambda: cached.mget(keys), "get", "mget")
    assert cached.mget(keys) == [key.encode() for key in keys]
    server.call("SET", "k50", "changed")
    spy = Spy(server, "get", "mget")
    for _ in range(1000):
        values = cached.mget(keys)
        if values[50] == b"changed":
            break
    assert values == [b"changed" if key == "k50" else key.encode() for key in keys]
    assert spy.asked == 1
    assert cached.get("k50") == b"changed"
    assert spy.asked == 1


def test_hmget_shares_what_hget_knows(server: Server, cached) -> None:
    server.call("HSET", "h", "a", "1", "b", "2")
    warm(server, lambda: cached.hmget("h", ["a", "b", "nope"]), "hmget", "hget")
    assert cached.hmget("h", ["nope", "b", "a"]) == [None, b"2", b"1"]
    assert cached.hmget("h", ["a", "a"]) == [b"1", b"1"]
    assert cached.hget("h", "a") == b"1"
    cached.hset("h", "a", "3")
    assert cached.hmget("h", ["a", "b"]) == [b"3", b"2"]


def test_an_error_in_a_pipeline(server: Server, client, flavour: str) -> None:
    server.fill(DATASET)
    errors = exceptions_of(flavour)

    def run() -> object:
        pipe = client.pipeline(transaction=False)
        pipe.get("text").get("hash").incr("text").get("number")
        return [
            (type(each).__name__, str(each)) if isinstance(each, Exception) else each
            for each in pipe.execute(raise_on_error=False)
        ]

    plain = run()
    with installed():
        warm(server, lambda: client.get("text"), "get")
        assert [run() for _ in range(3)] == [plain] * 3
        pipe = client.pipeline(transaction=False)
        pipe.get("text").get("hash")
        with pytest.raises(errors.ResponseError, match=r"Command # 2 \(GET hash\)"):
            pipe.execute()


def test_an_empty_pipeline(cached) -> None:
    assert cached.pipeline().execute() == []
    assert cached.pipeline(transaction=False).execute() == []


def test_a_pipeline_used_twice(server: Server, cached) -> None:
    server.call("SET", "k", "1")
    pipe = cached.pipeline(transaction=False)
    for _ in range(3):
        assert pipe.get("k").execute() == [b"1"]
    assert len(pipe) == 0


def test_a_pipeline_as_context(server: Server, cached) -> None:
    server.call("SET", "k", "1")
    for _ in range(3):
        with cached.pipeline(transaction=False) as pipe:
            pipe.get("k")
            pipe.strlen("k")
            assert pipe.execute() == [b"1", 1]


def test_a_pipeline_of_reads_is_one_round_trip(server: Server, cached) -> None:
    """A thousand cold keys: the link takes them in one go, far below a round trip each."""
    server.fill([("SET", f"k{at}", at) for at in range(1000)])
    warm(server, lambda: cached.get("warm-up"), "get")
    pipe = cached.pipeline(transaction=False)
    for at in range(1000):
        pipe.get(f"k{at}")
    assert pipe.execute() == [b"%d" % at for at in range(1000)]
    spy = Spy(server, "get", "mget")
    for at in range(1000):
        pipe.get(f"k{at}")
    assert pipe.execute() == [b"%d" % at for at in range(1000)]
    assert spy.asked == 0


def test_observe_scores_what_a_pipeline_reads(server: Server, clients, flavour: str) -> None:
    client = clients.make(flavour, server.port)
    client.mset({"one": "1", "two": "2"})
    with installed(mode="observe"):

        def read() -> list[object]:
            return client.pipeline(transaction=False).get("one").get("two").execute()

        until(lambda: read() and cachee.stats().hits > 0, "what would have been a hit")
        before, spy = cachee.stats().hits, Spy(server, "get")
        assert read() == [b"1", b"2"]
        assert spy.asked == 2, "the server answers all the same"
        assert cachee.stats().hits == before + 2
