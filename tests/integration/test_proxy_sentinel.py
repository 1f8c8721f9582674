"""`cachee proxy` behind Sentinel: the primary moves, the endpoint stays."""

from collections.abc import Callable, Iterator

import pytest
import redis

from tests.harness.drop_in import Spy, warm
from tests.harness.outages import recovery_s
from tests.harness.plain import plain
from tests.harness.proxies import proxy
from tests.harness.sentinels import NAME, Watched, watched
from tests.harness.servers import Server, free_port
from tests.harness.waiting import until

# What the proxy may add to the time that the sentinels need to make another server the primary.
OVER_BARE_S = 0.3
# The bound of `max_staleness`, and what a busy machine adds to it.
STALENESS_S = 1.0 + 0.5


@pytest.fixture
def pair() -> Iterator[Watched]:
    with watched() as made:
        yield made


def test_the_primary_is_served(pair: Watched) -> None:
    with proxy(upstream=pair.url) as served, plain(served.port) as client:
        client.set("k", "v")
        assert pair.primary.call("GET", "k") == b"v"
        assert warm(pair.primary, lambda: client.get("k"), "get") == "v"
        before, spy = served.stats()["hits"], Spy(pair.primary, "get")
        assert [client.get("k") for _ in range(100)] == ["v"] * 100
        assert (spy.asked, served.stats()["hits"]) == (0, before + 100)
        with client.pipeline() as pipe:
            assert pipe.incr("n").incr("n").execute() == [1, 2]
        assert client.role()[0] in (b"master", "master")


def test_the_database_of_the_url(pair: Watched) -> None:
    with proxy(upstream=pair.url + "/2") as served, plain(served.port) as client:
        client.set("k", "v")
        wire = pair.primary.fresh_wire()
        assert wire("EXISTS", "k") == 0
        wire("SELECT", 2)
        assert wire("GET", "k") == b"v"
        wire.close()


def test_a_dead_sentinel_in_the_list_does_not_matter(pair: Watched) -> None:
    alive = f"127.0.0.1:{pair.sentinels[1].port}"
    upstream = f"redis+sentinel://127.0.0.1:{free_port()},{alive}/{NAME}"
    with proxy(upstream=upstream) as served, plain(served.port) as client:
        assert client.set("k", "v")


@pytest.mark.parametrize("sentinels_left", [3, 2])
def test_a_primary_that_is_killed(
    pair: Watched, sentinels_left: int, record_property: Callable[[str, object], None]
) -> None:
    with proxy(upstream=pair.url) as served, plain(served.port) as client:
        client.set("k", "before")
        assert client.wait(1, 5000) == 1
        warm(pair.primary, lambda: client.get("k"), "get")
        lost = pair.primary
        for sentinel in pair.sentinels[: 3 - sentinels_left]:
            # The one that the proxy asked first.
            sentinel.kill()

        replica = pair.kill_primary()
        seconds = recovery_s(
            bare=lambda: _found(pair, replica).call("SET", "bare", 1),
            proxied=lambda: client.set("proxied", 1),
        )
        record_property("bare_s", seconds["bare"])
        record_property("proxied_s", seconds["proxied"])
        assert seconds["proxied"] <= seconds["bare"] + OVER_BARE_S
        pair.await_takeover(replica)
        assert replica.call("GET", "proxied") == b"1"

        assert client.get("k") == "before"
        assert warm(replica, lambda: client.get("k"), "get") == "before"
        replica.call("SET", "k", "after")
        until(lambda: client.get("k") == "after", "a write at the new primary", STALENESS_S)

        # The old one comes back empty, and is nobody's primary.
        pair.rejoin(lost)
        client.set("k", "last")
        assert [client.get("k") for _ in range(20)] == ["last"] * 20
        assert replica.call("GET", "k") == b"last"


def _found(pair: Watched, replica: Server) -> Server:
    """As a client of the sentinels finds it: some of them name it."""
    assert replica.port in pair.named()
    return replica


def test_an_orderly_change_loses_no_acknowledged_write(pair: Watched) -> None:
    with proxy(upstream=pair.url) as served, plain(served.port) as client:
        old = pair.primary
        client.set("k", "before")
        assert client.wait(1, 5000) == 1
        warm(old, lambda: client.get("k"), "get")
        new = pair.fail_over()
        recovery_s(proxied=lambda: client.set("k", "after"))
        assert new.call("GET", "k") == b"after"
        assert [client.get("k") for _ in range(20)] == ["after"] * 20
        new.call("SET", "k", "direct")
        until(lambda: client.get("k") == "direct", "a write at the new primary", STALENESS_S)
        assert warm(new, lambda: client.get("k"), "get") == "direct"


def test_a_client_in_a_transaction_is_told_not_repeated(pair: Watched) -> None:
    with proxy(upstream=pair.url) as served, plain(served.port) as client:
        client.set("n", 1)
        assert client.wait(1, 5000) == 1
        # Leaving the pipeline may say so as well: the client tidies up on a new connection.
        with pytest.raises(redis.RedisError), client.pipeline() as pipe:
            pipe.watch("n")
            replica = pair.kill_primary()
            pair.await_takeover(replica)
            pipe.multi()
            pipe.incr("n")
            pipe.execute()
        recovery_s(proxied=lambda: client.set("other", 1))
        assert client.get("n") == "1"
        assert replica.call("GET", "n") == b"1"
