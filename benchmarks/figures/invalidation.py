"""How long an entry outlives the bytes that say it changed, and whether that grows with size."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import socket
import statistics
import time
from collections.abc import Callable, Iterator

from benchmarks import apart, clients, relay, servers, workloads
from benchmarks.contest import Contender, Session, Setting
from benchmarks.records import Check, at_most, field, quotient, row

NAME = "invalidation"
TITLE = "Invalidation of one key"
METHOD = (
    "A relay between the link and the server sends the link one invalidation push, as the server "
    "would; the clock runs from before that send until `Binding.peek` in a spinning loop no longer "
    "finds the entry: kernel, wake-up of the link's thread, parsing and dropping included, the "
    "server's own delay not. *A blocked reader* is the floor of that path: a process that waits in "
    "`recv` on the same kind of socket and notes the clock when it returns. *Burst*: a thousand "
    "pushes in one send, time until the last entry is gone, per key. *Call*: `Engine.invalidate` "
    "from Python. For redis-py's own cache: its handler of one invalidation, called directly."
)
KEYS_TIMED = 300
BURST = 1_000
BURSTS = 20
PEER_KEYS_TIMED = 10
TIMEOUT_S = 180
COLUMNS = (
    ("", "contender", ""),
    ("entries", "workload", ""),
    ("median, µs", "median_ns", "µs"),
    ("least, µs", "min_ns", "µs"),
    ("99th of 100, µs", "p99_ns", "µs"),
)


def _summary(nanoseconds: list[float]) -> dict:
    ordered = sorted(nanoseconds)
    return {
        "median_ns": statistics.median(ordered),
        "min_ns": ordered[0],
        "p99_ns": ordered[int(len(ordered) * 0.99)],
        "samples": len(ordered),
    }


def _push(names: list[str]) -> bytes:
    """One push a key, as default tracking sends them."""
    return b"".join(
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%b\r\n" % (len(name), name.encode())
        for name in names
    )


@contextlib.contextmanager
def _link(way: str, setting: Setting) -> Iterator[dict[str, apart.Step]]:
    from cachee import _core

    with relay.relaying(setting.port) as between:
        engine = _core.Engine(max_memory=1 << 31, max_age_ms=3_600_000, max_staleness_ms=10_000)
        link = engine.link(
            host="127.0.0.1",
            port=between.port,
            path=None,
            db=0,
            username=None,
            password=None,
            credentials=None,
            tls=None,
            client_name="benchmark",
        )
        link.wait_settled(5.0)
        binding = _core.Binding(
            engine, link, decode=False, encoding="utf-8", errors="strict", resp2=False
        )
        ways = {SINGLE: _single, BURSTS_OF: _burst, CALL: _call}
        measure = functools.partial(ways[way], engine, binding, between, _core.MISS)
        yield {
            f"{size:,}": functools.partial(_at, size, binding, measure) for size in _sizes(setting)
        }
        engine.close()


def _at(size: int, binding: object, measure: Callable[[list[str]], list[float]]) -> dict:
    """Load so many entries, then measure on a random draw of them."""
    names = workloads.keys(size)
    _load(binding, names)
    return _summary(measure(random.Random(workloads.SEED).sample(names, min(size, BURST))))


def _load(binding: object, names: list[str]) -> None:
    for batch in workloads.split(names, 500):
        binding.read_many([("GET", name) for name in batch])


def _single(
    _engine: object, binding: object, between: relay.Relay, miss: object, names: list[str]
) -> list[float]:
    clock, peek = time.perf_counter_ns, binding.peek
    taken = []
    for name in names[:KEYS_TIMED]:
        command, pushed = ("GET", name), _push([name])
        binding.read(command)
        assert peek(command) is not miss, "not in the L1 before the push"
        time.sleep(0.001)
        start = clock()
        between.inject(pushed)
        while peek(command) is not miss:
            pass
        taken.append(clock() - start)
    return taken


def _burst(
    _engine: object, binding: object, between: relay.Relay, miss: object, names: list[str]
) -> list[float]:
    clock, peek, pushed = time.perf_counter_ns, binding.peek, _push(names)
    last = ("GET", names[-1])
    taken = []
    for _ in range(BURSTS):
        _load(binding, names)
        assert peek(last) is not miss, "not in the L1 before the push"
        time.sleep(0.001)
        start = clock()
        between.inject(pushed)
        while peek(last) is not miss:
            pass
        taken.append((clock() - start) / len(names))
    return taken


def _call(
    engine: object, binding: object, _between: relay.Relay, miss: object, names: list[str]
) -> list[float]:
    _load(binding, names)
    clock, taken = time.perf_counter_ns, []
    for name in names:
        assert binding.peek(("GET", name)) is not miss, "not in the L1 before the call"
        start = clock()
        engine.invalidate(name)
        taken.append(clock() - start)
    return taken


@contextlib.contextmanager
def _blocked_reader(setting: Setting) -> Iterator[dict[str, apart.Step]]:  # noqa: ARG001 - same shape as every contender
    def floor() -> dict:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            woken = _start_reader(listener.getsockname()[1])
            connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pushed, taken = _push(workloads.keys(1)), []
        for _ in range(KEYS_TIMED):
            time.sleep(0.001)
            start = time.perf_counter_ns()
            connection.sendall(pushed)
            until = time.perf_counter_ns() + 200_000
            while time.perf_counter_ns() < until:
                pass  # busy, as the loop of the timed contenders is
            taken.append(int.from_bytes(os.read(woken, 8), "little") - start)
        connection.close()
        return _summary(taken)

    yield {"-": floor}


def _start_reader(port: int) -> int:
    """A child that connects and writes the clock to the returned pipe whenever bytes arrive."""
    woken, inside = os.pipe()
    if os.fork() == 0:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            while connection.recv(4_096):
                os.write(inside, time.perf_counter_ns().to_bytes(8, "little"))
        os._exit(0)
    return woken


@contextlib.contextmanager
def _own_cache(setting: Setting) -> Iterator[dict[str, apart.Step]]:
    client = clients.redis_py_with_own_cache(setting, "tcp")

    def at(size: int) -> dict:
        names = workloads.keys(size)
        for name in names:
            client.get(name)
        cache, taken = client.get_cache(), []
        assert cache.size == size, "not everything is in the cache"
        for name in random.Random(workloads.SEED).sample(names, PEER_KEYS_TIMED):
            start = time.perf_counter_ns()
            cache.delete_by_redis_keys([name.encode()])
            taken.append(time.perf_counter_ns() - start)
            client.get(name)
        return _summary(taken)

    sizes = (1_000, 10_000) if setting.quick else (1_000, 100_000)
    yield {f"{size:,}": functools.partial(at, size) for size in sizes}


def _sizes(setting: Setting) -> list[int]:
    return [1_000, 100_000] if setting.quick else [1_000, 100_000, 1_000_000]


SINGLE, BURSTS_OF, CALL = "cachee, one push", "cachee, burst", "cachee, call"
FLOOR, OWN = "a blocked reader", "redis-py's own cache, its handler"
CONTENDERS = [
    *(Contender(way, functools.partial(_link, way)) for way in (SINGLE, BURSTS_OF, CALL)),
    Contender(FLOOR, _blocked_reader),
    Contender(OWN, _own_cache, ("redis",)),
]


def run(session: Session) -> dict:
    """Rows for every way and size, on a server of their own that holds as many keys."""
    with servers.running() as server:
        setting = Setting(port=server.port, path=server.path, quick=session.quick)
        clients.fill(server, max(_sizes(setting)))
        rows = []
        for contender in CONTENDERS:
            rows += apart.rows(__name__, contender, setting, TIMEOUT_S)
    return {"rows": rows}


def checks(result: dict) -> list[Check]:
    """At most 20 µs at the largest size, and the same as at the smallest."""
    rows = result["rows"]
    largest = [r["workload"] for r in rows if r["contender"] == SINGLE and "failed" not in r]
    size = largest[-1] if largest else ""
    one, floor = row(rows, SINGLE, size), field(row(rows, FLOOR), "median_ns", 1e-3)
    total = field(one, "median_ns", 1e-3)
    above = None if total is None or floor is None else total - floor
    found = [
        at_most(f"push sent until the entry is gone, {size} entries", total, 20, " µs"),
        at_most("the same, less the wake-up of a blocked reader", above, 20, " µs"),
        at_most(
            f"per key in a burst of {BURST}, {size} entries",
            field(row(rows, BURSTS_OF, size), "median_ns", 1e-3),
            20,
            " µs",
        ),
        at_most(
            f"`Engine.invalidate` called from Python, {size} entries",
            field(row(rows, CALL, size), "median_ns", 1e-3),
            20,
            " µs",
        ),
    ]
    grown = quotient(one, row(rows, SINGLE, "1,000"))
    what = f"push sent until the entry is gone, {size} entries over 1,000"
    return [*found, at_most(what, grown, 1.5, "x")]
