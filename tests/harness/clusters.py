"""A real cluster of local processes: three primaries with a replica each, and what happens to it.

Nothing here waits for time. Every operation returns when the nodes themselves say that what was
asked for has happened, so that a test sees one definite state: slots agreed on, links up, a move
begun but not ended.
"""

import binascii
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.harness.resp import ServerError
from tests.harness.servers import Server, free_port
from tests.harness.waiting import until

SLOTS = 16384
NODE_TIMEOUT_MS = 1500
_MOVE_KEYS = 100
_MOVE_TIMEOUT_MS = 5000
_PATIENCE_S = 30.0


def slot_of(key: str | bytes) -> int:
    """The slot of a key: CRC16 of what stands between the first braces, if anything does."""
    raw = key if isinstance(key, bytes) else key.encode()
    _, opened, rest = raw.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    return binascii.crc_hqx(tag if opened and closed and tag else raw, 0) % SLOTS


def keys_in(slot: int, count: int, prefix: str = "k") -> list[str]:
    """So many different keys of one slot: one hash tag found by trying, then a number."""
    tag = next(n for n in range(SLOTS * 100) if slot_of(str(n)) == slot)
    return [f"{prefix}{n}{{{tag}}}" for n in range(count)]


@dataclass(frozen=True)
class Range:
    """Slots that one node says are served by a primary and its replicas, named by their ports."""

    first: int
    last: int
    primary: int
    replicas: frozenset[int]


def layout(node: Server) -> list[Range]:
    """What a node answers to CLUSTER SLOTS."""
    reply = node.call("CLUSTER", "SLOTS")
    assert isinstance(reply, list)
    ranges = []
    for first, last, primary, *replicas in reply:
        ranges.append(Range(first, last, primary[1], frozenset(each[1] for each in replicas)))
    return sorted(ranges, key=lambda each: each.first)


class Cluster:
    """Primaries first, then their replicas in the same order; roles change with failovers."""

    def __init__(self, primaries: int = 3, options: Mapping[str, str] | None = None):
        self._primaries = primaries
        self.nodes = [Server(options=_options(options)) for _ in range(2 * primaries)]

    def start(self) -> None:
        """Starts all nodes, introduces them, shares the slots out, and waits until all agree."""
        for node in self.nodes:
            node.start()
        primaries, replicas = self.nodes[: self._primaries], self.nodes[self._primaries :]
        bounds = [SLOTS * n // self._primaries for n in range(self._primaries + 1)]
        for epoch, node in enumerate(primaries, start=1):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            node.call("CLUSTER", "ADDSLOTSRANGE", bounds[epoch - 1], bounds[epoch] - 1)
        for node in self.nodes[1:]:
            node.call("CLUSTER", "MEET", node.host, self.nodes[0].port, _bus(self.nodes[0]))
        for node in self.nodes:
            until(lambda node=node: self._knows_everyone(node), "the nodes know each other")
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.call("CLUSTER", "REPLICATE", self.id_of(primary))
        self.settle(replicas_each=1)

    @property
    def running(self) -> list[Server]:
        """The nodes that are not killed."""
        return [node for node in self.nodes if node.is_running]

    @property
    def primaries(self) -> list[Server]:
        """The nodes that serve slots now, in the order of their slots."""
        ports = [each.primary for each in layout(self.running[0])]
        return [self._by_port(port) for port in dict.fromkeys(ports)]

    @property
    def url(self) -> str:
        """All primaries, as `cachee proxy --upstream` takes them."""
        addresses = ",".join(f"{node.host}:{node.port}" for node in self.primaries)
        return f"redis+cluster://{addresses}"

    def id_of(self, node: Server) -> str:
        """The id the node gave itself."""
        name = node.call("CLUSTER", "MYID")
        assert isinstance(name, bytes)
        return name.decode()

    def primary_of(self, key: str | int) -> Server:
        """The node that serves a key or a slot."""
        slot = key if isinstance(key, int) else slot_of(key)
        return self._by_port(self._range_of(slot).primary)

    def one_of_each(self, name: str) -> list[str]:
        """A key on every primary."""
        keys: dict[int, str] = {}
        for n in range(SLOTS):
            key = f"{name}:{n}"
            keys.setdefault(self.primary_of(key).port, key)
            if len(keys) == len(self.primaries):
                break
        return list(keys.values())

    def replica_of(self, primary: Server) -> Server:
        """The one replica of a primary."""
        ranges = [each for each in layout(self.running[0]) if each.primary == primary.port]
        (port,) = ranges[0].replicas
        return self._by_port(port)

    def call(self, *args: object) -> object:
        """One command with a key, its first argument, at the node that serves it."""
        return self.primary_of(str(args[1])).call(*args)

    def settle(self, replicas_each: int | None = None) -> None:
        """Waits until every running node sees the same slots, all of them served and in sync."""
        until(lambda: self._agrees(replicas_each), "the cluster agrees on its slots", _PATIENCE_S)
        for node in self.running:
            until(lambda node=node: _in_sync(node), "the replica is in sync", _PATIENCE_S)

    # Failures.

    def kill_primary(self, primary: Server) -> Server:
        """kill -9 of a primary; returns the replica that is going to take over, at once."""
        replica = self.replica_of(primary)
        primary.kill()
        return replica

    def await_takeover(self, replica: Server) -> None:
        """Waits until a replica serves its dead primary's slots and everybody knows."""
        until(lambda: _is_primary(replica), "the replica takes over", _PATIENCE_S)
        self.settle()

    def fail_over(self, replica: Server) -> None:
        """The orderly change of roles, asked for at the replica."""
        replica.call("CLUSTER", "FAILOVER")
        self.await_takeover(replica)

    # Moving a slot, in the steps that redirections can be seen between.

    def begin_move(self, slot: int, target: Server) -> Server:
        """Source and target know; a key that is not at the source is asked for at the target."""
        source = self.primary_of(slot)
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        return source

    def move_keys(self, slot: int, source: Server, target: Server, count: int = SLOTS) -> int:
        """Moves at most so many keys; returns how many it were."""
        moved = 0
        while moved < count:
            wanted = min(_MOVE_KEYS, count - moved)
            keys = source.call("CLUSTER", "GETKEYSINSLOT", slot, wanted)
            assert isinstance(keys, list)
            if not keys:
                break
            where = (target.host, target.port, "", 0, _MOVE_TIMEOUT_MS)
            source.call("MIGRATE", *where, "KEYS", *keys)
            moved += len(keys)
        return moved

    def end_move(self, slot: int, source: Server, target: Server) -> None:
        """The target owns the slot; waits until everybody knows."""
        owner = self.id_of(target)
        others = [node for node in self.primaries if node not in (source, target)]
        for node in (target, source, *others):
            node.call("CLUSTER", "SETSLOT", slot, "NODE", owner)
        until(
            lambda: all(self._range_of(slot, node).primary == target.port for node in self.running),
            "everybody knows the slot's new owner",
        )
        self.settle()

    def move(self, slot: int, target: Server) -> None:
        """All three steps."""
        source = self.begin_move(slot, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)

    def flush(self) -> None:
        """Empties every primary and forgets its counters."""
        for node in self.primaries:
            node.call("FLUSHALL")
            node.call("CONFIG", "RESETSTAT")

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def _by_port(self, port: int) -> Server:
        return next(node for node in self.nodes if node.port == port)

    def _range_of(self, slot: int, node: Server | None = None) -> Range:
        ranges = layout(node or self.running[0])
        return next(each for each in ranges if each.first <= slot <= each.last)

    def _knows_everyone(self, node: Server) -> bool:
        text = node.call("CLUSTER", "NODES")
        assert isinstance(text, bytes)
        lines = text.decode().splitlines()
        return len(lines) == len(self.nodes) and not any("handshake" in line for line in lines)

    def _agrees(self, replicas_each: int | None) -> bool:
        try:
            views = [layout(node) for node in self.running]
            states = [node.call("CLUSTER", "INFO") for node in self.running]
        except (ConnectionError, ServerError):
            return False
        if any(view != views[0] for view in views):
            return False
        if any(b"cluster_state:ok" not in state for state in states if isinstance(state, bytes)):
            return False
        served = sum(each.last - each.first + 1 for each in views[0])
        wanted = replicas_each is None or all(len(e.replicas) == replicas_each for e in views[0])
        return served == SLOTS and wanted


def _options(more: Mapping[str, str] | None) -> dict[str, str]:
    return {
        "cluster-enabled": "yes",
        "cluster-port": str(free_port()),
        "cluster-node-timeout": str(NODE_TIMEOUT_MS),
        "repl-diskless-sync-delay": "0",
        # A replica is not named to clients before its first byte of the stream.
        "repl-ping-replica-period": "1",
        **(more or {}),
    }


def _bus(node: Server) -> int:
    """Where the node listens for other nodes."""
    value = node.call("CONFIG", "GET", "cluster-port")
    assert isinstance(value, list)
    return int(value[1])


def _replication(node: Server) -> bytes:
    """Nothing while it cannot be asked: a change of roles closes connections."""
    try:
        text = node.call("INFO", "replication")
    except ConnectionError:
        return b""
    assert isinstance(text, bytes)
    return text


def _is_primary(node: Server) -> bool:
    return b"role:master" in _replication(node)


def _in_sync(node: Server) -> bool:
    text = _replication(node)
    return b"role:master" in text or b"master_link_status:up" in text


@contextlib.contextmanager
def cluster(primaries: int = 3, **options: str) -> Iterator[Cluster]:
    """A cluster for one block; options as keywords, `_` for `-`."""
    made = Cluster(primaries, {name.replace("_", "-"): value for name, value in options.items()})
    try:
        made.start()
        yield made
    finally:
        made.close()
