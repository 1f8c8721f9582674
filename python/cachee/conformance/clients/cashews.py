"""cashews with its client-side cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote

from cachee.conformance.clients.client import Client, Opening, as_bytes, required
from cachee.conformance.clients.loop import Loop
from cachee.conformance.verdict import NotApplicableError

PACKAGE = "cashews[redis]>=7"
PREFIX = "cashews:"


class Adapter(Client):
    """`setup(url, client_side=True)`; errors are let through, since they would look like misses."""

    distributions = ("cashews", "redis")
    accelerators = ("hiredis",)
    note = "with protocol=2: with redis-py 8's default of 3 it hears of no change at all"
    survives_fork = False
    is_asynchronous = True

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        if opening.decode:
            self._lacks("decoded replies")
        self._library = required("cashews", PACKAGE)
        self._loop = Loop()
        self._cache = self._library.Cache()
        self._loop.call(self._open)

    async def _open(self) -> None:
        opening = self.opening
        who = quote(opening.username or "", safe="")
        secret = "" if opening.password is None else f"{who}:{quote(opening.password, safe='')}@"
        self._cache.setup(
            f"redis://{secret}{opening.host}:{opening.port}/{opening.database}",
            client_side=True,
            suppress=False,
            protocol=2,
            socket_timeout=opening.timeout_s,
        )
        await self._cache.init()

    def server_key(self, key: str) -> str:
        return PREFIX + key

    def close(self) -> None:
        self._loop.call(lambda: self._cache.close())
        self._loop.close()

    def get(self, key: str) -> bytes | None:
        return as_bytes(self._loop.call(lambda: self._cache.get(key)))

    def get_decoded(self, key: str) -> Any:
        self._lacks("decoded replies")

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return [as_bytes(value) for value in self._loop.call(lambda: self._cache.get_many(*keys))]

    def set(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        if not value.isdigit():
            raise NotApplicableError("values that are no numbers are stored in a format of its own")
        expire = None if ttl_ms is None else ttl_ms / 1000
        self._loop.call(lambda: self._cache.set(key, int(value), expire=expire))

    def delete(self, key: str) -> None:
        self._loop.call(lambda: self._cache.delete(key))

    def expire(self, key: str, ttl_ms: int) -> None:
        self._loop.call(lambda: self._cache.expire(key, ttl_ms / 1000))

    def cancelled_get(self, key: str, when_sent: Callable[[], object]) -> None:
        def begin() -> Awaitable[Any]:
            found: Awaitable[Any] = self._cache.get(key)
            return found

        self._loop.cancelled(begin, when_sent)
