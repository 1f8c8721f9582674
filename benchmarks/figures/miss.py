"""A read that is not there yet: the price of loading it, its time to live included."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import time
from collections.abc import Callable, Iterator

from benchmarks import clients, workloads
from benchmarks.contest import Contender, Course, Session, Setting
from benchmarks.loops import Host, Timed, async_loop, sync_loop
from benchmarks.records import Check, at_most, quotient, row

NAME = "miss"
TITLE = "Miss: a key read for the first time"
METHOD = (
    "Every key is read once, so that under cachee each read is a miss that loads value and time to "
    "live through the link. Beside it the plain client's read of the value alone, and the same "
    "with its PTTL in one pipeline. *Eight threads* read disjoint keys; time per key of all. "
    "*Server CPU* is that of the server's process."
)
ONE, THREADS = "one after the other", "8 threads"
THREAD_COUNT = 8
COLUMNS = (
    ("", "contender", ""),
    ("workload", "workload", ""),
    ("median, µs", "median_ns", "µs"),
    ("least, µs", "min_ns", "µs"),
    ("server CPU per read, µs", "server_cpu_ns_per_operation", "µs"),
    ("server commands per read", "server_calls_per_operation", "n"),
)


def _batches() -> dict[str, list[list[str]]]:
    """Each workload has keys of its own."""
    names = workloads.keys(workloads.LARGE_KEYS)
    half = len(names) // 2
    return {
        ONE: workloads.split(names[:half], workloads.SHORT_CHUNK),
        THREADS: workloads.split(names[half:], 4 * workloads.SHORT_CHUNK),
    }


def _threaded(timed: Timed) -> Timed:
    """The loop in eight threads at once, each on its share of the keys."""
    pool = concurrent.futures.ThreadPoolExecutor(THREAD_COUNT)

    def together(items: list) -> int:
        shares = [items[start::THREAD_COUNT] for start in range(THREAD_COUNT)]
        start = time.perf_counter_ns()
        list(pool.map(timed, shares))
        return time.perf_counter_ns() - start

    return together


def _courses(client: object, statement: str = "client.get(k)") -> dict[str, Course]:
    names = workloads.keys(2)
    assert client.get(names[1]) == workloads.value(1), "a wrong answer"
    timed = sync_loop(statement, client=client)
    batches = _batches()
    return {
        ONE: Course(timed=timed, batches=batches[ONE]),
        THREADS: Course(timed=_threaded(timed), batches=batches[THREADS]),
    }


@contextlib.contextmanager
def _plain(make: Callable, transport: str, setting: Setting) -> Iterator[dict[str, Course]]:
    yield _courses(make(setting, transport))


@contextlib.contextmanager
def _with_pttl(transport: str, setting: Setting) -> Iterator[dict[str, Course]]:
    statement = "client.pipeline(transaction=False).get(k).pttl(k).execute()"
    yield _courses(clients.redis_py(setting, transport), statement)


@contextlib.contextmanager
def _cachee(make: Callable, transport: str, setting: Setting) -> Iterator[dict[str, Course]]:
    clients.install()
    client = make(setting, transport)
    clients.settled(lambda: client.exists("hash:50"))
    yield _courses(client)


@contextlib.contextmanager
def _async(loop: str, setting: Setting, *, cached: bool) -> Iterator[dict[str, Course]]:
    if cached:
        clients.install()
    host = Host(_loop(loop))
    client = clients.redis_py_async(setting, "tcp")
    if cached:

        async def ask() -> int:
            return await client.exists("hash:50")

        clients.settled(lambda: host.run(ask()))
    timed = async_loop("await client.get(k)", host, client=client)
    yield {ONE: Course(timed=timed, batches=_batches()[ONE])}


def _loop(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


REDIS, VALKEY = ("redis", "hiredis"), ("valkey", "libvalkey")
SYNC_PAIRS = [
    (f"{package}, {transport}", f"{package} + cachee, {transport}", make, key, made_of)
    for package, make, made_of in (
        ("redis-py", clients.redis_py, REDIS),
        ("valkey-py", clients.valkey_py, VALKEY),
    )
    for transport, key in (("TCP", "tcp"), ("Unix socket", "unix"))
]
ASYNC_PAIRS = [
    (f"redis.asyncio, TCP, {loop}", f"redis.asyncio + cachee, TCP, {loop}", loop)
    for loop in ("asyncio", "uvloop")
]
CONTENDERS = [
    contender
    for plain, cached, make, key, made_of in SYNC_PAIRS
    for contender in (
        Contender(cached, functools.partial(_cachee, make, key), made_of),
        Contender(plain, functools.partial(_plain, make, key), made_of),
    )
]
CONTENDERS += [
    Contender(
        f"redis-py, GET + PTTL in a pipeline, {transport}", functools.partial(_with_pttl, key)
    )
    for transport, key in (("TCP", "tcp"), ("Unix socket", "unix"))
]
CONTENDERS += [
    Contender(name, functools.partial(_async, loop, cached=cached), (*REDIS, "uvloop"))
    for plain_name, cached_name, loop in ASYNC_PAIRS
    for name, cached in ((cached_name, True), (plain_name, False))
]


def run(session: Session) -> dict:
    """Rows for every client with and without cachee."""
    return {"rows": session.contest(__name__, CONTENDERS)}


def checks(result: dict) -> list[Check]:
    """No miss dearer than the plain read; the server's own work beside it."""
    rows = result["rows"]
    pairs = [(plain, cached) for plain, cached, *_ in (*SYNC_PAIRS, *ASYNC_PAIRS)]
    found = []
    for workload in (ONE, THREADS):
        for plain, cached in pairs:
            below = row(rows, plain, workload)
            if below:
                ratio = quotient(row(rows, cached, workload), below)
                what = f"miss of {cached} over the plain read, {workload}"
                found.append(at_most(what, ratio, 1.0, "x"))
    cpu = "server_cpu_ns_per_operation"
    above, below = (row(rows, name, ONE) for name in ("redis-py + cachee, TCP", "redis-py, TCP"))
    found.append(
        at_most(
            "server CPU of a miss over a plain read, TCP",
            quotient(above, below, cpu),
            1.0,
            "x",
            stated=False,
        )
    )
    return found
