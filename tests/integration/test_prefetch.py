"""Keys loaded before they are asked for: by unchanged clients, in process and through the proxy."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

import cachee
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.proxies import proxy
from tests.harness.servers import Server
from tests.harness.waiting import until

USERS = 40
KINDS = ("user", "perm", "flags", "cart")
GET = ("get",)


def session_of(number: int) -> str:
    return f"session:{number * 7919:x}z"


def user_of(number: int) -> int:
    """No two follow each other."""
    return 10_000 + number * 7


def in_json(user: int) -> bytes:
    return json.dumps({"version": 3, "data": {"user_id": user}, "theme": "dark"}).encode()


def in_msgpack(user: int) -> bytes:
    return b"\x82\xa7version\x03\xa7user_id\xcd" + user.to_bytes(2, "big")


@pytest.fixture(params=[in_json, in_msgpack, lambda user: str(user).encode()])
def sessions(request: pytest.FixtureRequest, server: Server) -> None:
    """Sessions whose value holds the number of their user, and what is kept of each user."""
    for number in range(USERS):
        server.call("SET", session_of(number), request.param(user_of(number)))
        for kind in KINDS:
            server.call("SET", f"{kind}:{user_of(number)}", f"{kind} of {number}")


def request(read: Callable[[str], Any], number: int) -> None:
    """What an API asks for one request."""
    assert read(session_of(number)) is not None
    for kind in KINDS:
        answer = read(f"{kind}:{user_of(number)}")
        assert answer in (f"{kind} of {number}", f"{kind} of {number}".encode())


def sent_ahead() -> dict[str, int]:
    return dict(cachee.stats().prefetch)


async def connected(client: Any) -> None:
    """Asks until the L1 has answered; in a task of its own, or all that follow are of its flow."""
    deadline = time.monotonic() + 10
    while not cachee.stats().hits:
        assert time.monotonic() < deadline, str(cachee.stats())
        await client.get("warm-up")


@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize("library", ["redis", "valkey"])
def test_a_user_nobody_has_seen_costs_two_round_trips(
    server: Server, clients: Any, library: str
) -> None:
    client = clients.make(library, server.port)
    with installed():
        warm(server, lambda: client.get("warm-up"), *GET)
        for number in range(USERS - 1):
            request(client.get, number)
        before, spy = cachee.stats(), Spy(server, *GET)
        request(client.get, USERS - 1)
        after = cachee.stats()
        assert spy.asked == 1 + len(KINDS), "each key once"
        # One is joined on its way or here already; the others are found.
        assert after.misses - before.misses == 1, after.rules
        counted = sent_ahead()
        assert counted["rules_issued"] >= len(KINDS)
        assert counted["unused"] == 0
        best = after.rules[0]
        assert best["source"] == "GET session:{1}"
        assert best["trusted"]
        said = str(cachee.explain(f"perm:{user_of(3)}"))
        assert "loaded ahead by GET session:{1} -> GET perm:{value" in said
        assert "loaded ahead" not in str(cachee.explain("perm"))


@pytest.mark.usefixtures("sessions")
def test_tasks_are_told_apart(server: Server) -> None:
    async def one(client: Any, number: int) -> None:
        assert await client.get(session_of(number)) is not None
        for kind in KINDS:
            assert await client.get(f"{kind}:{user_of(number)}") == f"{kind} of {number}".encode()

    async def all_requests() -> list[int]:
        client = redis.asyncio.Redis(port=server.port)
        await asyncio.create_task(connected(client))
        await asyncio.gather(*[one(client, number) for number in range(USERS // 2)])
        misses = []
        for first in range(USERS // 2, USERS, 4):
            before = cachee.stats().misses
            await asyncio.gather(*[one(client, number) for number in range(first, first + 4)])
            misses.append(cachee.stats().misses - before)
        await client.aclose()
        return misses

    with installed():
        misses = asyncio.run(all_requests())
        # How soon the last rule is believed depends on when its predictions came true.
        assert 4 in misses, (misses, cachee.stats().rules)


@pytest.mark.usefixtures("sessions")
def test_a_batch_of_which_some_was_loaded_ahead_is_one_read(server: Server) -> None:
    """What is here, what is on its way and what is missing come together in one answer."""

    async def one(client: Any, number: int) -> None:
        await client.get(session_of(number))
        await asyncio.sleep(0.002)  # some of it arrives
        keys = [f"{kind}:{user_of(number)}" for kind in KINDS]
        answer = await client.mget([*keys, f"other{number}z{number}"])
        assert answer == [*[f"{kind} of {number}".encode() for kind in KINDS], None]

    async def all_requests() -> None:
        client = redis.asyncio.Redis(port=server.port)
        await asyncio.create_task(connected(client))
        for number in range(USERS):
            await one(client, number)
        await client.aclose()

    with installed():
        spy = Spy(server, "mget")
        asyncio.run(all_requests())
        assert sent_ahead()["rules_issued"] > USERS
        assert cachee.stats().bypasses.get("contended", 0) == 0
        assert spy.asked == 0, "no batch was sent as a whole"


@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize("mode", [{"prefetch": "observe"}, {"mode": "observe"}])
def test_who_only_observes_sends_nothing_and_knows_the_rules(
    server: Server, mode: dict[str, str]
) -> None:
    with installed(**mode), redis.Redis(port=server.port) as client:
        until(lambda: (client.get("warm-up"), cachee.stats().links)[1], "a link")
        until(lambda: cachee.stats().links[0].state == "ready", "the link")
        for number in range(USERS):
            request(client.get, number)
        until(lambda: sent_ahead()["trusted"] >= len(KINDS), "the rules")
        assert sent_ahead()["issued"] == 0


@pytest.mark.usefixtures("sessions")
def test_off_is_off(server: Server) -> None:
    with installed(prefetch="off"), redis.Redis(port=server.port) as client:
        warm(server, lambda: client.get("warm-up"), *GET)
        for number in range(USERS):
            request(client.get, number)
        assert sent_ahead() == {}


@pytest.mark.usefixtures("sessions")
def test_keys_that_may_not_be_cached_are_not_loaded(server: Server) -> None:
    with installed(exclude=["perm:*"]), redis.Redis(port=server.port) as client:
        warm(server, lambda: client.get("warm-up"), *GET)
        for number in range(USERS):
            request(client.get, number)
        assert all("perm:" not in str(rule["target"]) for rule in cachee.stats().rules)


def test_a_hash_is_read_for_the_number_in_it(server: Server) -> None:
    for number in range(USERS):
        server.call("HSET", f"login:{number * 7919:x}z", "uid", user_of(number), "at", "now")
        server.call("SET", f"user:{user_of(number)}", number)
    with installed(), redis.Redis(port=server.port) as client:
        warm(server, lambda: client.get("warm-up"), *GET)
        for number in range(USERS):
            client.hgetall(f"login:{number * 7919:x}z")
            assert client.get(f"user:{user_of(number)}") == b"%d" % number
        rule = cachee.stats().rules[0]
        assert rule["target"] == "GET user:{value.uid}"
        assert rule["issued"] > USERS / 2


def test_a_written_key_is_read_again_and_the_new_value_seen(server: Server) -> None:
    server.call("SET", "hot", "old")
    with installed(), redis.Redis(port=server.port) as client:
        warm(server, lambda: client.get("hot"), *GET)
        for _ in range(10):
            assert client.get("hot") == b"old"
        server.call("SET", "hot", "new")
        until(lambda: sent_ahead()["refetch_issued"] > 0, "it is asked for again")
        spy = Spy(server, *GET)
        assert client.get("hot") == b"new"
        assert spy.asked <= 1


def test_a_key_we_write_ourselves_is_read_again_too(server: Server) -> None:
    server.call("SET", "hot", "0")
    with installed(), redis.Redis(port=server.port) as client:
        warm(server, lambda: client.get("hot"), *GET)
        spy = Spy(server, *GET)
        for number in range(1, 51):
            for _ in range(10):
                client.get("hot")
            client.set("hot", number)
            issued = number
            until(lambda issued=issued: sent_ahead()["refetch_issued"] >= issued, "it is asked for")
            assert client.get("hot") == b"%d" % number
        assert spy.asked == 50, "by the reads ahead alone"
        assert sent_ahead()["refetch_used"] + sent_ahead()["refetch_late"] == 50


@pytest.fixture
def served(server: Server) -> Iterator[Any]:
    with proxy(upstream=f"redis://{server.host}:{server.port}") as running:
        yield running


@pytest.mark.usefixtures("sessions")
def test_the_proxy_loads_ahead_for_any_client(server: Server, served: Any) -> None:
    with redis.Redis(port=served.port) as client:
        until(lambda: client.get("warm-up") is None and served.stats()["hits"] > 0, "hits")
        for number in range(USERS - 1):
            request(client.get, number)
        before, spy = served.stats(), Spy(server, *GET)
        request(client.get, USERS - 1)
        after = served.stats()
    assert spy.asked == 1 + len(KINDS)
    found = after["hits"] - before["hits"]
    joined = after["coalesced"] - before["coalesced"]
    assert (found + joined, after["misses"] - before["misses"]) == (len(KINDS), 1 + joined)
    assert after["prefetch"]["rules_issued"] >= len(KINDS)
    assert after["links"][0]["rules"][0]["source"] == "GET session:{1}"


@pytest.mark.usefixtures("sessions")
def test_clients_that_share_one_connection_are_served_too(server: Server, served: Any) -> None:
    """As ioredis or Lettuce do: everybody's requests come on one connection."""
    with redis.Redis(port=served.port) as client:
        until(lambda: client.get("warm-up") is None and served.stats()["hits"] > 0, "hits")
        for first in range(0, USERS, 4):
            numbers = range(first, first + 4)
            for number in numbers:
                client.get(session_of(number))
            for kind in KINDS:
                for number in numbers:
                    client.get(f"{kind}:{user_of(number)}")
    assert served.stats()["prefetch"]["rules_issued"] > USERS


def test_the_proxy_reads_again_what_its_clients_write(server: Server, served: Any) -> None:
    def issued() -> int:
        return int(served.stats()["prefetch"].get("refetch_issued", 0))

    with redis.Redis(port=served.port) as client, redis.Redis(port=served.port) as other:
        client.set("hot", "0")
        until(lambda: client.get("hot") and served.stats()["hits"] > 0, "a hit")
        for number in range(1, 11):
            for _ in range(10):
                other.get("hot")
            before = issued()
            client.set("hot", number)
            until(lambda before=before: issued() > before, "it is asked for")
            assert other.get("hot") == b"%d" % number
        prefetch = served.stats()["prefetch"]
        assert prefetch["refetch_used"] + prefetch["refetch_late"] >= 10
