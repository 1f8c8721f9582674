"""What an entry costs in memory, and whether the counted weight is the process's real growth."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import apart, caches, clients, servers, workloads
from benchmarks.contest import Contender, Session, Setting
from benchmarks.records import Check, at_least, at_most, field, row

NAME = "memory"
TITLE = "Memory per entry"
METHOD = (
    "Entries of 16-byte keys and 100-byte values, every key and value an object of its own, in a "
    "fresh process each: growth of its resident memory over entries, keys and values included. "
    "*After a hit of each*: every entry read once more through the client, which puts the decoded "
    "object in place of the bytes. *After malloc_trim*: once the allocator has given back "
    "what is free. *Counted* is what the cache itself says it holds. For the "
    "server it is `used_memory`."
)
ENTRIES, QUICK_ENTRIES = 1_000_000, 100_000
TIMEOUT_S = 240
ROOM_BYTES = 1 << 31
FILLED, READ = "filled", "after a hit of each"
COLUMNS = (
    ("", "contender", ""),
    ("", "workload", ""),
    ("bytes per entry", "bytes_per_entry", "n"),
    ("after malloc_trim", "trimmed_per_entry", "n"),
    ("counted by itself", "counted_per_entry", "n"),
    ("counted over real", "counted_share", "n"),
    ("entries", "entries", "n"),
)


def _in_process(kind: caches.Kind) -> Callable:
    @contextlib.contextmanager
    def prepare(setting: Setting) -> Iterator[dict[str, apart.Step]]:
        entries = _entries(setting)
        cache = kind.make(entries)
        store = kind.filler()

        def fill() -> dict:
            for index in range(entries):
                store(cache, f"user:{index:011d}", workloads.value(index))
            counted = cache.stats().weight_bytes if kind.name == CACHEE else None
            held = len(cache) if hasattr(cache, "__len__") else entries
            return _grown(before, held, counted)

        before = _resident_bytes()
        yield {FILLED: fill}

    return prepare


@contextlib.contextmanager
def _drop_in(setting: Setting) -> Iterator[dict[str, apart.Step]]:
    clients.install(max_memory=f"{ROOM_BYTES >> 20}mb")
    import cachee

    client = clients.redis_py(setting, "tcp")
    clients.settled(lambda: client.exists("hash:50"))
    entries = _entries(setting)

    def load() -> dict:
        for start in range(0, entries, 500):
            client.mget([f"user:{index:011d}" for index in range(start, start + 500)])
        return _grown(before, cachee.stats().entries, cachee.stats().weight_bytes)

    def again() -> dict:
        for index in range(entries):
            client.get(f"user:{index:011d}")
        return _grown(before, cachee.stats().entries, cachee.stats().weight_bytes)

    before = _resident_bytes()
    yield {FILLED: load, READ: again}


def _grown(before: int, entries: int, counted: int | None) -> dict:
    gc.collect()
    grown = _resident_bytes() - before
    fields = {"entries": entries, "bytes_per_entry": grown / entries}
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        fields["trimmed_per_entry"] = (_resident_bytes() - before) / entries
    if counted is not None:
        fields |= {"counted_per_entry": counted / entries, "counted_share": counted / grown}
    return fields


def _entries(setting: Setting) -> int:
    return QUICK_ENTRIES if setting.quick else ENTRIES


CACHEE, CACHEBOX = "cachee.Cache", "cachebox.TTLCache"
DROP_IN = "redis-py + cachee"
SERVER = "the server itself"
TAKE_PART = (
    CACHEE,
    "dict",
    "cachebox.LRUCache",
    CACHEBOX,
    "moka_py.Moka",
    "cachetools.TTLCache + Lock",
)
CONTENDERS = [
    Contender(DROP_IN, _drop_in, ("redis", "hiredis")),
    *(
        Contender(kind.name, _in_process(kind), kind.distributions)
        for kind in caches.KINDS
        if kind.name in TAKE_PART
    ),
]


def run(session: Session) -> dict:
    """One row a contender and step; the server is one of its own, filled and then read."""
    rows = []
    with servers.running() as server:
        setting = Setting(port=server.port, path=server.path, quick=session.quick)
        rows.append(_server_row(server, _entries(setting)))
        for contender in CONTENDERS:
            rows += apart.rows(__name__, contender, setting, TIMEOUT_S)
    return {"rows": rows}


def _server_row(server: servers.Server, entries: int) -> dict:
    before = int(server.section("memory")["used_memory"])
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        for start in range(0, entries, 1_000):
            clients.send(
                link,
                [
                    servers.request("SET", f"user:{index:011d}", workloads.value(index))
                    for index in range(start, start + 1_000)
                ],
            )
        clients.send(link, [servers.request("HSET", "hash:50", "field", "value")])
    used = int(server.section("memory")["used_memory"]) - before
    return {
        "contender": SERVER,
        "workload": FILLED,
        "entries": entries,
        "bytes_per_entry": used / entries,
    }


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def checks(result: dict) -> list[Check]:
    """The counted weight within 10 % of the growth; the rest beside it."""
    rows = result["rows"]
    found = []
    for name, step in ((DROP_IN, FILLED), (DROP_IN, READ), (CACHEE, FILLED)):
        share = field(row(rows, name, step), "counted_share")
        what = f"{name}, {step}: counted weight over real growth"
        found += [at_least(what, share, 0.9), at_most(what, share, 1.1)]
    entry = {
        name: field(row(rows, name, FILLED), "bytes_per_entry")
        for name in (DROP_IN, CACHEE, CACHEBOX, "dict", SERVER)
    }
    for ours, other in ((CACHEE, CACHEBOX), (CACHEE, "dict"), (DROP_IN, SERVER)):
        what = f"{ours}: bytes per entry over {other}"
        found.append(at_most(what, _over(entry[ours], entry[other]), 1.0, "x", stated=False))
    return found


def _over(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None
