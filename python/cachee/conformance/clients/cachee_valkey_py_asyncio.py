"""valkey-py's asyncio client under `cachee.install()`."""

from __future__ import annotations

from typing import Any

from cachee.conformance.clients.cachee_redis_py import SILENCE_BOUND_S, install
from cachee.conformance.clients.client import Opening, required
from cachee.conformance.clients.redis_like import AsyncioRedisLike, arguments


class Adapter(AsyncioRedisLike):
    """An unchanged valkey.asyncio client."""

    distributions = ("cachee", "valkey")
    accelerators = ("libvalkey",)
    silence_bound_s = SILENCE_BOUND_S
    has_max_age = True
    bounds_bytes = True

    def build(self, opening: Opening) -> Any:
        valkey = required("valkey.asyncio", "valkey>=6")
        install(opening)
        return valkey.Valkey(**arguments(opening, "valkey.asyncio"))
