"""Several callers at once, calls that end early, and processes that fork."""

from __future__ import annotations

import os
import select
import threading
import time
from functools import partial

from cachee.conformance.case import case
from cachee.conformance.clients.client import TIMEOUT_S, Client
from cachee.conformance.stage import CALL_S, NEW, NEWER, OLD, Call, Stage, shown, shown_error
from cachee.conformance.verdict import FailedError, HungError, NotApplicableError

LOCKSTEP_KEYS = 150
LOCKSTEP_THREADS = 4
CHANGE_S = 3.0
STALL_S = 0.5
TIMED_OUT = f"by the client's own timeout of {TIMEOUT_S:.0f} s"


@case("threads.one-cold-key")
def one_cold_key(stage: Stage) -> str:
    """Several threads that read one cold key all get its value.

    Rule: whoever finds a read of the key under way waits for it or asks for itself.
    Source: https://github.com/redis/redis-py/issues/3600
    Forced: the reply of the first read is held until three more threads have asked.
    Checked: all four come back with the value.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    stage.put(client, "k", OLD)
    first, _ = stage.held_read(lambda: client.get("k"), OLD)
    others = [Call(lambda: client.get("k"), "a read beside the first one") for _ in range(3)]
    stage.pause(0.2, "three more threads ask")
    stage.relay.flow()
    began = time.monotonic()
    values = {read.result() for read in (first, *others)}
    took_s = time.monotonic() - began
    if values != {OLD}:
        raise FailedError(f"one key, four reads: {values}")
    if took_s > STALL_S:
        raise HungError(f"the four reads came back {took_s:.1f} s after the reply, {TIMED_OUT}")
    return "four reads, one value"


@case("threads.cold-keys-in-lockstep", deadline_s=60)
def lockstep(stage: Stage) -> str:
    """Four threads that read the same new keys at the same moments never stall.

    Rule: as threads.one-cold-key, without holding anything and with no writer.
    Source: https://github.com/redis/redis-py/issues/3600
    Forced: a barrier before every read.
    Checked: every read has its value within half a second.
    """
    client = stage.open()
    stage.warm_value(client, "other", NEWER)
    for at in range(LOCKSTEP_KEYS):
        stage.put(client, f"k{at}", OLD)
    barrier = threading.Barrier(LOCKSTEP_THREADS)
    stalls: list[str] = []
    wrong: list[str] = []

    def read_all() -> None:
        for at in range(LOCKSTEP_KEYS):
            barrier.wait(CALL_S)
            began = time.monotonic()
            try:
                value = client.get(f"k{at}")
                told = "" if value == OLD else f"read {value!r}"
            except Exception as error:  # noqa: BLE001 - of the client, and the finding
                told = shown_error(error)
            took_s = time.monotonic() - began
            if told or took_s > STALL_S:
                (stalls if took_s > STALL_S else wrong).append(f"key {at}: {took_s:.1f} s {told}")
                barrier.abort()
                return

    stage.note("four threads in lockstep")
    readers = [Call(read_all, "a thread in lockstep") for _ in range(LOCKSTEP_THREADS)]
    ended = [reader.wait(30.0) for reader in readers]
    if wrong:
        raise FailedError(f"with no writer at all, {wrong[0].strip()}")
    if stalls:
        raise HungError(f"with no writer at all, {stalls[0].strip()}, {TIMED_OUT}")
    if not all(ended):
        raise HungError(f"{ended.count(False)} of {LOCKSTEP_THREADS} threads did not come back")
    for reader in readers:
        reader.result()
    return f"{LOCKSTEP_THREADS} threads, {LOCKSTEP_KEYS} keys, no stall"


@case("threads.counter-only-grows", deadline_s=60)
def monotonic(stage: Stage) -> str:
    """Threads that read a growing number never see it shrink.

    Rule: what was invalidated does not come back, for no thread.
    Source: https://github.com/redis/redis-py/issues/3470
    Forced: four threads read one key while somebody else writes 1, 2, 3 … for three seconds.
    Checked: no thread reads less than it had read, none fails or stalls, the last number is read
        in the end, and the server executed fewer reads than there were.
    """
    client = stage.open()
    stage.put(client, "k", b"1")
    stage.warm(lambda: client.get("k"))
    stop = threading.Event()
    problems: list[str] = []
    stalls: list[str] = []
    reads = [0] * 4

    def watch_it(at: int) -> None:
        last = 0
        while not stop.is_set():
            began = time.monotonic()
            try:
                value = int(client.get("k") or 0)
            except Exception as error:  # noqa: BLE001 - of the client, and the finding
                hung = "Timeout" in type(error).__name__
                (stalls if hung else problems).append(f"a read ended with {shown_error(error)}")
                return
            if value < last:
                problems.append(f"read {value} after {last}")
                return
            if time.monotonic() - began > STALL_S:
                stalls.append(f"a read took {time.monotonic() - began:.1f} s")
                return
            last = value
            reads[at] += 1
            if not reads[at] % 100:
                time.sleep(0.001)

    before = stage.server.work("get", "mget")
    stage.note("four threads read while somebody writes")
    watchers = [Call(partial(watch_it, at), "a reading thread") for at in range(len(reads))]
    number, ends = 1, time.monotonic() + CHANGE_S
    while time.monotonic() < ends and not problems and not stalls:
        number += 1
        stage.put(client, "k", str(number).encode())
        time.sleep(0.002)
    stop.set()
    stuck = [each for each in watchers if not each.wait()]
    if problems:
        raise FailedError(f"{len(problems)} of {len(reads)} threads: {problems[0]}")
    if stalls:
        raise HungError(f"{len(stalls)} of {len(reads)} threads: {stalls[0]}")
    if stuck:
        raise HungError(f"{len(stuck)} of {len(reads)} threads did not come back")
    asked = stage.server.work("get", "mget") - before
    if asked >= sum(reads):
        raise NotApplicableError("no read was answered locally while the key kept changing")
    told = stage.settles(lambda: client.get("k"), str(number).encode(), also=_below(number))
    return f"{sum(reads)} reads, {asked} asked of the server, {number} writes; {told}"


def _below(number: int) -> tuple[bytes, ...]:
    return tuple(str(each).encode() for each in range(number))


@case("threads.health-check")
def health_check(stage: Stage) -> str:
    """A connection that is checked before its next use answers all the same.

    Rule: looking at a connection must not wait for what only the same look can bring.
    Source: https://github.com/redis/redis-py/issues/3470
    Forced: a health check every second, a proven hit, 1.2 s of rest, a foreign SET; then a hit, a
        cold key and the changed key are read.
    Checked: all come back within half a second, the changed key with its new value.
    """
    if not stage.adapter.has_health_check:
        raise NotApplicableError("the client has no health check to be set")
    client = stage.open(health_check_s=1)
    stage.warm_value(client, "k", OLD)
    stage.put(client, "cold", NEWER)
    for _ in range(3):
        stage.pause(1.2, "rest until a health check is due")
        stage.put(client, "k", NEW)
        for key in ("k", "cold"):
            began = time.monotonic()
            Call(partial(client.get, key), f"GET {key} when a health check is due").result()
            if time.monotonic() - began > STALL_S:
                raise HungError(f"GET {key} took {time.monotonic() - began:.1f} s, {TIMED_OUT}")
    return stage.settles(lambda: client.get("k"), NEW)


@case("threads.timed-out-read")
def timed_out_read(stage: Stage) -> str:
    """A reply that comes after its reader gave up is given to nobody else.

    Rule: a connection with an unread reply is not used again, or the reply is skipped.
    Source: https://github.com/redis/redis-py/issues/2624
    Forced: the reply of a read is held until the client's own timeout; then it goes, and other keys
        are read.
    Checked: every key has its own value.
    """
    client = stage.open(timeout_s=0.3)
    stage.warm_value(client, "other", NEWER)
    stage.put(client, "k", OLD)
    stage.put(client, "next", NEW)
    read, _ = stage.held_read(lambda: client.get("k"), OLD)
    gave_up = read.wait(CALL_S) and read.problem is not None
    stage.relay.flow()
    if not gave_up and not read.wait():
        raise HungError("a read with a timeout of 0.3 s did not come back")
    for _ in range(20):
        stage.must_be(lambda: client.get("next"), NEW, "after a read that timed out")
        stage.must_be(lambda: client.get("k"), OLD, "after a read that timed out")
    return "gave up, then every key had its own value" if gave_up else "answered another way"


@case("threads.cancelled-read")
def cancelled_read(stage: Stage) -> str:
    """A reply that comes after its task was cancelled is given to nobody else.

    Rule: as threads.timed-out-read.
    Source: https://github.com/redis/redis-py/pull/2665
    Forced: a task's read is held, cancelled, and its reply goes; then other keys are read.
    Checked: every key has its own value.
    """
    client = stage.open()
    if not client.is_asynchronous:
        raise NotApplicableError("calls that block cannot be cancelled")
    stage.warm_value(client, "other", NEWER)
    stage.put(client, "k", OLD)
    stage.put(client, "next", NEW)
    stage.relay.trap(lambda frame: OLD in frame)

    def when_sent() -> None:
        stage.first(lambda: stage.relay.holding(lambda frame: OLD in frame), "the reply is held")

    Call(lambda: client.cancelled_get("k", when_sent), "a cancelled read").result()
    stage.relay.flow()
    for _ in range(20):
        stage.must_be(lambda: client.get("next"), NEW, "after a read that was cancelled")
        stage.must_be(lambda: client.get("k"), OLD, "after a read that was cancelled")
    return "cancelled, then every key had its own value"


@case("threads.fork", deadline_s=60)
def fork(stage: Stage) -> str:
    """A forked process does not go on with entries nobody tells it about.

    Rule: a child has none of its parent's connections, so none of its entries either.
    Source: https://docs.gunicorn.org/en/stable/settings.html#preload-app
    Forced: a proven hit, then a fork; the child reads, somebody writes, the child reads on.
    Checked: the child sees the new value within the client's own bound, and so does the parent.
    """
    if not stage.adapter.survives_fork:
        raise NotApplicableError("an event loop does not outlive a fork")
    client = stage.open()
    stage.warm_value(client, "k", OLD)
    bound_s = stage.adapter.silence_bound_s
    stage.note("the forked process reads")
    told = _in_a_child(stage, client, bound_s)
    if told != "new":
        raise FailedError(f"in the forked process: {told}")
    try:
        again = stage.settles(lambda: client.get("k"), NEW)
    except FailedError as failed:
        raise FailedError(f"in the parent, after the child has read: {failed}") from None
    return f"the child saw the change; in the parent {again}"


def _in_a_child(stage: Stage, client: Client, bound_s: float) -> str:
    out, into = os.pipe()
    ready, tell_ready = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            first = client.get("k")
            os.write(tell_ready, b".")
            os.write(into, _child_reads(client, bound_s, first).encode())
        except BaseException as error:  # noqa: BLE001 - told to the parent
            os.write(into, shown_error(error).encode())
        finally:
            os._exit(0)
    os.close(into)
    os.close(tell_ready)
    if not _readable(ready, CALL_S):
        raise HungError("the first read in the forked process did not come back")
    stage.put(client, "k", NEW)
    if not _readable(out, bound_s + CALL_S * 2):
        raise HungError("a read in the forked process did not come back")
    return os.read(out, 1000).decode()


def _readable(descriptor: int, patience_s: float) -> bool:
    return bool(select.select([descriptor], [], [], patience_s)[0])


def _child_reads(client: Client, bound_s: float, first: bytes | None) -> str:
    if first != OLD:
        return f"the first read gave {shown(first)}"
    ends = time.monotonic() + bound_s + 1.0
    while time.monotonic() < ends:
        value = client.get("k")
        if value == NEW:
            return "new"
        if value != OLD:
            return f"read {shown(value)}"
        time.sleep(0.001)
    return f"{shown(OLD)} still read {bound_s + 1.0:.0f} s after the change"
