"""A client that knows nothing of what stands behind its endpoint, and tries nothing twice."""

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST = "127.0.0.1"


def plain(port: int) -> Any:
    """redis-py with its retries off: what it is told, the test is told."""
    return redis.Redis(
        host=HOST,
        port=port,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=30,
    )
