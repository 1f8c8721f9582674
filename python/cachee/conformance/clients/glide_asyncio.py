"""valkey-glide's asynchronous client with its client-side cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cachee.conformance.clients import glide_settings as settings
from cachee.conformance.clients.client import Client, Opening, Word, Words, as_bytes, required
from cachee.conformance.clients.loop import Loop

PACKAGE = "valkey-glide>=2.6"


class Adapter(Client):
    """`ClientSideCache` with `server_assisted`: every change of the database is broadcast to it."""

    distributions = ("valkey-glide",)
    has_max_age = True
    bounds_bytes = True
    survives_fork = False
    is_asynchronous = True

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self._library = required("glide", PACKAGE)
        given = settings.configuration(self._library, opening, PACKAGE)
        self._loop = Loop()
        self._client = self._loop.call(lambda: self._library.GlideClient.create(given))

    def close(self) -> None:
        self._loop.call(lambda: self._client.close())
        self._loop.close()

    def get(self, key: str) -> bytes | None:
        return as_bytes(self._loop.call(lambda: self._client.get(key)))

    def get_by_bytes(self, key: str) -> bytes | None:
        return as_bytes(self._loop.call(lambda: self._client.get(key.encode())))

    def get_decoded(self, key: str) -> Any:
        self._lacks("decoded replies")

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return settings.all_bytes(self._loop.call(lambda: self._client.mget(list(keys))))

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
        return self._loop.call(lambda: self._client.sort_ro(key, by_pattern=pattern))

    def set(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        more: dict[str, Any] = {}
        if ttl_ms is not None:
            unit = self._library.ExpiryType.MILLSEC
            more["expiry"] = self._library.ExpirySet(unit, ttl_ms)
        self._loop.call(lambda: self._client.set(key, value, **more))

    def set_by_bytes(self, key: str, value: bytes) -> None:
        self._loop.call(lambda: self._client.set(key.encode(), value))

    def delete(self, key: str) -> None:
        self._loop.call(lambda: self._client.delete([key]))

    def expire(self, key: str, ttl_ms: int) -> None:
        self._loop.call(lambda: self._client.pexpire(key, ttl_ms))

    def command(self, *words: Word) -> Any:
        return self._loop.call(lambda: self._client.custom_command(settings.texts(words)))

    def run_script(self, script: str, keys: Sequence[str], arguments: Words) -> Any:
        return self.command("EVAL", script, len(keys), *keys, *arguments)

    def pipeline(self, commands: Sequence[Words], *, transaction: bool) -> list[Any]:
        made = settings.batch(self._library, commands, transaction=transaction)
        found: list[Any] = self._loop.call(lambda: self._client.exec(made, raise_on_error=True))
        return found

    def watch(self, key: str) -> ScopeWatched:
        scope = self._loop.call(lambda: self._client.scoped_connection())
        self._loop.call(lambda: scope.watch(key))
        return ScopeWatched(self._loop, scope)

    def on_one_connection(self, commands: Sequence[Words]) -> list[Any]:
        scope = self._loop.call(lambda: self._client.scoped_connection())
        try:
            return [_on(self._loop, scope, words) for words in commands]
        finally:
            self._loop.call(lambda: scope.close())

    def cancelled_get(self, key: str, when_sent: Callable[[], object]) -> None:
        self._loop.cancelled(lambda: self._client.get(key), when_sent)


def _on(loop: Loop, scope: Any, words: Words) -> Any:
    given = [str(word) for word in settings.texts(words)]
    if given[0] == "GET":
        return as_bytes(loop.call(lambda: scope.get(given[1])))
    return loop.call(lambda: scope.execute_command(*given))


class ScopeWatched:
    """A connection borrowed for a transaction."""

    def __init__(self, loop: Loop, scope: Any) -> None:
        self._loop, self._scope = loop, scope

    def get(self, key: str) -> bytes | None:
        return as_bytes(self._loop.call(lambda: self._scope.get(key)))

    def commit(self, commands: Sequence[Words]) -> list[Any] | None:
        self._loop.call(lambda: self._scope.multi())
        for words in commands:
            _on(self._loop, self._scope, words)
        result = self._loop.call(lambda: self._scope.exec())
        return None if result is None else [result]

    def close(self) -> None:
        self._loop.call(lambda: self._scope.close())
