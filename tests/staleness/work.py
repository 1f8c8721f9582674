"""Readers and writers of one process: threads, tasks and a foreign writer."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio
import valkey

from tests.harness.resp import ServerError, Wire
from tests.harness.servers import Server
from tests.staleness.board import (
    FOREIGN_WRITER,
    KEYS,
    TASK_WRITER,
    Board,
    Checker,
    kind_of,
    writer_of,
)
from tests.staleness.places import Place

FAILURE_PAUSE_S = 0.004

# Reading: one function a kind, all return the version as the client gave it.


def read_sync(client: Any, key: int, choice: random.Random) -> Any:
    kind = kind_of(key)
    if kind == "hash":
        if choice.random() < 0.5:
            return client.hget(f"k{key}", "v")
        return next(iter(client.hgetall(f"k{key}").values()), None)
    if kind == "several":
        if choice.random() < 0.2:
            return client.pipeline(transaction=False).get(f"k{key}").execute()[0]
        return client.mget(f"k{key}", "k0")[0]
    return client.get(f"k{key}")


async def read_async(client: Any, key: int, choice: random.Random) -> Any:
    kind = kind_of(key)
    if kind == "hash":
        if choice.random() < 0.5:
            return await client.hget(f"k{key}", "v")
        return next(iter((await client.hgetall(f"k{key}")).values()), None)
    if kind == "several":
        if choice.random() < 0.2:
            return (await client.pipeline(transaction=False).get(f"k{key}").execute())[0]
        return (await client.mget(f"k{key}", "k0"))[0]
    return await client.get(f"k{key}")


# Writing: the command of a version, in one of several ways.


def ttl_of(key: int, version: int) -> int | None:
    """Every other version of an expiring key lives for a short time, the rest for long."""
    if kind_of(key) != "expiring":
        return None
    return 60 + 20 * (version % 7) if version % 2 else 600_000


def write_sync(client: Any, key: int, version: int) -> None:
    name, kind, ttl_ms = f"k{key}", kind_of(key), ttl_of(key, version)
    if kind == "hash":
        client.hset(name, "v", version)
    elif ttl_ms is not None:
        client.set(name, version, px=ttl_ms)
    elif version % 5 == 0:
        client.pipeline(transaction=True).set(name, version).execute()
    elif version % 5 == 1:
        client.eval("return redis.call('SET', 'k' .. ARGV[1], ARGV[2])", 0, key, version)
    elif version % 5 == 2:
        client.mset({name: version})
    elif version % 5 == 3:
        client.pipeline(transaction=False).delete(f"none{key}").set(name, version).execute()
    else:
        client.set(name, version)


async def write_async(client: Any, key: int, version: int) -> None:
    name, kind, ttl_ms = f"k{key}", kind_of(key), ttl_of(key, version)
    if kind == "hash":
        await client.hset(name, "v", version)
    elif ttl_ms is not None:
        await client.set(name, version, px=ttl_ms)
    elif version % 2:
        await client.eval("return redis.call('SET', 'k' .. ARGV[1], ARGV[2])", 0, key, version)
    else:
        await client.pipeline(transaction=True).set(name, version).execute()


class Pace:
    """The order of a writer's keys and versions, and its notes on the board."""

    def __init__(self, board: Board, writer: int):
        self._board = board
        self._keys = [key for key in range(KEYS) if writer_of(key) == writer]
        self._at = 0

    def next(self) -> tuple[int, int]:
        key = self._keys[self._at % len(self._keys)]
        self._at += 1
        return key, self._board.latest(key) + 1

    def done(self, key: int, version: int) -> None:
        now = time.monotonic()
        ttl_ms = ttl_of(key, version)
        self._board.note(key, version, now, now + (ttl_ms or 1e9) / 1000)


def _next_key(choice: random.Random, key: int) -> int:
    """Runs of keys in their order, so that there is something to predict."""
    return (key + 1) % KEYS if choice.random() < 0.75 else choice.randrange(KEYS)


FAILURES = (redis.RedisError, valkey.ValkeyError, OSError)


class Work:
    """Readers and writers of one process, until told to stop."""

    def __init__(
        self, place: Place, board: Board, stop: threading.Event, checker: Checker, seed: int
    ):
        self._port, self._board, self._stop, self._checker = place.port, board, stop, checker
        self._write_pause_s = place.write_pause_s
        self._seed = seed
        self._threads: list[threading.Thread] = []
        self._problems: list[BaseException] = []

    def start(self, readers: int, writers: list[int], tasks: int = 0, foreign: Any = None) -> None:
        for at in range(readers):
            self._spawn(self._read, random.Random(self._seed * 1000 + at), at)
        for writer in writers:
            self._spawn(self._write, writer)
        if tasks:
            self._spawn(lambda: asyncio.run(self._run_tasks(tasks)))
        if foreign is not None:
            self._spawn(self._write_foreign, foreign)

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        def guarded() -> None:
            try:
                target(*args)
            except BaseException as problem:  # noqa: BLE001 - told by join()
                self._problems.append(problem)
                self._stop.set()

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
            if thread.is_alive():
                self._problems.append(AssertionError("a reader or writer hangs"))
        if self._problems:
            raise self._problems[0]

    def _client(self, at: int = 0) -> Any:
        make = valkey.Valkey if at % 2 else redis.Redis
        return make(port=self._port, decode_responses=at % 3 == 0, socket_timeout=5)

    def _read(self, choice: random.Random, at: int) -> None:
        with self._client(at) as client:
            key = 0
            while not self._stop.is_set():
                key = _next_key(choice, key)
                floor, own = self._checker.floor(key), self._checker.owed(key)
                began = time.monotonic()
                try:
                    value = read_sync(client, key, choice)
                except FAILURES:
                    self._failed()
                    continue
                self._checker.judge(key, value, began, floor, own)

    def _failed(self) -> None:
        self._checker.report.failures += 1
        self._stop.wait(FAILURE_PAUSE_S)

    def _write(self, writer: int) -> None:
        pace, choice = Pace(self._board, writer), random.Random(writer)
        with self._client(writer) as client, self._client(writer + 1) as reader:
            while not self._stop.wait(self._write_pause_s):
                key, version = pace.next()
                while not self._stop.is_set():
                    try:
                        write_sync(client, key, version)
                        break
                    except FAILURES:
                        self._failed()
                else:
                    return
                pace.done(key, version)
                self._checker.report.writes += 1
                self._read_back(reader, key, version, choice)

    def _read_back(self, reader: Any, key: int, version: int, choice: random.Random) -> None:
        floor, began = self._checker.floor(key), time.monotonic()
        try:
            value = read_sync(reader, key, choice)
        except FAILURES:
            self._failed()
            return
        self._checker.judge(key, value, began, floor, own=version)

    async def _run_tasks(self, tasks: int) -> None:
        client = redis.asyncio.Redis(port=self._port, socket_timeout=5)
        jobs = [self._read_tasks(client, random.Random(self._seed + at)) for at in range(tasks)]
        try:
            await asyncio.gather(self._write_task(client), *jobs)
        finally:
            await client.aclose()

    async def _read_tasks(self, client: Any, choice: random.Random) -> None:
        key = 0
        while not self._stop.is_set():
            for _ in range(50):
                key = _next_key(choice, key)
                floor, own = self._checker.floor(key), self._checker.owed(key)
                began = time.monotonic()
                try:
                    value = await read_async(client, key, choice)
                except FAILURES:
                    self._checker.report.failures += 1
                    await asyncio.sleep(FAILURE_PAUSE_S)
                    continue
                self._checker.judge(key, value, began, floor, own)
            await asyncio.sleep(0)

    async def _write_task(self, client: Any) -> None:
        pace, choice = Pace(self._board, TASK_WRITER), random.Random(self._seed)
        while not self._stop.is_set():
            key, version = pace.next()
            try:
                await write_async(client, key, version)
            except FAILURES:
                self._checker.report.failures += 1
                await asyncio.sleep(FAILURE_PAUSE_S)
                continue
            pace.done(key, version)
            self._checker.report.writes += 1
            floor, began = self._checker.floor(key), time.monotonic()
            try:
                value = await read_async(client, key, choice)
            except FAILURES:
                continue
            self._checker.judge(key, value, began, floor, own=version)
            await asyncio.sleep(self._write_pause_s)

    def _write_foreign(self, server: Server) -> None:
        """On a bare connection, past cachee: what redis-cli or another language would do."""
        pace = Pace(self._board, FOREIGN_WRITER)
        wire: Wire | None = None
        while not self._stop.wait(self._write_pause_s):
            key, version = pace.next()
            name, ttl_ms = f"k{key}", ttl_of(key, version)
            try:
                wire = wire or server.fresh_wire()
                if kind_of(key) == "hash":
                    wire("HSET", name, "v", version)
                else:
                    wire("SET", name, version, *(("PX", ttl_ms) if ttl_ms else ()))
            except (OSError, ServerError):
                if wire is not None:
                    wire.close()
                wire = None
                continue
            pace.done(key, version)
            self._checker.report.writes += 1
        if wire is not None:
            wire.close()
