"""An API whose requests read eight keys, one leading to the next: `python -m benchmarks.chains`.

A process of its own, because it installs cachee in itself. The session is asked for first; the
number of the user is in its value, and in the keys of the seven that follow. Half of the requests
are of users nobody has seen, half of users who come again (Zipf). Then the application changes:
other templates, a hash instead of JSON. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import redis

KINDS = ("user", "perm", "flags", "cart", "quota", "prefs", "inbox")
RETURNING = 2_000
COLD_AT_THE_END = 100
LEARNED_RUN = 10
LEARNED_ROUND_TRIPS = 3.0
HIT_ROUNDS, HIT_READS = 5, 100_000


class Counted(NamedTuple):
    """Reads that waited for the server, reads in all, and what was sent ahead."""

    waits: int
    hits: int
    prefetch: dict[str, int]


def _users(requests: int) -> int:
    return RETURNING + requests + 2 * COLD_AT_THE_END


def fill(client: redis.Redis, requests: int) -> None:
    """Everything both versions of the application read."""
    pipe = client.pipeline(transaction=False)
    for number in range(_users(2 * requests)):
        user = _user(number)
        pipe.set(_session(number), json.dumps({"version": 3, "user_id": user, "theme": "dark"}))
        pipe.hset(f"v2/login/{number * 7919:x}z", mapping={"uid": user, "at": "now"})
        for kind in KINDS:
            pipe.set(f"{kind}:{user}", "x" * 200)
            pipe.set(f"v2/u/{user}/{kind}", "x" * 200)
        if number % 500 == 0:
            pipe.execute()
    pipe.execute()


def _session(number: int) -> str:
    return f"session:{number * 7919:x}z"


def _user(number: int) -> int:
    return 100_000 + number * 7


def first_version(client: redis.Redis, number: int) -> None:
    """One request."""
    user = json.loads(client.get(_session(number)))["user_id"]
    for kind in KINDS:
        client.get(f"{kind}:{user}")


def second_version(client: redis.Redis, number: int) -> None:
    """One request, after the change."""
    user = int(client.hgetall(f"v2/login/{number * 7919:x}z")[b"uid"])
    for kind in KINDS:
        client.get(f"v2/u/{user}/{kind}")


class Run:
    """Requests, and how long each took in round trips."""

    def __init__(self, client: redis.Redis, round_trip_s: float, seed: int) -> None:
        self._client, self._round_trip_s = client, round_trip_s
        self._random = random.Random(seed)
        self._weights = [1 / (rank + 1) for rank in range(RETURNING)]
        self._next_stranger = RETURNING

    def stranger(self) -> int:
        """A user nobody has seen."""
        self._next_stranger += 1
        return self._next_stranger - 1

    def timed(self, request: Callable[[redis.Redis, int], None], number: int) -> float:
        """One request, in round trips."""
        start = time.perf_counter()
        request(self._client, number)
        return (time.perf_counter() - start) / self._round_trip_s

    def phase(self, request: Callable[[redis.Redis, int], None], requests: int) -> dict[str, Any]:
        """So many requests; those of strangers are what is learned for."""
        strangers: list[tuple[int, float]] = []
        returning: list[float] = []
        for at in range(requests):
            if self._random.random() < 0.5:
                strangers.append((at, self.timed(request, self.stranger())))
            else:
                (number,) = self._random.choices(range(RETURNING), self._weights)
                returning.append(self.timed(request, number))
        last = [taken for _, taken in strangers[-len(strangers) // 4 :]]
        return {
            "stranger_round_trips": statistics.median(last),
            "returning_round_trips": statistics.median(returning[-len(returning) // 4 :]),
            "learned_after": _learned_after(strangers),
        }

    def strangers_alone(
        self, request: Callable[[redis.Redis, int], None], counted: Callable[[], Counted]
    ) -> float:
        """Reads that wait for the server, per request of a user nobody has seen."""
        before = counted()
        for _ in range(COLD_AT_THE_END):
            self.timed(request, self.stranger())
        return (counted().waits - before.waits) / COLD_AT_THE_END


def _learned_after(strangers: list[tuple[int, float]]) -> int | None:
    """The request from which on so many strangers in a row are served in a few round trips."""
    for place in range(len(strangers) - LEARNED_RUN):
        run = strangers[place : place + LEARNED_RUN]
        if all(taken <= LEARNED_ROUND_TRIPS for _, taken in run):
            return run[0][0]
    return None


def _ns_a_hit(client: redis.Redis) -> float:
    client.set("hot", "value")
    for _ in range(100):
        client.get("hot")
        time.sleep(0.001)
    rounds = []
    for _ in range(HIT_ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(HIT_READS):
            client.get("hot")
        rounds.append((time.perf_counter_ns() - start) / HIT_READS)
    return min(rounds)


@contextlib.contextmanager
def _in_process(port: int, prefetch: str) -> Iterator[tuple[redis.Redis, Callable[[], Counted]]]:
    import cachee

    cachee.install(prefetch=prefetch)

    def counted() -> Counted:
        now = cachee.stats()
        return Counted(now.misses + now.coalesced, now.hits, dict(now.prefetch))

    with redis.Redis(port=port) as client:
        yield client, counted
    cachee.uninstall()


@contextlib.contextmanager
def _in_proxy(port: int, prefetch: str) -> Iterator[tuple[redis.Redis, Callable[[], Counted]]]:
    command = [sys.executable, "-m", "cachee", "proxy", "--listen", "tcp://127.0.0.1:0"]
    command += ["--admin", "127.0.0.1:0", "--prefetch", prefetch]
    command += ["--upstream", f"redis://127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            admin = words[words.index("admin") + 1]

            def counted() -> Counted:
                with urllib.request.urlopen(f"{admin}/stats", timeout=10) as answer:
                    now = json.load(answer)
                return Counted(now["misses"], now["hits"], now["prefetch"])

            with redis.Redis(port=int(words[1].rpartition(":")[2])) as client:
                yield client, counted
        finally:
            process.terminate()


PLACES = {"process": _in_process, "proxy": _in_proxy}


def main() -> None:
    """Measure one place with one setting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--place", choices=PLACES, required=True)
    parser.add_argument("--prefetch", choices=("on", "off"), required=True)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hits-only", action="store_true", help="nothing but a hot key")
    given = parser.parse_args()
    with PLACES[given.place](given.port, given.prefetch) as (client, counted):
        for _ in range(50):
            client.get("warm-up")
            time.sleep(0.01)
        waits = []
        for _ in range(100):
            start = time.perf_counter()
            client.ping()
            waits.append(time.perf_counter() - start)
        if given.hits_only:
            print(json.dumps({"ns_a_hit": _ns_a_hit(client)}))
            return
        run = Run(client, statistics.median(waits), given.seed)
        first = run.phase(first_version, given.requests)
        first["waits"] = run.strangers_alone(first_version, counted)
        second = run.phase(second_version, given.requests)
        second["waits"] = run.strangers_alone(second_version, counted)
        after = counted()
        issued = after.prefetch.get("issued", 0)
        used = after.prefetch.get("used", 0) + after.prefetch.get("late", 0)
        found = {
            "round_trip_ms": statistics.median(waits) * 1000,
            "first": first,
            "second": second,
            "issued": issued,
            "precision": used / issued if issued else None,
            "hit_rate": after.hits / (after.hits + after.waits),
            "learned_bytes": after.prefetch.get("bytes"),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
