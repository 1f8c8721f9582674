"""`cachee proxy` in front of cluster nodes that end amid data, send elsewhere, or do not answer."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from cachee.conformance.stage import Call
from tests.harness.clusters import SLOTS, Cluster, cluster, slot_of
from tests.harness.drop_in import Spy, warm
from tests.harness.plain import HOST, plain
from tests.harness.proxies import proxy
from tests.harness.relay import Connection, Relay
from tests.harness.resp import Wire, refusal
from tests.harness.scripted_nodes import Farewell, Node, scripted_nodes
from tests.harness.servers import Server
from tests.harness.waiting import until

ROUNDS = 30


@contextlib.contextmanager
def _wire(nodes: list[Node]) -> Iterator[Wire]:
    """A connection to a proxy that knows these nodes."""
    upstream = "redis+cluster://" + ",".join(f"{node.host}:{node.port}" for node in nodes)
    with proxy(upstream=upstream) as served:
        until(lambda: served.stats()["ready"], "the proxy knows its upstream")
        with contextlib.closing(Wire((HOST, served.port), timeout_s=10)) as wire:
            yield wire


# The end of a node's connection comes in the segment of its last data: one event tells of both.

_one_segment = pytest.mark.skipif(
    not hasattr(socket, "MSG_MORE"), reason="data cannot be kept back for the end to follow it here"
)


@_one_segment
def test_half_a_reply_and_the_end_at_once_are_an_error() -> None:
    with scripted_nodes(1) as (node,), _wire([node]) as wire:
        node.answer = lambda words: Farewell(b"$10\r\nhalf")
        for _ in range(ROUNDS):
            assert "the connection is lost" in refusal(wire, "APPEND", "k", "x")
        assert len(node.asked) == ROUNDS


@_one_segment
def test_a_reply_and_the_end_at_once_leave_nothing_to_the_next_command() -> None:
    with scripted_nodes(1) as (node,), _wire([node]) as wire:
        node.answer = lambda words: Farewell(b":%d\r\n" % len(node.asked))
        assert [wire("APPEND", "k", "x") for _ in range(ROUNDS)] == list(range(1, ROUNDS + 1))


# What a later connection answers is sent on over an earlier one. If that waited for the proxy to
# look at all its clients, which it does once a second, the rounds would take three times as long
# as is waited for them.


@pytest.mark.parametrize("kind", ["MOVED", "ASK"])
def test_a_command_is_sent_on_over_an_older_connection_at_once(kind: str) -> None:
    with scripted_nodes(2) as (near, far), _wire([near, far]) as wire:
        older, newer, *keys = _keys_of_different_slots()
        near.answer = lambda words: b"$4\r\nnear\r\n"
        far.answer = lambda words: b"$3\r\nfar\r\n"
        assert [wire("GETDEL", key) for key in (older, newer)] == [b"near", b"far"]
        far.answer = lambda words: (
            f"-{kind} {slot_of(words[1])} {near.host}:{near.port}\r\n".encode()
        )
        answers = Call(lambda: [wire("GETDEL", key) for key in keys])
        assert answers.result(ROUNDS / 3) == [b"near"] * ROUNDS
        assert (len(near.asked), len(far.asked)) == (1 + ROUNDS, 1 + ROUNDS)


def _keys_of_different_slots() -> list[str]:
    """One of the lower half of the slots, the others of the upper, each of another slot."""
    keys = {slot_of(f"k{n}"): f"k{n}" for n in range(5 * ROUNDS)}
    lower = [key for slot, key in keys.items() if slot < SLOTS // 2]
    upper = [key for slot, key in keys.items() if slot >= SLOTS // 2]
    assert len(upper) > ROUNDS
    return [lower[0], *upper[: 1 + ROUNDS]]


# Which of its slots a node is giving away only that node says.


class _Relayed:
    """The primaries of a cluster behind relays, of which they tell in place of themselves."""

    def __init__(self, primaries: list[Server]):
        self._relays = {node.port: Relay(node.address) for node in primaries}
        self._instead: dict[int, bytes] = {}
        self._withheld = 0
        self._surveys = 0
        for port, relay in self._relays.items():
            relay.on_connect = lambda connection, port=port: self._connected(port, connection)

    def __enter__(self) -> "_Relayed":
        for relay in self._relays.values():
            relay.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for relay in self._relays.values():
            relay.close()

    @property
    def url(self) -> str:
        addresses = ",".join(f"{relay.host}:{relay.port}" for relay in self._relays.values())
        return f"redis+cluster://{addresses}"

    def withhold(self, node: Server, instead: bytes) -> None:
        """The node does not say what it gives away; returns when the proxy has drawn conclusions:
        it asks for the slots again."""
        self._instead[node.port] = instead
        until(lambda: self._withheld, "the node is asked what it gives away")
        seen = self._surveys
        until(lambda: self._surveys > seen, "the next survey")

    def tell(self) -> None:
        """Every node says again what it gives away."""
        self._instead.clear()

    def _connected(self, port: int, connection: Connection) -> None:
        connection.down.rewrite(lambda frame: self._reply(port, frame))

    def _reply(self, port: int, frame: bytes) -> bytes:
        if b" myself," in frame and port in self._instead:
            self._withheld += 1
            return self._instead[port]
        told = frame
        for own, relay in self._relays.items():
            told = told.replace(b":%d\r\n" % own, b":%d\r\n" % relay.port)
        self._surveys += told != frame
        return told


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    """Left whole by every test. Nodes that have to wait for the machine do not count as failed."""
    with cluster(2, cluster_node_timeout="30000") as made:
        yield made


@pytest.mark.parametrize(
    "instead",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"-NOPERM no permissions to run 'cluster|nodes'\r\n", id="refusing"),
    ],
)
def test_nothing_is_served_of_a_node_that_does_not_say_what_it_gives_away(
    two: Cluster, instead: bytes
) -> None:
    kept, withheld = two.primaries
    with (
        _Relayed(two.primaries) as relayed,
        # An answer that is waited for makes nothing of the other nodes too old.
        proxy("--max-staleness", "10s", upstream=relayed.url) as served,
        plain(served.port) as client,
    ):
        keys = {two.primary_of(key): key for key in two.one_of_each("survey")}

        def read(node: Server) -> object:
            return client.get(keys[node])

        for node, key in keys.items():
            node.call("SET", key, "v")
            assert warm(node, lambda node=node: read(node), "get") == "v"

        relayed.withhold(withheld, instead)
        warm(kept, lambda: read(kept), "get")
        spies, before = {node: Spy(node, "get") for node in keys}, served.stats()["hits"]
        assert [(read(kept), read(withheld)) for _ in range(ROUNDS)] == [("v", "v")] * ROUNDS
        assert {node: spy.asked for node, spy in spies.items()} == {kept: 0, withheld: ROUNDS}
        assert served.stats()["hits"] == before + ROUNDS

        relayed.tell()
        assert warm(withheld, lambda: read(withheld), "get") == "v"
