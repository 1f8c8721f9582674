"""No value is read after its end, however many end at the same moment."""

import time

from tests.abuse.conftest import warm
from tests.harness.proxies import Proxy
from tests.harness.servers import Server

GRACE_S = 0.001
_PIPELINE = 500
_LIFE_S = 3.0


def test_many_keys_that_end_together(
    front: Proxy, own_server: Server, connect, amount, capsys
) -> None:
    """The server's message about an expired key comes seconds late when a million end."""
    count, wire = amount(20_000), connect(front)
    names = [f"k:{at}" for at in range(count)]
    own_server.call("SET", "hot", "1")
    warm(front, wire, "GET", "hot")
    ends_ms = int((time.time() + _LIFE_S + count / 10_000) * 1000)
    batches = [names[at : at + _PIPELINE] for at in range(0, count, _PIPELINE)]
    for batch in batches:
        own_server.fill([("SET", name, "v", "PXAT", ends_ms) for name in batch])
    before = front.stats()["hits"]
    for _ in range(2):
        for batch in batches:
            assert set(wire.many([("GET", name) for name in batch])) <= {b"v"}
    hits = front.stats()["hits"] - before
    assert time.time() * 1000 < ends_ms, "too slow a machine: the values ended while being read"
    assert hits > 0.8 * count, f"{hits} hits in {2 * count} reads: too few to say anything"
    _until_moment(ends_ms / 1000 + GRACE_S)
    dead = sum(
        answer is not None
        for batch in batches
        for answer in wire.many([("GET", name) for name in batch])
    )
    with capsys.disabled():
        print(f"\nexpiry: {count} keys, {hits} hits before, {dead} dead values read after")
    assert dead == 0


def _until_moment(moment: float) -> None:
    """The one thing to wait for here is the moment itself."""
    time.sleep(max(moment - time.time(), 0))
