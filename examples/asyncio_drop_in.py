"""The same in asyncio: hits are ready awaitables, misses share one connection.

Needs a Redis 7 or a Valkey on its usual port: python examples/asyncio_drop_in.py
"""

import asyncio

import redis.asyncio

import cachee


async def main() -> None:
    cachee.install()
    client = redis.asyncio.Redis(decode_responses=True)
    await client.hset("flags", mapping={"dark_mode": "on", "beta": "off"})

    for _ in range(1_000):
        assert await client.hget("flags", "dark_mode") == "on"

    # A hundred tasks that ask for one cold key make one read.
    names = await asyncio.gather(*(client.get("absent") for _ in range(100)))
    assert set(names) == {None}

    print(f"{cachee.stats().hit_rate:.1%} of the reads were answered in process")
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main())
