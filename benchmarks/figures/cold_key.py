"""Eight threads, or a hundred tasks, ask for one cold key: how often is the store asked?"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator

from benchmarks import apart, clients, servers, workloads
from benchmarks.contest import Contender, Session, Setting
from benchmarks.records import Check, at_most, field, row

NAME = "cold_key"
TITLE = "Many ask for one cold key"
METHOD = (
    "A barrier lets all askers go at once, for one key after the other that was never read. For "
    "clients the server's own count of GETs is divided by the keys; for caches the calls of a "
    "loader that takes 1 ms. A contender that does not end within its time is shown as failed."
)
THREADS, TASKS = 8, 100
LOADER_S = 0.001
TIMEOUT_S, QUICK_TIMEOUT_S = 20, 8
COLUMNS = (
    ("", "contender", ""),
    ("workload", "workload", ""),
    ("reads upstream per key", "upstream_per_key", "n"),
    ("keys", "keys", "n"),
)
BY_THREADS, BY_TASKS = "8 threads", "100 tasks"


def _threads(read: Callable[[str], object], names: list[str]) -> apart.Step:
    """All threads read all names, one name at a time; the server counts the reads."""

    def ask() -> dict:
        barrier = threading.Barrier(THREADS)
        failures: list[BaseException] = []

        def reader() -> None:
            try:
                for name in names:
                    barrier.wait()
                    read(name)
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)
                barrier.abort()

        readers = [threading.Thread(target=reader, daemon=True) for _ in range(THREADS)]
        for thread in readers:
            thread.start()
        for thread in readers:
            thread.join()
        if failures:
            raise failures[0]
        return {"keys": len(names), "counted": None}

    return ask


@contextlib.contextmanager
def _client(make: Callable[[Setting], object], setting: Setting) -> Iterator[dict[str, apart.Step]]:
    yield {BY_THREADS: _threads(make(setting).get, _names(setting))}


@contextlib.contextmanager
def _cachee(setting: Setting) -> Iterator[dict[str, apart.Step]]:
    clients.install()
    client = clients.redis_py(setting, "tcp")
    clients.settled(lambda: client.exists("hash:50"))
    yield {BY_THREADS: _threads(client.get, _names(setting))}


@contextlib.contextmanager
def _tasks(setting: Setting, *, cached: bool) -> Iterator[dict[str, apart.Step]]:
    if cached:
        clients.install()

    names = _names(setting)

    async def all_tasks() -> None:
        client = clients.redis_py_async(setting, "tcp")
        for name in ["hash:50"] * 10 if cached else []:
            await client.exists(name)
            await asyncio.sleep(0.05)
        for name in names:
            await asyncio.gather(*[client.get(name) for _ in range(TASKS)])
        await client.aclose()

    def ask() -> dict:
        asyncio.run(all_tasks())
        return {"keys": len(names), "counted": None}

    yield {BY_TASKS: ask}


def _loads(read_through: Callable[[Callable], Callable[[str], object]]) -> Callable:
    """A contender whose loader counts itself."""

    @contextlib.contextmanager
    def prepare(setting: Setting) -> Iterator[dict[str, apart.Step]]:
        loaded: list[str] = []
        pause = threading.Event()

        def loader(name: str) -> bytes:
            loaded.append(name)
            pause.wait(LOADER_S)
            return b"value"

        ask = _threads(read_through(loader), _names(setting))

        def counted() -> dict:
            return {**ask(), "counted": len(loaded)}

        yield {BY_THREADS: counted}

    return prepare


def _cache(loader: Callable) -> Callable:
    import cachee

    cache = cachee.Cache(max_memory="64mb")
    return lambda name: cache.get_or_load(name, lambda: loader(name))


def _cachebox(loader: Callable) -> Callable:
    import cachebox

    return cachebox.cached(cachebox.TTLCache(10_000, 3_600))(loader)


def _cachetools(loader: Callable) -> Callable:
    import cachetools

    return cachetools.cached(cachetools.TTLCache(10_000, 3_600), lock=threading.Lock())(loader)


def _tcp(make: Callable) -> Callable[[Setting], object]:
    return lambda setting: make(setting, "tcp")


CACHEE, CACHEE_ASYNC, CACHE = "redis-py + cachee", "redis.asyncio + cachee", "Cache.get_or_load"
CONTENDERS = [
    Contender(CACHEE, _cachee, ("redis",)),
    Contender("redis-py", functools.partial(_client, _tcp(clients.redis_py)), ("redis",)),
    Contender(
        "redis-py + its own cache",
        functools.partial(_client, _tcp(clients.redis_py_with_own_cache)),
        ("redis",),
    ),
    Contender(CACHEE_ASYNC, functools.partial(_tasks, cached=True), ("redis",)),
    Contender("redis.asyncio", functools.partial(_tasks, cached=False), ("redis",)),
    Contender(CACHE, _loads(_cache)),
    Contender(
        "functools.lru_cache", _loads(lambda loader: functools.lru_cache(maxsize=10_000)(loader))
    ),
    Contender("cachebox.cached", _loads(_cachebox), ("cachebox",)),
    Contender("cachetools.cached with a lock", _loads(_cachetools), ("cachetools",)),
]


def run(session: Session) -> dict:
    """One row a contender: the store asked so many times a key."""
    return {"rows": [_row(session, contender) for contender in CONTENDERS]}


def _row(session: Session, contender: Contender) -> dict:
    before = _gets(session.server)
    timeout_s = QUICK_TIMEOUT_S if session.quick else TIMEOUT_S
    (found,) = apart.rows(__name__, contender, session.setting, timeout_s)
    if "failed" not in found:
        counted = found.pop("counted")
        upstream = _gets(session.server) - before if counted is None else counted
        found["upstream_per_key"] = upstream / found["keys"]
    return found


def _names(setting: Setting) -> list[str]:
    return workloads.keys(1_000 + (20 if setting.quick else 200))[1_000:]


def _gets(server: servers.Server) -> int:
    counted = server.section("commandstats").get("cmdstat_get", "calls=0,")
    return int(counted.split(",")[0].removeprefix("calls="))


def checks(result: dict) -> list[Check]:
    """Exactly one read upstream."""
    return [
        at_most(
            f"{name}: reads upstream of one cold key, {workload}",
            field(row(result["rows"], name), "upstream_per_key"),
            1,
        )
        for name, workload in ((CACHEE, BY_THREADS), (CACHEE_ASYNC, BY_TASKS), (CACHE, BY_THREADS))
    ]
