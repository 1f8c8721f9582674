"""redis-py under `cachee.install()`."""

from __future__ import annotations

from typing import Any

import cachee
from cachee.conformance.clients.client import Opening, required
from cachee.conformance.clients.redis_like import RedisLike, arguments

SILENCE_BOUND_S = 1.0


def install(opening: Opening) -> None:
    """cachee under the clients of this process, once."""
    if cachee.stats().mode != "off":
        return
    settings: dict[str, Any] = {"max_staleness": f"{SILENCE_BOUND_S:.0f}s"}
    if opening.max_age_ms is not None:
        settings["max_age"] = f"{opening.max_age_ms}ms"
    if opening.max_memory is not None:
        settings["max_memory"] = opening.max_memory
    cachee.install(**settings)


class Adapter(RedisLike):
    """An unchanged redis-py client."""

    distributions = ("cachee", "redis")
    accelerators = ("hiredis",)
    silence_bound_s = SILENCE_BOUND_S
    has_max_age = True
    bounds_bytes = True

    def build(self, opening: Opening) -> Any:
        redis = required("redis", "redis>=5")
        install(opening)
        return redis.Redis(**arguments(opening, "redis"))
