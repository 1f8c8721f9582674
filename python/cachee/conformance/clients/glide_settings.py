"""What both valkey-glide clients are made of: addresses, credentials, and the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cachee.conformance.clients.client import Opening, Word, Words, as_bytes, required

# 60 s and no limit that matters, as in its documentation's examples; invalidations by the server.
MAX_AGE_MS = 60_000
MAX_MEMORY = 64 << 20
CREATE_TIMEOUT_MS = 2_000


def configuration(library: Any, opening: Opening, distribution: str) -> Any:
    """A GlideClientConfiguration with server-assisted caching, which implies RESP3."""
    cache = required("glide_shared.cache", distribution).ClientSideCache
    more: dict[str, Any] = {}
    if opening.password is not None:
        credentials = library.ServerCredentials(opening.password, opening.username)
        more["credentials"] = credentials
    return library.GlideClientConfiguration(
        [library.NodeAddress(opening.host, opening.port)],
        database_id=opening.database,
        request_timeout=int(opening.timeout_s * 1000),
        client_side_cache=cache.create(
            max_cache_kb=(opening.max_memory or MAX_MEMORY) >> 10,
            entry_ttl_ms=opening.max_age_ms or MAX_AGE_MS,
            server_assisted=True,
        ),
        **more,
    )


def texts(words: Sequence[Word]) -> list[str | bytes]:
    """Words as the library takes them."""
    return [str(word) if isinstance(word, int) else word for word in words]


def batch(library: Any, commands: Sequence[Words], *, transaction: bool) -> Any:
    """A batch of commands, by the method of its name where there is one."""
    made = library.Batch(is_atomic=transaction)
    for words in commands:
        name, *rest = texts(words)
        if name in ("GET", "SET"):
            getattr(made, str(name).lower())(*rest)
        else:
            made.custom_command([name, *rest])
    return made


def all_bytes(values: Sequence[Any]) -> list[bytes | None]:
    """Every value as bytes."""
    return [as_bytes(value) for value in values]
