"""Where a cache in front can only lose: writes, and keys that change between any two reads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks import clients, workloads
from benchmarks.contest import Contender, Course, Session, Setting
from benchmarks.loops import sync_loop
from benchmarks.records import Check, at_most, quotient, row

NAME = "writes"
TITLE = "The cases we lose: writes and what cannot be kept"
METHOD = (
    "Under cachee a write is noted before and after it goes out on the client's own connection, "
    "and a key written between any two reads is a miss each time, until it is bypassed as "
    "write-hot. `r.ttl(k)` is never kept. Over TCP."
)
STATEMENTS = {
    "r.set(k, v), k not in L1": "client.set(k, value)",
    "r.set(k, v); r.get(k)": "client.set(k, value); client.get(k)",
    "r.incr(k)": "client.incr('counter')",
    "r.ttl(k)": "client.ttl(k)",
    "pipeline of 10 r.set": "pipelined(k)",
}
COLUMNS = (
    ("", "contender", ""),
    ("workload", "workload", ""),
    ("median, µs", "median_ns", "µs"),
    ("least, µs", "min_ns", "µs"),
    ("server CPU per operation, µs", "server_cpu_ns_per_operation", "µs"),
    ("server commands per operation", "server_calls_per_operation", "n"),
)


def _courses(client: object) -> dict[str, Course]:
    names = [f"written:{index:08d}" for index in range(10_000)]
    value = workloads.value(1)

    def pipelined(key: str) -> None:
        pipeline = client.pipeline(transaction=False)
        for index in range(10):
            pipeline.set(f"{key}:{index}", value)
        pipeline.execute()

    client.set(names[0], b"before")
    assert client.get(names[0]) == b"before", "a wrong answer"
    client.set(names[0], value)
    assert client.get(names[0]) == value, "a wrong answer"
    return {
        workload: Course(
            timed=sync_loop(statement, client=client, value=value, pipelined=pipelined),
            batches=workloads.split(names, workloads.SHORT_CHUNK),
        )
        for workload, statement in STATEMENTS.items()
    }


@contextlib.contextmanager
def _plain(setting: Setting) -> Iterator[dict[str, Course]]:
    yield _courses(clients.redis_py(setting, "tcp"))


@contextlib.contextmanager
def _own_cache(setting: Setting) -> Iterator[dict[str, Course]]:
    yield _courses(clients.redis_py_with_own_cache(setting, "tcp"))


@contextlib.contextmanager
def _cachee(setting: Setting) -> Iterator[dict[str, Course]]:
    clients.install()
    client = clients.redis_py(setting, "tcp")
    clients.settled(lambda: client.exists("hash:50"))
    yield _courses(client)


CACHEE, PLAIN = "redis-py + cachee", "redis-py"
MADE_OF = ("redis", "hiredis")
CONTENDERS = [
    Contender(CACHEE, _cachee, MADE_OF),
    Contender(PLAIN, _plain, MADE_OF),
    Contender("redis-py + its own cache", _own_cache, MADE_OF),
]


def run(session: Session) -> dict:
    """Rows for every client and statement."""
    return {"rows": session.contest(__name__, CONTENDERS)}


def checks(result: dict) -> list[Check]:
    """What it would take not to lose."""
    rows = result["rows"]
    return [
        at_most(
            f"{workload}, over plain redis-py",
            quotient(row(rows, CACHEE, workload), row(rows, PLAIN, workload)),
            1.0,
            "x",
            stated=False,
        )
        for workload in STATEMENTS
    ]
