"""redis-py's own client-side cache."""

from __future__ import annotations

from typing import Any

from cachee.conformance.clients.client import Opening, required
from cachee.conformance.clients.redis_like import RedisLike, arguments

SERVER_NAME_CHECKED = "redis"


class Adapter(RedisLike):
    """RESP3 and a `CacheConfig`, as its documentation has it.

    It refuses every server that does not call itself Redis 7.4 or later. The tracking it needs is
    the same in Valkey, so where the server is one, that check alone is lowered, in this process.
    """

    distributions = ("redis",)
    accelerators = ("hiredis",)
    note = "its check of the server's name is lowered where the server is a Valkey"

    def build(self, opening: Opening) -> Any:
        redis = required("redis", "redis>=5.3")
        cache = required("redis.cache", "redis>=5.3")
        _accept_the_server(redis, opening)
        return redis.Redis(
            **arguments(opening, "redis"), protocol=3, cache_config=cache.CacheConfig()
        )


def _accept_the_server(redis: Any, opening: Opening) -> None:
    connection = required("redis.connection", "redis>=5.3").CacheProxyConnection
    with redis.Redis(**arguments(opening, "redis"), protocol=3) as probe:
        try:
            greeting = probe.execute_command("HELLO", "3")
        except redis.RedisError:
            return
    name = greeting.get(b"server") or greeting.get("server")
    shown = name.decode() if isinstance(name, bytes) else str(name)
    if shown != SERVER_NAME_CHECKED:
        connection.DEFAULT_SERVER_NAME = shown
        connection.MIN_ALLOWED_VERSION = "7.0.0"
