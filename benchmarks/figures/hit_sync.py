"""A read that is answered in process, through an unchanged synchronous client."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from benchmarks import clients, workloads
from benchmarks.contest import Contender, Course, Session, Setting
from benchmarks.loops import sync_loop
from benchmarks.records import Check, at_least, at_most, field, quotient, row

NAME = "hit_sync"
TITLE = "Hit through an unchanged client: `r.get(k)`"
METHOD = (
    "Statement timed: `r.get(k)` with the attribute looked up at each call, against `d.get(k)` of "
    "the same keys in a dict in the same worker a moment earlier. 100-byte values, keys with a "
    "time to live on the server. *New key objects*: equal keys whose hash is not computed yet, "
    "as an f-string gives. redis-py's own cache runs with its server check lowered."
)
STATEMENT = "client.get(k)"


def _courses(client: object, wanted: tuple[str, ...], *, remote: bool = False) -> dict[str, Course]:
    large = bool({workloads.ZIPF, workloads.UNIFORM} & set(wanted))
    names = workloads.keys(workloads.LARGE_KEYS if large else workloads.HOT_KEYS)
    for index in (0, 1, len(names) - 1):
        assert client.get(names[index]) == workloads.value(index), "a wrong answer"
    plain = {name: workloads.value(index) for index, name in enumerate(names)}
    timed = sync_loop(STATEMENT, client=client)
    # A dict asked between round trips is a cold one: no measure for a hot dict.
    base = None if remote else sync_loop("d.get(k)", d=plain)
    for name in names:
        client.get(name)
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
def _remote(make: Callable[[Setting], object], setting: Setting) -> Iterator[dict[str, Course]]:
    client = make(setting)
    yield _courses(client, (workloads.HOT,), remote=True)


@contextlib.contextmanager
def _cachee(
    make: Callable[[Setting], object], setting: Setting, wanted: tuple[str, ...]
) -> Iterator[dict[str, Course]]:
    clients.install()
    client = make(setting)
    names = workloads.keys(workloads.held(wanted[0]))
    clients.settled(lambda: client.get(names[0]))
    clients.load(client, names)
    yield _courses(client, wanted)


@contextlib.contextmanager
def _glide(setting: Setting, *, cached: bool) -> Iterator[dict[str, Course]]:
    with clients.glide_sync(setting, cached=cached) as client:
        yield _courses(client, (workloads.HOT,), remote=True)


def _over(make: Callable, *arguments: object, **more: object) -> Callable[[Setting], object]:
    return lambda setting: make(setting, *arguments, **more)


def _contender(
    name: str, kind: Callable, make: Callable, *made_of: str, note: str = "", **more: object
) -> Contender:
    return Contender(name, functools.partial(kind, make, **more), made_of, note)


CACHEE = "redis-py + cachee"
CACHEE_VALKEY = "valkey-py + cachee"
LARGE = ", 100k entries"
PLAIN_TCP = "redis-py, TCP"
PLAIN_UNIX = "redis-py, Unix socket"
OWN_TCP = "redis-py + its own cache, TCP"
OWN_UNIX = "redis-py + its own cache, Unix socket"
CLIENTS = {CACHEE: _over(clients.redis_py, "tcp"), CACHEE_VALKEY: _over(clients.valkey_py, "unix")}
CONTENDERS = [
    _contender(f"{name}{size}", _cachee, make, "redis", "hiredis", wanted=wanted)
    for name, make in CLIENTS.items()
    for size, wanted in (
        ("", (workloads.HOT, workloads.FRESH)),
        (LARGE, (workloads.ZIPF, workloads.UNIFORM)),
    )
] + [
    _contender(PLAIN_TCP, _remote, _over(clients.redis_py, "tcp"), "redis", "hiredis"),
    _contender(PLAIN_UNIX, _remote, _over(clients.redis_py, "unix"), "redis", "hiredis"),
    _contender(OWN_TCP, _remote, _over(clients.redis_py_with_own_cache, "tcp"), "redis"),
    _contender(
        OWN_UNIX,
        _remote,
        _over(clients.redis_py_with_own_cache, "unix"),
        "redis",
        note="over a Unix socket redis-py drops `cache_config` without a word; every read goes out",
    ),
    _contender("valkey-py, TCP", _remote, _over(clients.valkey_py, "tcp"), "valkey", "libvalkey"),
    _contender("valkey-py, Unix socket", _remote, _over(clients.valkey_py, "unix"), "valkey"),
    _contender("valkey-py + its own cache", _remote, clients.valkey_py_with_own_cache, "valkey"),
    Contender(
        "valkey-glide-sync, TCP", functools.partial(_glide, cached=False), ("valkey-glide-sync",)
    ),
    Contender(
        "valkey-glide-sync + its own cache",
        functools.partial(_glide, cached=True),
        ("valkey-glide-sync",),
    ),
]


def run(session: Session) -> dict:
    """Rows for every client over every workload it can hold."""
    return {"rows": session.contest(__name__, CONTENDERS)}


def checks(result: dict) -> list[Check]:
    """At most 2.5 dicts when hot, at least 300 times faster than the wire and redis-py's cache."""
    rows = result["rows"]
    found = []
    for name in (CACHEE, CACHEE_VALKEY):
        hot = row(rows, name, workloads.HOT)
        found += [
            at_most(f"{name}: hot hit over `dict.get`", field(hot, "ratio_to_dict"), 2.5, "x"),
            at_most(f"{name}: hot hit", field(hot, "median_ns", 1e-3), 0.08, " µs"),
        ]
    hot = row(rows, CACHEE, workloads.HOT)
    for other in (PLAIN_TCP, PLAIN_UNIX, OWN_TCP):
        times = quotient(row(rows, other), hot)
        found.append(at_least(f"{CACHEE}: hot hit faster than {other}", times, 300, "x"))
    found.append(
        at_most(
            f"{CACHEE}: upstream commands per hit",
            field(hot, "server_calls_per_operation"),
            0.001,
        )
    )
    return found
