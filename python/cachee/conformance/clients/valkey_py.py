"""valkey-py's own client-side cache."""

from __future__ import annotations

from typing import Any

from cachee.conformance.clients.client import Opening, required
from cachee.conformance.clients.redis_like import RedisLike, arguments


class Adapter(RedisLike):
    """A pool with `cache_enabled` and RESP3, which needs the pure Python parser."""

    distributions = ("valkey",)
    accelerators = ("libvalkey",)
    note = "without libvalkey: with it, reads after an invalidation end in timeouts"
    has_max_age = True

    def build(self, opening: Opening) -> Any:
        valkey = required("valkey", "valkey>=6")
        parser = required("valkey._parsers", "valkey>=6")._RESP3Parser
        given = arguments(opening, "valkey")
        if opening.max_age_ms is not None:
            # Its time to live is in whole seconds.
            given["cache_ttl"] = max(1, opening.max_age_ms // 1000)
        pool = valkey.ConnectionPool(**given, protocol=3, cache_enabled=True, parser_class=parser)
        return valkey.Valkey(connection_pool=pool)
