"""coredis with its tracking cache."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cachee.conformance.clients.client import Client, Opening, Word, Words, as_bytes, required
from cachee.conformance.clients.loop import Loop

PACKAGE = "coredis>=6"


class Adapter(Client):
    """`Redis(cache=LRUCache())`: reads are tracked, invalidations redirected to a stream."""

    distributions = ("coredis",)
    # NodeTrackingCache's own `max_idle_seconds`, after which it trusts its entries no more.
    silence_bound_s = 15.0
    survives_fork = False
    is_asynchronous = True

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self._library = required("coredis", PACKAGE)
        self._loop = Loop()
        self._loop.call(self._open)

    async def _open(self) -> None:
        opening = self.opening
        cache = required("coredis.patterns.cache", PACKAGE).LRUCache
        self._client = self._library.Redis(
            host=opening.host,
            port=opening.port,
            db=opening.database,
            username=opening.username,
            password=opening.password,
            decode_responses=opening.decode,
            stream_timeout=opening.timeout_s,
            cache=cache(100_000),
        )
        self._opened, self._closing = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._stay_open())
        opened = asyncio.create_task(self._opened.wait())
        await asyncio.wait({self._task, opened}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()

    async def _stay_open(self) -> None:
        """The client is a context that must end in the task it began in."""
        async with self._client:
            self._opened.set()
            await self._closing.wait()

    def close(self) -> None:
        async def end() -> None:
            self._closing.set()
            await asyncio.wait({self._task}, timeout=1.0)

        self._loop.call(end)
        self._loop.close()

    def get(self, key: str) -> bytes | None:
        return as_bytes(self.get_decoded(key))

    def get_decoded(self, key: str) -> Any:
        return self._loop.call(lambda: self._client.get(key))

    def get_by_bytes(self, key: str) -> bytes | None:
        return as_bytes(self._loop.call(lambda: self._client.get(key.encode())))

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return [as_bytes(each) for each in self._loop.call(lambda: self._client.mget(list(keys)))]

    def hget(self, key: str, field: str) -> bytes | None:
        return as_bytes(self._loop.call(lambda: self._client.hget(key, field)))

    def hgetall(self, key: str) -> Any:
        return self._loop.call(lambda: self._client.hgetall(key))

    def smembers(self, key: str) -> Any:
        return self._loop.call(lambda: self._client.smembers(key))

    def lrange(self, key: str) -> Any:
        return self._loop.call(lambda: self._client.lrange(key, 0, -1))

    def pending(self, key: str, group: str) -> Any:
        return self._loop.call(lambda: self._client.xpending(key, group))

    def sort_by(self, key: str, pattern: str) -> Any:
        return self._loop.call(lambda: self._client.sort_ro(key, by=pattern))

    def set(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        more = {} if ttl_ms is None else {"px": ttl_ms}
        self._loop.call(lambda: self._client.set(key, value, **more))

    def set_by_bytes(self, key: str, value: bytes) -> None:
        self._loop.call(lambda: self._client.set(key.encode(), value))

    def delete(self, key: str) -> None:
        self._loop.call(lambda: self._client.delete([key]))

    def expire(self, key: str, ttl_ms: int) -> None:
        self._loop.call(lambda: self._client.pexpire(key, ttl_ms))

    def command(self, *words: Word) -> Any:
        return self._loop.call(lambda: _request(self._client, words))

    def run_script(self, script: str, keys: Sequence[str], arguments: Words) -> Any:
        return self._loop.call(lambda: self._client.eval(script, list(keys), list(arguments)))

    def pipeline(self, commands: Sequence[Words], *, transaction: bool) -> list[Any]:
        async def run() -> list[Any]:
            async with self._client.pipeline(transaction=transaction) as pipe:
                for words in commands:
                    _request(pipe, words)
            return list(pipe.results)

        found: list[Any] = self._loop.call(run)
        return found

    def watch(self, key: str) -> Watched:
        return Watched(self._loop, self._client, key)

    def cancelled_get(self, key: str, when_sent: Callable[[], object]) -> None:
        def begin() -> Awaitable[Any]:
            found: Awaitable[Any] = self._client.get(key)
            return found

        self._loop.cancelled(begin, when_sent)


def _request(client: Any, words: Words) -> Any:
    """A command by the method of its name; the library offers no other way to give its keys."""
    name, *rest = words
    return getattr(client, str(name).lower())(*rest)


class Watched:
    """A pipeline that watches; its own reads are queued, so it is the client that reads."""

    def __init__(self, loop: Loop, client: Any, key: str) -> None:
        self._loop, self._client = loop, client
        self._commands: asyncio.Queue[Sequence[Words] | None] = asyncio.Queue()
        self._watching = asyncio.Event()
        self._aborted = required("coredis.exceptions", PACKAGE).WatchError
        self._loop.call(lambda: self._begin(key))

    async def _begin(self, key: str) -> None:
        self._task = asyncio.create_task(self._transaction(key))
        watching = asyncio.create_task(self._watching.wait())
        await asyncio.wait({self._task, watching}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()

    async def _transaction(self, key: str) -> list[Any] | None:
        async with self._client.pipeline(transaction=False) as pipe, pipe.watch(key):
            self._watching.set()
            for words in await self._commands.get() or []:
                _request(pipe, words)
        return list(pipe.results or [])

    def get(self, key: str) -> bytes | None:
        return as_bytes(self._loop.call(lambda: self._client.get(key)))

    def commit(self, commands: Sequence[Words]) -> list[Any] | None:
        async def run() -> list[Any] | None:
            self._commands.put_nowait(commands)
            try:
                return await self._task
            except self._aborted:
                return None

        found: list[Any] | None = self._loop.call(run)
        return found

    def close(self) -> None:
        async def end() -> None:
            self._commands.put_nowait(None)
            await asyncio.wait({self._task}, timeout=1.0)

        self._loop.call(end)
