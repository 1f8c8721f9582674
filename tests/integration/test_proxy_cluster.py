"""`cachee proxy` in front of a cluster: one endpoint for a plain client, and for one that knows."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from cachee.conformance.stage import Call
from tests.harness.clusters import SLOTS, Cluster, cluster, keys_in, slot_of
from tests.harness.drop_in import Spy, warm
from tests.harness.plain import HOST, plain
from tests.harness.proxies import Proxy, proxy
from tests.harness.resp import ServerError, Wire, refusal
from tests.harness.servers import Server, free_port
from tests.harness.waiting import PATIENCE_S, until

# The bound of `max_staleness`, and what a busy machine adds to it.
STALENESS_S = 1.0 + 0.5


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """One cluster for the tests that leave it whole."""
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def served(shared: Cluster) -> Iterator[Proxy]:
    """A proxy in front of it."""
    with proxy(upstream=shared.url) as made:
        yield made


@pytest.fixture
def whole(shared: Cluster, served: Proxy) -> Cluster:
    """The shared cluster, emptied; the proxy knows."""
    shared.flush()
    with plain(served.port) as client:
        client.flushall()
    return shared


@pytest.fixture
def client(whole: Cluster, served: Proxy) -> Iterator[Any]:
    with plain(served.port) as made:
        yield made


@pytest.fixture(params=[2, 3])
def wire(request: pytest.FixtureRequest, whole: Cluster, served: Proxy) -> Iterator[Wire]:
    """A bare connection to the proxy in each protocol."""
    made = Wire((HOST, served.port), protocol=request.param)
    yield made
    made.close()


# One endpoint.


def test_keys_of_every_slot_are_where_they_belong(whole: Cluster, client: Any) -> None:
    keys = _a_key_of_every_slot()
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.set(key, key)
    assert pipe.execute() == [True] * SLOTS
    sizes = [node.call("DBSIZE") for node in whole.primaries]
    assert sum(int(str(size)) for size in sizes) == SLOTS
    assert min(int(str(size)) for size in sizes) > SLOTS // 4
    for key in keys:
        pipe.get(key)
    assert pipe.execute() == keys


def _a_key_of_every_slot() -> list[str]:
    keys: dict[int, str] = {}
    for n in itertools.count():
        keys.setdefault(slot_of(f"k{n}"), f"k{n}")
        if len(keys) == SLOTS:
            break
    return list(keys.values())


def test_many_keys_of_many_slots_are_one_command(whole: Cluster, client: Any) -> None:
    keys = [f"many:{n}" for n in range(200)]
    assert client.mset({key: key for key in keys})
    asked = [*keys[:50], "missing:1", *keys[50:], keys[7], "missing:2"]
    expected = [*keys[:50], None, *keys[50:], keys[7], None]
    for _ in range(3):
        assert client.mget(asked) == expected
    assert client.exists(*keys, keys[0], "missing:1") == 201
    assert client.touch(*keys, "missing:1") == 200
    assert client.delete(*keys[:100], "missing:1") == 100
    assert client.unlink(*keys) == 100
    assert client.mget(asked) == [None] * len(asked)


def test_what_cannot_be_taken_apart_is_refused_as_by_the_server(whole: Cluster, wire: Wire) -> None:
    a, b, _ = whole.one_of_each("cross")
    for command in [
        ("RENAME", a, b),
        ("SINTER", a, b),
        ("MSETNX", a, 1, b, 2),
        ("LMPOP", 2, a, b, "LEFT"),
        ("EVAL", "return 1", 2, a, b),
        ("BITOP", "AND", a, b),
        ("PFCOUNT", a, b),
        ("BLPOP", a, b, 0),
    ]:
        told = refusal(wire, *command)
        assert told == "CROSSSLOT Keys in request don't hash to the same slot"
        assert told == refusal(whole.primary_of(a).call, *command)
    assert wire("EXISTS", a, b) == 0


def test_errors_are_the_servers(whole: Cluster, wire: Wire) -> None:
    whole.call("SET", "text", "x")
    for command in [
        ("INCR", "text"),
        ("LPUSH", "text", "x"),
        ("MSET", "text"),
        ("GET",),
        ("NOSUCH", "text"),
        ("SELECT", 1),
        ("SCAN", "x"),
    ]:
        assert refusal(wire, *command) == refusal(whole.primary_of("text").call, *command)


def test_what_is_meant_for_one_node_is_refused(whole: Cluster, wire: Wire) -> None:
    for command in [("CLUSTER", "FAILOVER"), ("CLUSTER", "FORGET", "x"), ("SHUTDOWN",)]:
        assert "ask that node" in refusal(wire, *command)
    assert wire("PING") == b"PONG"


def test_a_command_whose_keys_nobody_knows_finds_its_node(whole: Cluster, client: Any) -> None:
    for key in whole.one_of_each("list"):
        client.rpush(key, 3, 1, 2)
        assert client.sort(key, store=f"sorted:{{{key}}}") == 3
        assert client.lrange(f"sorted:{{{key}}}", 0, -1) == ["1", "2", "3"]


def test_everything_at_once(whole: Cluster, client: Any) -> None:
    keys = [f"all:{n}" for n in range(300)]
    client.mset(dict.fromkeys(keys, "v"))
    assert client.dbsize() == 300
    assert sorted(client.keys("all:*")) == sorted(keys)
    assert client.keys("none:*") == []
    assert {client.randomkey() for _ in range(20)} <= set(keys)
    assert client.wait(1, 5000) == 1
    assert client.get(keys[0]) == "v"
    assert client.flushall()
    assert client.dbsize() == 0
    assert client.get(keys[0]) is None
    assert client.randomkey() is None
    assert [node.call("DBSIZE") for node in whole.primaries] == [0, 0, 0]


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_a_scan_sees_every_key_once(whole: Cluster, client: Any, count: int) -> None:
    strings = [f"scan:{n}" for n in range(1500)]
    client.mset(dict.fromkeys(strings, "v"))
    client.rpush("scan:list", 1)
    seen = Counter(client.scan_iter(count=count))
    assert seen == Counter([*strings, "scan:list"])
    matching = list(client.scan_iter(match="scan:7*", count=count))
    assert sorted(matching) == sorted(key for key in strings if key.startswith("scan:7"))
    assert list(client.scan_iter(_type="list", count=count)) == ["scan:list"]
    assert sorted(client.sscan_iter("none")) == []


# State.


def test_a_transaction_on_one_slot(whole: Cluster, client: Any) -> None:
    for key in whole.one_of_each("multi"):
        a, b = f"a{{{key}}}", f"b{{{key}}}"
        with client.pipeline() as pipe:
            assert pipe.set(a, 1).incr(a).mget(a, b).get(b).execute() == [
                True,
                2,
                ["2", None],
                None,
            ]
        assert whole.call("GET", a) == b"2"


def test_a_transaction_over_two_slots_does_nothing(whole: Cluster, wire: Wire) -> None:
    a, b, _ = whole.one_of_each("multi")
    assert wire("MULTI") == b"OK"
    assert wire("SET", a, 1) == b"QUEUED"
    with contextlib.suppress(ServerError):  # then, or at the end
        wire("SET", b, 1)
    assert refusal(wire, "EXEC").startswith(("EXECABORT", "CROSSSLOT"))
    assert wire("EXISTS", a, b) == 0
    assert [whole.call("EXISTS", key) for key in (a, b)] == [0, 0]
    assert wire("SET", b, 2) == b"OK"
    assert wire("MULTI") == b"OK"
    assert wire("GET", b) == b"QUEUED"
    assert wire("EXEC") == [b"2"]


def test_a_transaction_refuses_what_asks_every_node(whole: Cluster, wire: Wire) -> None:
    whole.call("SET", "kept", 1)
    assert wire("MULTI") == b"OK"
    assert "transaction" in refusal(wire, "FLUSHALL")
    assert refusal(wire, "EXEC").startswith("EXECABORT")
    assert wire("GET", "kept") == b"1"


def test_discard_and_empty_transactions(whole: Cluster, wire: Wire) -> None:
    assert wire("MULTI") == b"OK"
    assert wire("EXEC") == []
    assert wire("MULTI") == b"OK"
    assert wire("SET", "dropped", 1) == b"QUEUED"
    assert wire("DISCARD") == b"OK"
    assert wire("EXISTS", "dropped") == 0
    assert refusal(wire, "EXEC") == "ERR EXEC without MULTI"
    assert refusal(wire, "DISCARD") == "ERR DISCARD without MULTI"


def test_watch_sees_a_foreign_write(whole: Cluster, client: Any) -> None:
    for key in whole.one_of_each("watched"):
        client.set(key, 1)
        with client.pipeline() as pipe:
            pipe.watch(key)
            assert pipe.get(key) == "1"
            whole.call("SET", key, 2)
            pipe.multi()
            pipe.set(key, 3)
            with pytest.raises(redis.WatchError):
                pipe.execute()
        assert client.get(key) == "2"
        with client.pipeline() as pipe:
            pipe.watch(key)
            pipe.multi()
            assert pipe.set(key, 3).execute() == [True]


def test_scripts_run_where_their_keys_are(whole: Cluster, client: Any) -> None:
    source = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])"
    sha = client.script_load(source)
    for key in whole.one_of_each("script"):
        assert client.eval(source, 1, key, "a") == "a"
        assert client.get(key) == "a"
        assert client.evalsha(sha, 1, key, "b") == "b"
        assert client.get(key) == "b"
    assert client.eval("return 'no key'", 0) == "no key"
    assert client.script_exists(sha, "0" * 40) == [True, False]
    client.script_flush()
    assert client.script_exists(sha) == [False]


def test_messages_of_every_kind(whole: Cluster, client: Any) -> None:
    channels = whole.one_of_each("channel")
    with client.pubsub() as listener:
        listener.subscribe(*channels)
        listener.psubscribe("channel:*")
        for _ in range(len(channels) + 1):
            assert _next(listener)["type"].endswith("subscribe")
        for publish in (client.publish, *map(_publisher, whole.primaries)):
            for channel in channels:
                publish(channel, "hello")
                told = [_next(listener), _next(listener)]
                assert {each["type"] for each in told} == {"message", "pmessage"}
                assert {(each["channel"], each["data"]) for each in told} == {(channel, "hello")}
    for channel in channels:
        with client.pubsub() as listener:
            listener.ssubscribe(channel)
            assert _next(listener)["type"] == "ssubscribe"
            assert client.execute_command("SPUBLISH", channel, "sharded") == 1
            assert _next(listener)["data"] == "sharded"


def test_nodes_that_are_announced_by_name_are_found() -> None:
    with (
        cluster(
            cluster_announce_hostname="localhost", cluster_preferred_endpoint_type="hostname"
        ) as made,
        proxy(upstream=made.url) as served,
        plain(served.port) as client,
    ):
        slots = made.running[0].call("CLUSTER", "SLOTS")
        assert isinstance(slots, list)
        assert slots[0][2][0] == b"localhost"
        for key in made.one_of_each("named"):
            client.set(key, "x")
            owner = made.primary_of(key)
            assert warm(owner, lambda key=key: client.get(key), "get") == "x"


def _publisher(node: Server) -> Callable[[str, str], object]:
    return lambda channel, message: node.call("PUBLISH", channel, message)


def _next(listener: Any) -> Any:
    message = listener.get_message(timeout=PATIENCE_S)
    assert message is not None, "no message"
    return message


def test_a_blocked_client_is_woken(whole: Cluster, served: Proxy, client: Any) -> None:
    for key in whole.one_of_each("queue"):
        owner = whole.primary_of(key)
        with plain(served.port) as waiting:
            popped = Call(lambda waiting=waiting, key=key: waiting.blpop(key, 0))
            until(lambda owner=owner: b"blocked_clients:1" in _clients(owner), "it is blocked")
            client.rpush(key, "x")
            assert popped.result() == [key, "x"] or popped.result() == (key, "x")


def _clients(node: Server) -> bytes:
    text = node.call("INFO", "clients")
    assert isinstance(text, bytes)
    return text


def test_a_connections_state_is_the_same_on_every_node(whole: Cluster, wire: Wire) -> None:
    wire("CLIENT", "SETNAME", "reporter")
    for key in whole.one_of_each("named"):
        wire("SET", key, 1)
        text = whole.primary_of(key).call("CLIENT", "LIST")
        assert isinstance(text, bytes)
        assert b" name=reporter " in text
    assert wire("CLIENT", "GETNAME") == b"reporter"


# The L1.


def test_hits_are_local_and_counted(whole: Cluster, served: Proxy, client: Any) -> None:
    for key in whole.one_of_each("hit"):
        owner = whole.primary_of(key)
        owner.call("SET", key, "v")
        assert warm(owner, lambda key=key: client.get(key), "get") == "v"
        before, spy = served.stats()["hits"], Spy(owner, "get")
        assert [client.get(key) for _ in range(100)] == ["v"] * 100
        assert spy.asked == 0
        assert served.stats()["hits"] == before + 100


def test_many_keys_are_hits_one_by_one(whole: Cluster, client: Any) -> None:
    keys = whole.one_of_each("many")
    client.mset(dict.fromkeys(keys, "v"))
    for key in keys:
        warm(whole.primary_of(key), lambda key=key: client.get(key), "get")
    spies = [Spy(node, "get", "mget") for node in whole.primaries]
    assert client.mget(keys) == ["v"] * 3
    assert [spy.asked for spy in spies] == [0, 0, 0]


def test_a_write_elsewhere_is_seen(whole: Cluster, client: Any) -> None:
    for key in whole.one_of_each("direct"):
        owner = whole.primary_of(key)
        for value in ("1", "2", "3"):
            owner.call("SET", key, value)
            until(lambda key=key, v=value: client.get(key) == v, "the new value", STALENESS_S)
            assert warm(owner, lambda key=key: client.get(key), "get") == value
        owner.call("DEL", key)
        until(lambda key=key: client.get(key) is None, "the key's end", STALENESS_S)


def test_a_write_through_the_proxy_is_seen_at_once(
    whole: Cluster, served: Proxy, client: Any
) -> None:
    with plain(served.port) as other:
        for n, key in itertools.product(range(100), whole.one_of_each("own")):
            client.set(key, n)
            assert other.get(key) == str(n)
            client.mset({key: n + 0.5, "own:far": 1})
            assert other.mget(key, "own:far") == [str(n + 0.5), "1"]


def test_a_key_that_was_not_there_is_seen_behind_a_move(whole: Cluster, client: Any) -> None:
    (key,) = keys_in(4711, 1, "absent")
    source = whole.primary_of(key)
    target = next(node for node in whole.primaries if node is not source)
    assert warm(source, lambda: client.get(key), "get") is None
    whole.move(4711, target)
    target.call("SET", key, "new")
    until(lambda: client.get(key) == "new", "what was set at the new owner", STALENESS_S)
    assert warm(target, lambda: client.get(key), "get") == "new"
    whole.move(4711, source)
    assert client.get(key) == "new"


def test_every_step_of_a_move(whole: Cluster, client: Any) -> None:
    slot = 815
    keys = keys_in(slot, 6, "step")
    source = whole.primary_of(slot)
    target = next(node for node in whole.primaries if node is not source)
    client.mset({key: key for key in keys[:5]})
    assert client.mget(keys) == [*keys[:5], None]

    whole.begin_move(slot, target)
    whole.move_keys(slot, source, target, 2)
    for key in keys[:5]:
        assert client.get(key) == key
        assert client.append(key, "!") == len(key) + 1
        assert client.get(key) == key + "!"
    client.set(keys[5], "new")
    assert client.get(keys[5]) == "new"

    # Some here, some there: only the end of the move can answer it.
    both = Call(lambda: client.mget(keys))
    whole.move_keys(slot, source, target)
    whole.end_move(slot, source, target)
    assert both.result() == [*(key + "!" for key in keys[:5]), "new"]
    with client.pipeline() as pipe:
        assert pipe.get(keys[0]).set(keys[0], 1).get(keys[0]).execute() == [
            keys[0] + "!",
            True,
            "1",
        ]
    whole.move(slot, source)


def test_a_dead_node_in_the_list_does_not_matter(whole: Cluster) -> None:
    alive = f"127.0.0.1:{whole.primaries[1].port}"
    upstream = f"redis+cluster://127.0.0.1:{free_port()},{alive}"
    with proxy(upstream=upstream) as served, plain(served.port) as client:
        for key in whole.one_of_each("listed"):
            client.set(key, 1)
            assert whole.call("GET", key) == b"1"


# A client that knows of clusters.


@pytest.fixture
def aware(whole: Cluster, served: Proxy) -> Iterator[Any]:
    with redis.RedisCluster(host=HOST, port=served.port, decode_responses=True) as made:
        yield made


def test_an_aware_client_is_told_of_the_proxy(served: Proxy, aware: Any) -> None:
    assert {(node.host, node.port) for node in aware.get_nodes()} == {(HOST, served.port)}
    (node,) = aware.get_primaries()
    assert aware.get_replicas() == []
    for reply in (aware.cluster_slots(), aware.cluster_shards(), aware.cluster_nodes()):
        assert str(served.port) in str(reply)
    assert aware.cluster_keyslot("a") == slot_of("a")
    assert aware.cluster_info(target_nodes=node)["cluster_state"] == "ok"


def test_an_aware_client_works(whole: Cluster, aware: Any) -> None:
    keys = [f"aware:{n}" for n in range(300)]
    for key in keys:
        aware.set(key, key)
        assert aware.get(key) == key
    assert aware.mget_nonatomic(keys) == keys
    assert sorted(aware.scan_iter(count=50)) == sorted(keys)
    assert aware.dbsize() == 300
    pipe = aware.pipeline()
    for key in keys:
        pipe.get(key)
    assert pipe.execute() == keys
    assert aware.delete(*keys) == 300
    assert aware.eval("return KEYS[1]", 1, "aware:1") == "aware:1"
    assert aware.flushall()


def test_what_an_aware_client_asks_has_the_servers_shape(whole: Cluster, wire: Wire) -> None:
    for command in ["READONLY", "READWRITE", "ASKING"]:
        assert wire(command) == b"OK"
    name = wire("CLUSTER", "MYID")
    assert isinstance(name, bytes)
    assert len(name) == 40
    ranges = wire("CLUSTER", "SLOTS")
    assert isinstance(ranges, list)
    ((first, last, (host, port, ident, more)),) = ranges
    assert (first, last, ident, more) == (0, SLOTS - 1, name, [])
    line = f"{name.decode()} {host.decode()}:{port}@0 myself,master - 0 0 1 connected 0-16383\n"
    nodes = wire("CLUSTER", "NODES")
    assert isinstance(nodes, bytes)
    assert nodes.removeprefix(b"txt:").decode() == line
    assert wire("CLUSTER", "COUNTKEYSINSLOT", 7) == 0
    whole.call("SET", "a", 1)
    assert wire("CLUSTER", "GETKEYSINSLOT", slot_of("a"), 10) == [b"a"]
