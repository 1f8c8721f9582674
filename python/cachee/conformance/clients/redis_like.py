"""Clients with redis-py's interface: redis-py and valkey-py, sync and asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cachee.conformance.clients.client import Client, Opening, Words, as_bytes, required
from cachee.conformance.clients.loop import Loop

_ABORTED = "WatchError"


def arguments(opening: Opening, library: str) -> dict[str, Any]:
    """The constructor's arguments for an opening; one retry, so that an error is told soon."""
    retry = required(f"{library}.retry", library).Retry
    no_backoff = required(f"{library.partition('.')[0]}.backoff", library).NoBackoff()
    given: dict[str, Any] = {
        "retry": retry(no_backoff, 1),
        "host": opening.host,
        "port": opening.port,
        "db": opening.database,
        "username": opening.username,
        "password": opening.password,
        "decode_responses": opening.decode,
        "socket_timeout": opening.timeout_s,
    }
    if opening.health_check_s is not None:
        given["health_check_interval"] = opening.health_check_s
    return given


class RedisLike(Client):
    """`build` makes the library's client; `_done` turns what a method returns into its result."""

    has_health_check = True

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self._client = self.build(opening)

    def build(self, opening: Opening) -> Any:
        """The library's client."""
        raise NotImplementedError

    def _done(self, call: Callable[[], Any]) -> Any:
        return call()

    def close(self) -> None:
        self._client.close()

    def get(self, key: str) -> bytes | None:
        return as_bytes(self.get_decoded(key))

    def get_decoded(self, key: str) -> Any:
        return self._done(lambda: self._client.get(key))

    def get_by_bytes(self, key: str) -> bytes | None:
        return as_bytes(self._done(lambda: self._client.get(key.encode())))

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return [as_bytes(value) for value in self._done(lambda: self._client.mget(list(keys)))]

    def hget(self, key: str, field: str) -> bytes | None:
        return as_bytes(self._done(lambda: self._client.hget(key, field)))

    def hgetall(self, key: str) -> Any:
        return self._done(lambda: self._client.hgetall(key))

    def smembers(self, key: str) -> Any:
        return self._done(lambda: self._client.smembers(key))

    def lrange(self, key: str) -> Any:
        return self._done(lambda: self._client.lrange(key, 0, -1))

    def pending(self, key: str, group: str) -> Any:
        return self._done(lambda: self._client.xpending(key, group))

    def sort_by(self, key: str, pattern: str) -> Any:
        if hasattr(self._client, "sort_ro"):
            return self._done(lambda: self._client.sort_ro(key, by=pattern))
        return self.command("SORT_RO", key, "BY", pattern)

    def set(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        self._done(lambda: self._client.set(key, value, px=ttl_ms))

    def set_by_bytes(self, key: str, value: bytes) -> None:
        self._done(lambda: self._client.set(key.encode(), value))

    def delete(self, key: str) -> None:
        self._done(lambda: self._client.delete(key))

    def expire(self, key: str, ttl_ms: int) -> None:
        self._done(lambda: self._client.pexpire(key, ttl_ms))

    def command(self, *words: str | bytes | int) -> Any:
        return self._done(lambda: self._client.execute_command(*words))

    def run_script(self, script: str, keys: Sequence[str], arguments: Words) -> Any:
        return self._done(lambda: self._client.eval(script, len(keys), *keys, *arguments))

    def pipeline(self, commands: Sequence[Words], *, transaction: bool) -> list[Any]:
        def call() -> Any:
            pipe = self._client.pipeline(transaction=transaction)
            for words in commands:
                pipe.execute_command(*words)
            return pipe.execute()

        found: list[Any] = self._done(call)
        return found

    def watch(self, key: str) -> RedisLikeWatched:
        pipe = self._done(lambda: self._client.pipeline())
        self._done(lambda: pipe.watch(key))
        return RedisLikeWatched(self._done, pipe)

    def on_one_connection(self, commands: Sequence[Words]) -> list[Any]:
        one = self._done(lambda: self._client.client())
        try:
            return [self._on(one, words) for words in commands]
        finally:
            self._done(lambda: _ending(one))

    def _on(self, one: Any, words: Words) -> Any:
        # GET by its method, since that is what caches look at.
        if words[0] == "GET":
            return as_bytes(self._done(lambda: one.get(words[1])))
        return self._done(lambda: one.execute_command(*words))


def _ending(client: Any) -> Any:
    return client.aclose() if hasattr(client, "aclose") else client.close()


class RedisLikeWatched:
    """A pipeline that watches."""

    def __init__(self, done: Callable[[Callable[[], Any]], Any], pipe: Any) -> None:
        self._done, self._pipe = done, pipe

    def get(self, key: str) -> bytes | None:
        return as_bytes(self._done(lambda: self._pipe.get(key)))

    def commit(self, commands: Sequence[Words]) -> list[Any] | None:
        def call() -> Any:
            self._pipe.multi()
            for words in commands:
                self._pipe.execute_command(*words)
            return self._pipe.execute()

        try:
            results: list[Any] = self._done(call)
        except Exception as error:
            if type(error).__name__ == _ABORTED:
                return None
            raise
        return results

    def close(self) -> None:
        self._done(self._pipe.reset)


class AsyncioRedisLike(RedisLike):
    """The same over a loop in a thread."""

    survives_fork = False
    is_asynchronous = True

    def __init__(self, opening: Opening) -> None:
        self._loop = Loop()
        Client.__init__(self, opening)
        self._client = self._loop.call(lambda: self.build(opening))

    def _done(self, call: Callable[[], Any]) -> Any:
        return self._loop.call(call)

    def close(self) -> None:
        self._loop.call(lambda: _ending(self._client))
        self._loop.close()

    def cancelled_get(self, key: str, when_sent: Callable[[], object]) -> None:
        def begin() -> Awaitable[Any]:
            found: Awaitable[Any] = self._client.get(key)
            return found

        self._loop.cancelled(begin, when_sent)
