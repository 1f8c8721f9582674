"""How long an answer may be old after a change behind the proxy's back, when nothing is wrong."""

import time

from tests.abuse.conftest import warm
from tests.abuse.others import percentile
from tests.harness.proxies import Proxy
from tests.harness.servers import Server

P99_MS, MAX_MS = 1.0, 10.0


def test_a_change_is_seen_within_moments(
    front: Proxy, own_server: Server, connect, amount, capsys
) -> None:
    """Age: from the acknowledgement of the change until an old answer arrived, 0 without one."""
    wire, ages_ms, old = connect(front), [], 0
    own_server.call("SET", "k", "0")
    warm(front, wire, "GET", "k")
    hits = front.stats()["hits"]
    for version in range(1, amount(2_000) + 1):
        for _ in range(5):
            wire("GET", "k")
        own_server.call("SET", "k", version)
        changed, age_ms = time.perf_counter(), 0.0
        while wire("GET", "k") != b"%d" % version:
            old += 1
            age_ms = (time.perf_counter() - changed) * 1000
            assert age_ms < 1_000, "it is never seen"
        ages_ms.append(age_ms)
    share = (front.stats()["hits"] - hits) / (6 * len(ages_ms) + old)
    with capsys.disabled():
        print(
            f"\n{len(ages_ms)} changes, {share:.0%} of the reads hits, {old} old ones; age p99"
            f" {percentile(ages_ms, 0.99):.3f} ms, at most {max(ages_ms):.3f} ms"
        )
    assert share > 0.6
    assert percentile(ages_ms, 0.99) <= amount.bar(P99_MS)
    assert max(ages_ms) <= amount.bar(MAX_MS)
