"""redis-py's asyncio client under `cachee.install()`."""

from __future__ import annotations

from typing import Any

from cachee.conformance.clients.cachee_redis_py import SILENCE_BOUND_S, install
from cachee.conformance.clients.client import Opening, required
from cachee.conformance.clients.redis_like import AsyncioRedisLike, arguments


class Adapter(AsyncioRedisLike):
    """An unchanged redis.asyncio client."""

    distributions = ("cachee", "redis")
    accelerators = ("hiredis",)
    silence_bound_s = SILENCE_BOUND_S
    has_max_age = True
    bounds_bytes = True

    def build(self, opening: Opening) -> Any:
        redis = required("redis.asyncio", "redis>=5")
        install(opening)
        return redis.Redis(**arguments(opening, "redis.asyncio"))
