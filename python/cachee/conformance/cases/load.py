"""What a cache costs: the server's tables, its own memory, one invalidation among many entries."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median

from cachee.conformance.case import case
from cachee.conformance.clients.client import Client
from cachee.conformance.stage import NEW, NEWER, OLD, Call, Stage
from cachee.conformance.verdict import FailedError, NotApplicableError

KEYS = 100
THREADS = 16
TRACKERS_MAX = 4
LIMIT_BYTES = 16 << 20
VALUE_BYTES = 10_000
GROWTH_MAX_BYTES = 2 * LIMIT_BYTES + (30 << 20)
FEW, MANY = 1_000, 16_000
SLOWER_MAX = 5.0
NOT_SLOW_S = 0.002


@case("load.table-overflow", deadline_s=60)
def table_overflow(stage: Stage) -> str:
    """A server that cannot remember who read what costs hits, never truth.

    Rule: a full tracking table invalidates at once; every such word is acted on.
    Source: https://github.com/redis/redis/issues/7249
    Forced: a proven hit, `tracking-table-max-keys` 1, reads of a hundred keys, a foreign SET of
        each.
    Checked: every key is new within a second.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.server.call("CONFIG", "SET", "tracking-table-max-keys", "1")
    for at in range(KEYS):
        stage.put(client, f"k{at}", OLD)
    for _ in range(3):
        for at in range(KEYS):
            client.get(f"k{at}")
    for at in range(KEYS):
        stage.put(client, f"k{at}", NEW)
    stage.pause(1.0, "a second for invalidations")
    stale = [at for at in range(KEYS) if client.get(f"k{at}") != NEW]
    if stale:
        raise FailedError(f"{len(stale)} of {KEYS} keys keep their old value after a second")
    return f"{KEYS} keys, all new"


@case("load.tracking-connections", deadline_s=60)
def tracking_connections(stage: Stage) -> str:
    """Many threads do not make many tracking connections.

    Rule: the server remembers every reader of every key and forgets the dead ones late: few and
        long-lived connections, never one for each of a pool.
    Source: https://github.com/redis/redis/issues/13867
    Forced: a proven hit, then sixteen threads whose reads are held until all have asked.
    Checked: at most four connections of the client have tracking on.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    for at in range(THREADS):
        stage.put(client, f"k{at}", OLD)
    barrier = threading.Barrier(THREADS)

    def read(at: int) -> None:
        barrier.wait(5.0)
        client.get(f"k{at}")

    stage.relay.trap(lambda frame: OLD in frame)
    readers = [Call(partial(read, at), "one of sixteen reads") for at in range(THREADS)]
    stage.pause(0.5, "sixteen threads ask")
    number = stage.server.trackers()
    stage.relay.flow()
    for reader in readers:
        reader.wait()
    if number > TRACKERS_MAX:
        raise FailedError(f"{THREADS} threads made {number} connections with tracking on")
    return f"{THREADS} threads, {number} with tracking on"


@case("load.memory", deadline_s=90)
def memory(stage: Stage) -> str:
    """The limit of bytes that a client is given is kept.

    Rule: a cache is bounded in bytes, what it adds to a value included.
    Source: https://github.com/ZiggyCreatures/FusionCache/issues/532
    Forced: a limit of 16 MB, a proven hit, then reads of 100 MB in values of 10 kB.
    Checked: the process that holds the cache grows by less than twice the limit and 30 MB.
    """
    if not stage.adapter.bounds_bytes:
        raise NotApplicableError("the client has no limit in bytes")
    client = stage.open(max_memory=LIMIT_BYTES)
    stage.warm_value(client, "other", NEWER)
    value = b"7" * VALUE_BYTES
    keys = range(100 * (1 << 20) // VALUE_BYTES)
    for at in keys:
        stage.put(client, f"k{at}", value)
    before = _resident_bytes(client)
    for at in keys:
        if client.get(f"k{at}") != value:
            raise FailedError("a value of 10 kB is not read as it was set")
    grown = _resident_bytes(client) - before
    if grown > GROWTH_MAX_BYTES:
        raise FailedError(f"a limit of 16 MB, the process grew by {grown >> 20} MB")
    return f"read 100 MB with a limit of 16 MB, grew by {max(grown, 0) >> 20} MB"


def _resident_bytes(client: Client) -> int:
    statm = Path(f"/proc/{client.process_id()}/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if client.process_id() != os.getpid():
        raise NotApplicableError("the cache is in a process that cannot be looked into here")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@case("load.one-invalidation", deadline_s=120)
def one_invalidation(stage: Stage) -> str:
    """The cost of one invalidation does not grow with the number of entries.

    Rule: from key to entries in one step, not by looking through all of them.
    Source: https://github.com/redis/redis-py/issues/3916
    Forced: one foreign SET whose invalidation is there, then a hit, with a thousand and with
        sixteen thousand entries.
    Checked: at the median the hit takes less than 2 ms, or less than five times as long with many.
    """
    client = stage.open()
    few = _hit_after_an_invalidation_s(stage, client, 0, FEW)
    many = _hit_after_an_invalidation_s(stage, client, FEW, MANY)
    told = f"{few * 1e3:.2f} ms with {FEW} entries, {many * 1e3:.2f} ms with {MANY}"
    if many > NOT_SLOW_S and many > SLOWER_MAX * few:
        raise FailedError(f"a hit after one invalidation takes {told}")
    return told


def _hit_after_an_invalidation_s(stage: Stage, client: Client, start: int, stop: int) -> float:
    stage.note(f"filling up to {stop} entries")
    stage.server.many([("SET", client.server_key(f"k{at}"), OLD) for at in range(start, stop)])
    for at in range(start, stop):
        client.get(f"k{at}")
    stage.warm(lambda: client.get("k7"))
    took = []
    for _ in range(15):
        before = stage.relay.invalidations
        stage.put(client, "k5", NEW)
        stage.await_push(before)
        time.sleep(0.005)
        began = time.perf_counter()
        client.get("k7")
        took.append(time.perf_counter() - began)
        client.get("k5")
    return median(took)
