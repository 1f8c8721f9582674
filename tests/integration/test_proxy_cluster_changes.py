"""`cachee proxy` in front of a cluster that changes: slots move, primaries die, clients go on."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cachee.conformance.stage import Call
from tests.harness.clusters import Cluster, cluster, keys_in
from tests.harness.counting import Counting
from tests.harness.drop_in import warm
from tests.harness.outages import recovery_s
from tests.harness.plain import plain
from tests.harness.proxies import proxy
from tests.harness.waiting import until

# What the proxy may add to the time that the cluster itself needs to be whole again.
OVER_BARE_S = 0.3
# The bound of `max_staleness`, and what a busy machine adds to it.
STALENESS_S = 1.0 + 0.5


def _reshard(cluster: Cluster, slots: list[int], go_on: Callable[[], None]) -> None:
    for slot in slots * 3:
        source = cluster.primary_of(slot)
        target = next(node for node in cluster.primaries if node is not source)
        cluster.begin_move(slot, target)
        go_on()
        while cluster.move_keys(slot, source, target, 1):
            pass
        go_on()
        cluster.end_move(slot, source, target)
        go_on()


def _fail_over(cluster: Cluster, slots: list[int], go_on: Callable[[], None]) -> None:
    for slot in slots:
        cluster.fail_over(cluster.replica_of(cluster.primary_of(slot)))
        cluster.settle(replicas_each=1)
        go_on()


@pytest.mark.parametrize("change", [_reshard, _fail_over])
def test_clients_do_not_notice(change: Callable[..., None]) -> None:
    slots = [7, 6000, 12000]
    with cluster() as own, proxy(upstream=own.url) as served:
        groups = [keys_in(slot, 5, "count") for slot in slots]
        with Counting(lambda: plain(served.port), groups) as counting:
            change(own, slots, counting.go_on)
        assert (counting.errors, counting.violations) == ([], [])
        assert counting.reads > counting.writes > 0
        assert served.stats()["hits"] > 0
        for key in itertools.chain(*groups):
            assert int(str(own.call("GET", key), "ascii")) == counting.acknowledged(key)


def test_a_primary_that_is_killed(record_property: Callable[[str, object], None]) -> None:
    options = {"cluster-require-full-coverage": "no"}
    with (
        cluster(**options) as own,
        proxy(upstream=own.url) as served,
        plain(served.port) as client,
    ):
        lost, kept, _ = own.primaries
        keys = own.one_of_each("kill")
        client.mset(dict.fromkeys(keys, "before"))
        assert client.wait(1, 5000) == 1
        key = next(key for key in keys if own.primary_of(key) is lost)
        other = next(key for key in keys if own.primary_of(key) is kept)
        for each in keys:
            warm(own.primary_of(each), lambda each=each: client.get(each), "get")

        replica = own.kill_primary(lost)
        with (
            plain(served.port) as neighbour,
            _undisturbed(lambda: neighbour.get(other), "before"),
        ):
            seconds = recovery_s(
                bare=lambda: replica.call("SET", f"bare{{{key}}}", 1),
                proxied=lambda: client.set(f"proxied{{{key}}}", 1),
            )
        record_property("bare_s", seconds["bare"])
        record_property("proxied_s", seconds["proxied"])
        assert seconds["proxied"] <= seconds["bare"] + OVER_BARE_S
        own.await_takeover(replica)

        assert client.get(key) == "before"
        assert warm(replica, lambda: client.get(key), "get") == "before"
        replica.call("SET", key, "after")
        until(lambda: client.get(key) == "after", "a write at the new primary", STALENESS_S)
        assert client.get(other) == "before"


@contextlib.contextmanager
def _undisturbed(read: Callable[[], Any], value: object) -> Iterator[None]:
    """A read that goes on in a thread and must give the same each time, for one block."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            assert read() == value

    reading = Call(go_on)
    try:
        yield
    finally:
        over.set()
        reading.result()
