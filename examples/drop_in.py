"""An application on redis-py, with cachee switched on from inside.

Needs a Redis 7 or a Valkey on its usual port: python examples/drop_in.py
"""

import redis

import cachee


def permissions(client: redis.Redis, user: int) -> set[bytes]:
    """What any application does: it knows nothing of cachee."""
    return client.smembers(f"permissions:{user}")


def main() -> None:
    client = redis.Redis()
    client.sadd("permissions:42", "read", "write")

    cachee.install(max_memory="64mb", exclude=["lock:*"])
    for _ in range(5_000):
        permissions(client, 42)

    client.sadd("permissions:42", "delete")  # own writes are seen at once
    assert permissions(client, 42) == {b"read", b"write", b"delete"}

    print(f"{cachee.stats().hit_rate:.1%} of the reads were answered in process")
    print(cachee.explain("permissions:42"))


if __name__ == "__main__":
    main()
