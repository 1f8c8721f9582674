"""A read that is answered in process, through an unchanged asynchronous client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator

from benchmarks import clients, workloads
from benchmarks.contest import Contender, Course, Session, Setting
from benchmarks.loops import Host, async_loop, sync_loop
from benchmarks.records import Check, at_least, at_most, field, quotient, row

NAME = "hit_async"
TITLE = "Hit through an unchanged asyncio client: `await r.get(k)`"
METHOD = (
    "Statement timed: `await r.get(k)`, one after the other in one task, against `d.get(k)` of "
    "the same keys in the same worker. Each on the loop of the standard library and on uvloop."
)


def _loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    def uvloop_loop() -> asyncio.AbstractEventLoop:
        import uvloop

        return uvloop.new_event_loop()

    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop_loop}


def _courses(client: object, host: Host, *wanted: str, remote: bool) -> dict[str, Course]:
    names = workloads.keys(workloads.held(wanted[0]))
    for index in (0, 1, len(names) - 1):
        assert host.run(client.get(names[index])) == workloads.value(index), "a wrong answer"
    plain = {name: workloads.value(index) for index, name in enumerate(names)}
    timed = async_loop("await client.get(k)", host, client=client)
    base = None if remote else sync_loop("d.get(k)", d=plain)
    timed(names)
    return {
        workload: Course(
            timed=timed,
            base=base,
            batches=workloads.chunks(workload, names, short=remote),
            before=workloads.fresh if workload == workloads.FRESH else None,
        )
        for workload in wanted
    }


@contextlib.contextmanager
def _plain(loop: str, transport: str, setting: Setting) -> Iterator[dict[str, Course]]:
    host = Host(_loops()[loop])
    client = clients.redis_py_async(setting, transport)
    yield _courses(client, host, workloads.HOT, remote=True)


@contextlib.contextmanager
def _cachee(
    loop: str, make: Callable, wanted: tuple[str, ...], setting: Setting
) -> Iterator[dict[str, Course]]:
    clients.install()
    host = Host(_loops()[loop])
    client = make(setting, "tcp")
    names = workloads.keys(workloads.held(wanted[0]))

    async def load() -> None:
        for batch in workloads.split(names, 500):
            await client.mget(batch)

    async def get(name: str) -> bytes:
        return await client.get(name)

    clients.settled(lambda: host.run(get(names[0])))
    host.run(load())
    yield _courses(client, host, *wanted, remote=False)


@contextlib.contextmanager
def _coredis(loop: str, setting: Setting, *, cached: bool) -> Iterator[dict[str, Course]]:
    import coredis

    host = Host(_loops()[loop])
    more = {}
    if cached:
        from coredis.patterns.cache import LRUCache

        more = {"cache": LRUCache()}
    client = coredis.Redis(host="127.0.0.1", port=setting.port, **more)
    host.run(client.__aenter__())
    yield _courses(client, host, workloads.HOT, remote=True)


def _named(client: str, loop: str) -> str:
    return f"{client}, {loop}"


CACHEE = "redis.asyncio + cachee"
CACHEE_VALKEY = "valkey.asyncio + cachee"
PLAIN_TCP = "redis.asyncio, TCP"
PLAIN_UNIX = "redis.asyncio, Unix socket"
SMALL, LARGE = (workloads.HOT, workloads.FRESH), (workloads.ZIPF, workloads.UNIFORM)
KINDS = {
    CACHEE: (_cachee, (clients.redis_py_async, SMALL), {}, ("redis", "hiredis")),
    f"{CACHEE}, 100k entries": (_cachee, (clients.redis_py_async, LARGE), {}, ("redis",)),
    CACHEE_VALKEY: (_cachee, (clients.valkey_py_async, SMALL), {}, ("valkey",)),
    PLAIN_TCP: (_plain, ("tcp",), {}, ("redis", "hiredis")),
    PLAIN_UNIX: (_plain, ("unix",), {}, ("redis", "hiredis")),
    "coredis, TCP": (_coredis, (), {"cached": False}, ("coredis",)),
    "coredis + its own cache": (_coredis, (), {"cached": True}, ("coredis",)),
}
CONTENDERS = [
    Contender(
        _named(name, loop), functools.partial(kind, loop, *arguments, **more), (*made_of, "uvloop")
    )
    for name, (kind, arguments, more, made_of) in KINDS.items()
    for loop in _loops()
]


def run(session: Session) -> dict:
    """Rows for every client on both loops."""
    return {"rows": session.contest(__name__, CONTENDERS)}


def checks(result: dict) -> list[Check]:
    """At most 4 dicts when hot, at least 300 times faster than the wire."""
    rows = result["rows"]
    found = []
    for loop in _loops():
        hot = row(rows, _named(CACHEE, loop), workloads.HOT)
        name = _named(CACHEE, loop)
        found += [
            at_most(
                f"{name}: hot hit over `dict.get`",
                field(hot, "ratio_to_dict"),
                4,
                "x",
            ),
            at_most(f"{name}: hot hit", field(hot, "median_ns", 1e-3), 0.12, " µs"),
        ]
        for other in (PLAIN_TCP, PLAIN_UNIX):
            times = quotient(row(rows, _named(other, loop)), hot)
            found.append(at_least(f"{name}: hot hit faster than {other}", times, 300, "x"))
        ratio = field(row(rows, _named(CACHEE_VALKEY, loop), workloads.HOT), "ratio_to_dict")
        found.append(at_most(f"{_named(CACHEE_VALKEY, loop)}: hot hit over dict", ratio, 4, "x"))
    return found
