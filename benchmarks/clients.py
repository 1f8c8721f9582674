"""Clients as contenders: plain ones, peers' own caches, and unchanged clients under cachee."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator

from benchmarks import workloads
from benchmarks.contest import Setting
from benchmarks.servers import Server, request

SETTLE_TIMEOUT_S = 10
PEER_CACHE_ENTRIES = 200_000
KEY_LIFETIME_S = 36_000
# Entries outlive the whole run, so that a figure about hits does not time a refresh.
SETTINGS = {"CACHEE_MAX_AGE": "1h", "CACHEE_MAX_MEMORY": "1gb"}


def fill(server: Server, count: int = workloads.LARGE_KEYS) -> None:
    """The strings all figures read, each with a time to live, and one hash of 50 fields."""
    names = workloads.keys(count)
    hash_fields = [word for i in range(50) for word in (f"field{i:02d}", "v" * 20)]
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        send(link, [request("HSET", "hash:50", *hash_fields)])
        for start in range(0, count, 1_000):
            lifetime = str(KEY_LIFETIME_S)
            send(
                link,
                [
                    request("SET", names[index], workloads.value(index), "EX", lifetime)
                    for index in range(start, min(start + 1_000, count))
                ],
            )


def send(link: socket.socket, requests: list[bytes]) -> None:
    """Send requests in one go and wait for as many one-line replies."""
    link.sendall(b"".join(requests))
    missing = len(requests)
    while missing:
        missing -= link.recv(1 << 16).count(b"\n")


def where(setting: Setting, transport: str) -> dict[str, object]:
    """Arguments of redis-py's and valkey-py's constructors for a transport, `tcp` or `unix`."""
    if transport == "unix":
        return {"unix_socket_path": setting.path}
    return {"host": "127.0.0.1", "port": setting.port}


def redis_py(setting: Setting, transport: str, **more: object) -> object:
    """A stock redis-py client."""
    import redis

    return redis.Redis(**where(setting, transport), **more)


def redis_py_with_own_cache(setting: Setting, transport: str) -> object:
    """redis-py with its client-side cache.

    It refuses everything but Redis >= 7.4 by name and number; the tracking it needs is the same in
    Valkey, so where the server here is a Valkey the check alone is lowered, in this process.
    """
    import redis
    from redis.cache import CacheConfig
    from redis.connection import CacheProxyConnection

    CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"
    with contextlib.suppress(redis.RedisError), redis.Redis(**where(setting, "tcp")) as probe:
        greeting = probe.execute_command("HELLO", "3")
        pairs = greeting if isinstance(greeting, dict) else _pairs(greeting)
        CacheProxyConnection.DEFAULT_SERVER_NAME = pairs[b"server"].decode()
    config = CacheConfig(max_size=PEER_CACHE_ENTRIES)
    return redis.Redis(**where(setting, transport), protocol=3, cache_config=config)


def _pairs(flat: list) -> dict:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def valkey_py(setting: Setting, transport: str, **more: object) -> object:
    """A stock valkey-py client."""
    import valkey

    return valkey.Valkey(**where(setting, transport), **more)


def valkey_py_with_own_cache(setting: Setting) -> object:
    """valkey-py with `cache_enabled`, which works with its pure-Python parser only."""
    import valkey
    from valkey._parsers import _RESP3Parser

    pool = valkey.ConnectionPool(
        **where(setting, "tcp"), protocol=3, cache_enabled=True, parser_class=_RESP3Parser
    )
    return valkey.Valkey(connection_pool=pool)


def redis_py_async(setting: Setting, transport: str) -> object:
    """A stock asynchronous redis-py client."""
    import redis.asyncio

    return redis.asyncio.Redis(**where(setting, transport))


def valkey_py_async(setting: Setting, transport: str) -> object:
    """A stock asynchronous valkey-py client."""
    import valkey.asyncio

    return valkey.asyncio.Valkey(**where(setting, transport))


@contextlib.contextmanager
def glide_sync(setting: Setting, *, cached: bool) -> Iterator[object]:
    """A valkey-glide-sync client."""
    from glide_sync import GlideClient, GlideClientConfiguration, NodeAddress

    cache = None
    if cached:
        from glide_shared.cache import ClientSideCache

        cache = ClientSideCache.create(
            max_cache_kb=65_536, entry_ttl_ms=3_600_000, server_assisted=True
        )
    more = {"client_side_cache": cache} if cache else {}
    nodes = [NodeAddress("127.0.0.1", setting.port)]
    client = GlideClient.create(GlideClientConfiguration(nodes, **more))
    try:
        yield client
    finally:
        client.close()


def install(**settings: str) -> None:
    """cachee in this process, before any client is made."""
    os.environ.update(SETTINGS)
    os.environ.update({f"CACHEE_{name.upper()}": text for name, text in settings.items()})
    import cachee

    cachee.install()


def settled(ask: Callable[[], object]) -> None:
    """Ask the same cacheable question until it is answered from L1."""
    import cachee

    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        hits = cachee.stats().hits
        ask()
        ask()
        if cachee.stats().hits > hits:
            return
        time.sleep(0.01)
    raise RuntimeError("cachee did not answer from L1: " + str(cachee.stats()))


def load(client: object, names: list[str]) -> None:
    """Ask for all keys, a few hundred at a time."""
    for start in range(0, len(names), 500):
        client.mget(names[start : start + 500])
