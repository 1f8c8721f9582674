"""A hundred keys at once: all of them local, one of them not, and a pipeline of single reads."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from benchmarks import clients, workloads
from benchmarks.contest import COLUMNS as CONTEST_COLUMNS
from benchmarks.contest import Contender, Course, Session, Setting
from benchmarks.loops import sync_loop
from benchmarks.records import Check, at_least, at_most, field, quotient, row

NAME = "mget"
TITLE = "A hundred keys at once: `r.mget(keys)`"
METHOD = (
    "Time per call of 100 keys. *99 local + 1 remote*: one key of each call was never read before, "
    "a different one each time. *Server reads* are the times the server found bytes on a socket: "
    "one a round trip, and the pings that keep the link's proof alive. The dict beside it is "
    "`[d.get(k) for k in keys]`."
)
LOCAL, PARTIAL = "mget, 100 local", "mget, 99 local + 1 remote"
PIPELINE = "pipeline of 100 get, local"
KEYS = 100
COLUMNS = (*CONTEST_COLUMNS, ("server reads per operation", "server_reads_per_operation", "n"))


def _courses(client: object) -> dict[str, Course]:
    names = workloads.keys(workloads.LARGE_KEYS)
    hot, cold = names[:KEYS], names[KEYS:]
    expected = [workloads.value(index) for index in range(KEYS)]
    for _ in range(2):
        assert client.mget(hot) == expected, "a wrong answer"
    base = sync_loop("[d.get(j) for j in k]", d=dict(zip(hot, expected, strict=True)))

    def pipelined(keys: list[str]) -> list:
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        return pipeline.execute()

    assert pipelined(hot) == expected, "a wrong answer"
    partial = [[*hot[1:], key] for key in cold]
    return {
        LOCAL: Course(
            timed=sync_loop("client.mget(k)", client=client), base=base, batches=[[hot] * 20]
        ),
        PARTIAL: Course(
            timed=sync_loop("client.mget(k)", client=client),
            base=base,
            batches=workloads.split(partial, 20),
        ),
        PIPELINE: Course(
            timed=sync_loop("pipelined(k)", pipelined=pipelined), base=base, batches=[[hot] * 10]
        ),
    }


@contextlib.contextmanager
def _plain(transport: str, setting: Setting) -> Iterator[dict[str, Course]]:
    yield _courses(clients.redis_py(setting, transport))


@contextlib.contextmanager
def _cachee(transport: str, setting: Setting) -> Iterator[dict[str, Course]]:
    clients.install()
    client = clients.redis_py(setting, transport)
    clients.settled(lambda: client.get(workloads.keys(1)[0]))
    yield _courses(client)


CACHEE_TCP, CACHEE_UNIX = "redis-py + cachee, TCP", "redis-py + cachee, Unix socket"
PLAIN_TCP, PLAIN_UNIX = "redis-py, TCP", "redis-py, Unix socket"
CONTENDERS = [
    Contender(name, functools.partial(kind, transport), ("redis", "hiredis"))
    for name, kind, transport in (
        (CACHEE_TCP, _cachee, "tcp"),
        (CACHEE_UNIX, _cachee, "unix"),
        (PLAIN_TCP, _plain, "tcp"),
        (PLAIN_UNIX, _plain, "unix"),
    )
]


def run(session: Session) -> dict:
    """Rows for both transports, with and without cachee."""
    return {"rows": session.contest(__name__, CONTENDERS)}


def checks(result: dict) -> list[Check]:
    """100 local keys within 10 µs; a partial hit in one round trip."""
    rows = result["rows"]
    local = row(rows, CACHEE_TCP, LOCAL)
    partial = row(rows, CACHEE_TCP, PARTIAL)
    return [
        at_most("`mget` of 100 local keys", field(local, "median_ns", 1e-3), 10, " µs"),
        at_least(
            f"`mget` of 100 local keys faster than {PLAIN_TCP}",
            quotient(row(rows, PLAIN_TCP, LOCAL), local),
            1,
            "x",
            stated=False,
        ),
        # A ping or two a second come on top of the one read a call.
        at_most(
            "`mget` of 99 local + 1 remote: round trips",
            field(partial, "server_reads_per_operation"),
            1.05,
        ),
        at_most(
            f"`mget` of 99 local + 1 remote over {PLAIN_TCP}",
            quotient(partial, row(rows, PLAIN_TCP, PARTIAL)),
            1.0,
            "x",
        ),
        at_most(
            f"`mget` of 99 local + 1 remote over {PLAIN_UNIX}",
            quotient(row(rows, CACHEE_UNIX, PARTIAL), row(rows, PLAIN_UNIX, PARTIAL)),
            1.0,
            "x",
        ),
        at_least(
            f"pipeline of 100 local `get` faster than {PLAIN_TCP}",
            quotient(row(rows, PLAIN_TCP, PIPELINE), row(rows, CACHEE_TCP, PIPELINE)),
            1,
            "x",
            stated=False,
        ),
    ]
