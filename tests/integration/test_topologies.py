"""The clusters and sentinels of the harness do what the tests on them rely on."""

from collections.abc import Iterator

import pytest

from tests.harness.clusters import SLOTS, Cluster, cluster, keys_in, layout, slot_of
from tests.harness.resp import ServerError, refusal
from tests.harness.sentinels import watched
from tests.harness.servers import Server


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """One cluster for the tests that leave it whole."""
    with cluster() as made:
        yield made


@pytest.fixture
def whole(shared: Cluster) -> Cluster:
    """The shared cluster, emptied."""
    shared.flush()
    return shared


def test_every_slot_has_a_primary_and_a_replica(whole: Cluster) -> None:
    views = [layout(node) for node in whole.nodes]
    assert all(view == views[0] for view in views)
    assert sum(each.last - each.first + 1 for each in views[0]) == SLOTS
    assert len({each.primary for each in views[0]}) == 3
    assert all(len(each.replicas) == 1 for each in views[0])


@pytest.mark.parametrize("key", ["a", "", "{a}b", "x{a}", "{}a", "{a", "a}b{c}", "{{a}}", "Ω"])
def test_slots_are_the_servers_own(whole: Cluster, key: str) -> None:
    assert slot_of(key) == whole.nodes[0].call("CLUSTER", "KEYSLOT", key)


def test_a_key_elsewhere_is_moved(whole: Cluster) -> None:
    owner = whole.primary_of("a")
    other = next(node for node in whole.primaries if node is not owner)
    owner.call("SET", "a", "1")
    assert refusal(other.call, "GET", "a") == f"MOVED {slot_of('a')} 127.0.0.1:{owner.port}"
    assert whole.call("GET", "a") == b"1"


def test_a_slot_moves_with_its_keys(whole: Cluster) -> None:
    slot = 7
    keys = keys_in(slot, 10)
    source = whole.primary_of(slot)
    target = next(node for node in whole.primaries if node is not source)
    for key in keys:
        source.call("SET", key, key)

    assert whole.begin_move(slot, target) is source
    assert whole.move_keys(slot, source, target, 4) == 4
    moved = [key for key in keys if not _has(source, key)]
    assert len(moved) == 4
    ask = f"ASK {slot} 127.0.0.1:{target.port}"
    assert refusal(source.call, "GET", moved[0]) == ask
    assert refusal(source.call, "SET", "new{" + moved[0].partition("{")[2], "1") == ask
    assert refusal(target.call, "GET", moved[0]) == f"MOVED {slot} 127.0.0.1:{source.port}"
    assert refusal(source.call, "MGET", *keys).startswith("TRYAGAIN")

    assert whole.move_keys(slot, source, target) == 6
    whole.end_move(slot, source, target)
    assert whole.primary_of(slot) is target
    assert target.call("MGET", *keys) == [key.encode() for key in keys]
    assert refusal(source.call, "GET", keys[0]) == f"MOVED {slot} 127.0.0.1:{target.port}"

    whole.move(slot, source)
    assert whole.primary_of(slot) is source


def _has(node: Server, key: str) -> bool:
    try:
        return node.call("EXISTS", key) == 1
    except ServerError as refused:
        assert str(refused).startswith("ASK ")
        return False


def test_a_replica_takes_over() -> None:
    with cluster() as own:
        lost = own.primary_of("a")
        own.call("SET", "a", "1")
        assert lost.call("WAIT", 1, 5000) == 1
        replica = own.kill_primary(lost)
        own.await_takeover(replica)
        assert own.primary_of("a") is replica
        assert own.call("GET", "a") == b"1"

        lost.start()
        own.settle(replicas_each=1)
        assert own.replica_of(replica) is lost

        own.fail_over(lost)
        assert own.primary_of("a") is lost
        assert (
            refusal(replica.call, "SET", "a", "2") == f"MOVED {slot_of('a')} 127.0.0.1:{lost.port}"
        )


def test_sentinels_name_another_primary() -> None:
    with watched() as pair:
        first, second = pair.servers
        assert pair.primary is first
        first.call("SET", "a", "1")
        assert first.call("WAIT", 1, 5000) == 1

        follower = pair.sentinels[0].fresh_wire()
        follower("SUBSCRIBE", "+switch-master")
        assert pair.kill_primary() is second
        pair.await_takeover(second)
        addresses = f"{first.host} {first.port} {second.host} {second.port}"
        told = [b"message", b"+switch-master", f"{pair.name} {addresses}".encode()]
        assert follower.message() == told
        follower.close()
        assert second.call("GET", "a") == b"1"

        pair.rejoin(first)
        assert pair.fail_over() is first
        assert first.call("SET", "a", "2") == b"OK"
