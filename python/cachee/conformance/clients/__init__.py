"""The clients the kit knows, one file each, imported when asked for."""

from __future__ import annotations

import importlib

from cachee._errors import CacheeError
from cachee.conformance.clients.client import Client

NAMES = {
    "cachee": "cachee_redis_py",
    "cachee-asyncio": "cachee_redis_py_asyncio",
    "cachee-valkey-py": "cachee_valkey_py",
    "cachee-valkey-py-asyncio": "cachee_valkey_py_asyncio",
    "cachee-proxy": "cachee_proxy",
    "redis-py": "redis_py",
    "valkey-py": "valkey_py",
    "valkey-glide-sync": "glide_sync",
    "valkey-glide": "glide_asyncio",
    "coredis": "coredis",
    "cashews": "cashews",
}


def adapter(name: str) -> type[Client]:
    """The adapter of a client by its name, or any other one as `module:Class`."""
    module, colon, attribute = name.partition(":")
    if not colon:
        if name not in NAMES:
            known = ", ".join(NAMES)
            raise CacheeError(f"no client {name!r}; known are {known}, or module:Class")
        module, attribute = f"{__name__}.{NAMES[name]}", "Adapter"
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise CacheeError(f"no client {name!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Client)):
        raise CacheeError(f"{name} is no subclass of {Client.__module__}.{Client.__qualname__}")
    return found
