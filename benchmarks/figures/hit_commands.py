"""Hits of other commands and other ways to ask, through an unchanged synchronous client."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from benchmarks import clients, workloads
from benchmarks.contest import Contender, Course, Session, Setting
from benchmarks.loops import sync_loop
from benchmarks.records import Check, at_least, quotient, row

NAME = "hit_commands"
TITLE = "Hits of other commands and spellings"
METHOD = (
    "1 000 hot keys, or one hash of 50 fields. `hgetall` gives the caller a dict of its own, so "
    "the dict beside it is `d.copy()` of 50 fields; for the others it is `d.get(k)`. Rows of "
    "plain redis-py ask the server each time."
)
HGET, HGETALL = "r.hget(hash, k)", "r.hgetall(hash), 50 fields"
EXECUTE, EXISTS = "r.execute_command('GET', k)", "r.exists(k)"
BYTES, DECODED = "r.get(k), k bytes", "r.get(k), decode_responses"
STATEMENTS = {
    HGET: "client.hget('hash:50', k)",
    HGETALL: "client.hgetall('hash:50')",
    EXECUTE: "client.execute_command('GET', k)",
    EXISTS: "client.exists(k)",
    BYTES: "client.get(k)",
    DECODED: "decoding.get(k)",
}


def _items(workload: str) -> list[str] | list[bytes]:
    if workload in (HGET, HGETALL):
        return [f"field{index:02d}" for index in range(50)]
    names = workloads.keys(workloads.HOT_KEYS)
    return [name.encode() for name in names] if workload == BYTES else names


def _courses(client: object, decoding: object, *, remote: bool) -> dict[str, Course]:
    assert client.hget("hash:50", "field07") == b"v" * 20, "a wrong answer"
    assert len(client.hgetall("hash:50")) == 50, "a wrong answer"
    assert decoding.get(_items(DECODED)[1]) == workloads.value(1).decode(), "a wrong answer"
    courses = {}
    for workload, statement in STATEMENTS.items():
        items = _items(workload)
        plain = dict.fromkeys(items, workloads.value(1))
        base = sync_loop("d.copy()" if workload == HGETALL else "d.get(k)", d=plain)
        timed = sync_loop(statement, client=client, decoding=decoding)
        courses[workload] = Course(
            timed=timed,
            base=None if remote else base,
            batches=workloads.split(items, workloads.SHORT_CHUNK),
        )
    return courses


@contextlib.contextmanager
def _plain(transport: str, setting: Setting) -> Iterator[dict[str, Course]]:
    yield _courses(
        clients.redis_py(setting, transport),
        clients.redis_py(setting, transport, decode_responses=True),
        remote=True,
    )


@contextlib.contextmanager
def _own_cache(setting: Setting) -> Iterator[dict[str, Course]]:
    client = clients.redis_py_with_own_cache(setting, "tcp")
    decoding = clients.redis_py(setting, "tcp", decode_responses=True)
    courses = _courses(client, decoding, remote=True)
    for workload in (DECODED, EXECUTE):
        del courses[workload]
    for workload, course in courses.items():
        course.timed(_items(workload))
    yield courses


@contextlib.contextmanager
def _cachee(setting: Setting) -> Iterator[dict[str, Course]]:
    clients.install()
    client = clients.redis_py(setting, "tcp")
    clients.settled(lambda: client.get(workloads.keys(1)[0]))
    decoding = clients.redis_py(setting, "tcp", decode_responses=True)
    courses = _courses(client, decoding, remote=False)
    for workload, course in courses.items():
        course.timed(_items(workload))
    yield courses


CACHEE = "redis-py + cachee"
PLAIN_TCP, PLAIN_UNIX = "redis-py, TCP", "redis-py, Unix socket"
OWN = "redis-py + its own cache, TCP"
CONTENDERS = [
    Contender(CACHEE, _cachee, ("redis", "hiredis")),
    Contender(PLAIN_TCP, functools.partial(_plain, "tcp"), ("redis", "hiredis")),
    Contender(PLAIN_UNIX, functools.partial(_plain, "unix"), ("redis", "hiredis")),
    Contender(
        OWN,
        _own_cache,
        ("redis", "hiredis"),
        note="raises ValueError on execute_command('GET', k), as it wants to be told the keys",
    ),
]


def run(session: Session) -> dict:
    """Rows for every client and spelling."""
    return {"rows": session.contest(__name__, CONTENDERS)}


def checks(result: dict) -> list[Check]:
    """No target is stated; how much faster is what the check tells."""
    rows = result["rows"]
    return [
        at_least(
            f"{workload}: hit faster than {PLAIN_UNIX}",
            quotient(row(rows, PLAIN_UNIX, workload), row(rows, CACHEE, workload)),
            1,
            "x",
            stated=False,
        )
        for workload in STATEMENTS
    ]
