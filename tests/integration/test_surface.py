"""The read surface of redis-py and valkey-py is the same with cachee as without.

Every call runs on the plain client, then with cachee twice: a miss and a hit. Type and value must
be equal each time, and the hit must not have reached the server.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.clients import Clients, class_of, module_of
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server
from tests.integration.reads import ASKED, CACHED, DATASET, ODD, outcome


def _parser(flavour: str, protocol: int) -> Any:
    """The pure Python parser of a flavour."""
    library, _, asynchronous = flavour.partition(".")
    parsers = __import__(f"{library}._parsers", fromlist=["_RESP2Parser"])
    return getattr(parsers, f"_{'Async' if asynchronous else ''}RESP{protocol}Parser")


def _with_parser(flavour: str, protocol: int, **options: Any) -> Callable[[Server], Any]:
    def build(server: Server) -> Any:
        pool = module_of(flavour).ConnectionPool(
            host=server.host,
            port=server.port,
            protocol=protocol,
            parser_class=_parser(flavour, protocol),
            **options,
        )
        return class_of(flavour)(connection_pool=pool)

    return build


SHAPES: dict[str, dict[str, Any]] = {
    "resp2": {"protocol": 2},
    "resp3": {"protocol": 3},
    "resp2-text": {"protocol": 2, "decode_responses": True, "encoding_errors": "replace"},
    "resp3-text": {"protocol": 3, "decode_responses": True, "encoding_errors": "replace"},
    "resp2-latin": {"protocol": 2, "decode_responses": True, "encoding": "latin-1"},
    "resp3-latin": {"protocol": 3, "decode_responses": True, "encoding": "latin-1"},
    "resp3-ignore": {"protocol": 3, "decode_responses": True, "encoding_errors": "ignore"},
    "resp2-strict": {"protocol": 2, "decode_responses": True},
    "resp3-strict": {"protocol": 3, "decode_responses": True},
    "health-checks": {"health_check_interval": 1, "client_name": "shop", "max_connections": 4},
}
MORE_READS = {
    "latin": lambda r: r.get("latin"),
    "utf8": lambda r: r.get("utf8"),
    "latin_hash": lambda r: r.hgetall("latinhash"),
}


def _load(server: Server) -> None:
    server.fill([*DATASET, ("HSET", "latinhash", b"\xe9", b"\xfc", "b", "2")])


# One sync and one asyncio flavour here, call by call; all four below, all calls at once.
TWO_FLAVOURS = pytest.mark.parametrize("flavour", ["redis", "valkey.asyncio"])


@TWO_FLAVOURS
@pytest.mark.parametrize("name", CACHED)
def test_a_cached_read_equals_the_plain_one(
    server: Server, clients: Clients, flavour: str, name: str
) -> None:
    _load(server)
    read = CACHED[name]
    client = clients.make(flavour, server.port)
    plain = outcome(read.call, client)
    with installed():
        miss = outcome(read.call, client)
        warm(server, lambda: outcome(read.call, client), *read.commands)
        spy = Spy(server, *read.commands)
        hit = outcome(read.call, client)
        asked = spy.asked
    after = outcome(read.call, client)
    assert (miss, hit, after) == (plain, plain, plain)
    assert asked == 0


@TWO_FLAVOURS
@pytest.mark.parametrize("name", ASKED)
def test_what_may_not_be_cached_reaches_the_server_each_time(
    server: Server, clients: Clients, flavour: str, name: str
) -> None:
    _load(server)
    read = ASKED[name]
    client = clients.make(flavour, server.port)
    plain = outcome(read.call, client)
    with installed():
        warm(server, lambda: client.get("text"), "get")
        spy = Spy(server, *read.commands)
        assert [outcome(read.call, client) for _ in range(3)] == [plain] * 3
        assert spy.asked == 3


@TWO_FLAVOURS
@pytest.mark.parametrize("name", ODD)
def test_an_odd_call_ends_as_on_the_plain_client(
    server: Server, clients: Clients, flavour: str, name: str
) -> None:
    _load(server)
    client = clients.make(flavour, server.port)
    plain = outcome(ODD[name], client)
    with installed():
        warm(server, lambda: client.get("text"), "get")
        assert [outcome(ODD[name], client) for _ in range(3)] == [plain] * 3
        assert client.get("text") == b"hello world"


def _compare_everything(server: Server, client: Any, *, cached: bool = True) -> None:
    """Plain against miss, hit and hit again over the whole surface; then who was asked."""
    _load(server)
    calls = {name: read.call for name, read in {**CACHED, **ASKED}.items()} | MORE_READS | ODD
    plain = {name: outcome(call, client) for name, call in calls.items()}
    with installed():
        if cached:
            warm(server, lambda: outcome(CACHED["get"].call, client), "get")
        differing = []
        for _ in ("miss", "hit", "hit again"):
            for name, call in calls.items():
                if (got := outcome(call, client)) != plain[name]:
                    differing.append((name, plain[name], got))
        assert not differing
        for read in CACHED.values():
            outcome(read.call, client)  # what ODD did on the client's own way dropped some entries
        asked = []
        for name, read in CACHED.items():
            spy = Spy(server, *read.commands)
            outcome(read.call, client)
            if spy.asked:
                asked.append(name)
        assert asked == ([] if cached else list(CACHED))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_reply(server: Server, clients: Clients, flavour: str, shape: str) -> None:
    _compare_everything(server, clients.make(flavour, server.port, **SHAPES[shape]))


def test_a_single_connection_client_is_left_alone(
    server: Server, clients: Clients, flavour: str
) -> None:
    """Its one connection may be in any state: every read goes there."""
    client = clients.make(flavour, server.port, single_connection_client=True)
    _compare_everything(server, client, cached=False)


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_pure_python_parser(
    server: Server, clients: Clients, flavour: str, protocol: int
) -> None:
    build = _with_parser(flavour, protocol)
    _compare_everything(server, clients.adopt(flavour, lambda: build(server)))


@pytest.mark.parametrize("flavour", ["redis", "redis.asyncio"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_unified_responses(server: Server, clients: Clients, flavour: str, protocol: int) -> None:
    client = clients.make(flavour, server.port, protocol=protocol, legacy_responses=False)
    _compare_everything(server, client)
