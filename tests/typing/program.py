"""A small typed program over the public names; `mypy --strict` checks it, nothing runs it."""

import asyncio
from collections.abc import Awaitable

import redis

import cachee
from cachee import Cache


def drop_in() -> str:
    """Install, read, look, uninstall."""
    cachee.install(max_memory="64mb", max_age="30s", max_staleness="500ms")
    cachee.install(record="trace.u64", record_sample=16, record_keys="hashed")
    client = redis.Redis(decode_responses=True)
    client.set("user:42", "Ada")
    snapshot: cachee.Snapshot = cachee.stats()
    rate: float = snapshot.hit_rate
    explanation: cachee.Explanation = cachee.explain("user:42")
    served: bool = explanation.served
    cachee.uninstall()
    return f"{snapshot.hits:d} {rate:.1%} {served} {explanation}"


def cache() -> int | None:
    """The L1 by itself."""
    lengths: Cache = Cache(max_memory="16mb", ttl=30)
    lengths.set("a", 1, tags=("letters",))
    lengths["b"] = 2
    found: int | None = lengths.get("a")
    sure: int = lengths.get_or_load("c", lambda: len("c"))
    removed: int = lengths.invalidate_tag("letters")
    several: list[int | None] = lengths.get_many(["a", "b"])
    if "b" in lengths and lengths.delete("b"):
        lengths.clear()
    return found if several else sure + removed


async def loading() -> int:
    """Loading once for all who wait."""
    lengths: Cache = Cache(max_memory="16mb")

    async def measure() -> int:
        await asyncio.sleep(0)
        return len("abc")

    pending: Awaitable[int] = lengths.aget_or_load("abc", measure)
    return await pending


def failing() -> str:
    """One tree of exceptions."""
    try:
        cachee.install(max_age="soon")
    except cachee.SettingsError as problem:
        return problem.setting
    except cachee.CacheeError as problem:
        return str(problem)
    return ""
