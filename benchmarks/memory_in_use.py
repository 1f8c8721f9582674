"""Counted weight against real growth while the L1 is in use: `python -m benchmarks.memory_in_use`.

A million keys pass through a 128 MB L1 twice, each read from the server and then hit once, so that
its reply's bytes give way to an object. Printed is the ratio of what is counted to what the process
has grown by, and the bound it must keep (1 in 10).
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import redis

import cachee
from cachee import embedded

KEYS, BATCH, VALUE = 1_000_000, 500, b"x" * 100
CAPACITY = "128mb"


def grown_bytes() -> int:
    """The resident size of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def names(first: int) -> list[str]:
    """One batch of 16-byte keys."""
    return [f"key:{number:012d}" for number in range(first, first + BATCH)]


def main() -> None:
    with embedded.valkey() as server:
        client = redis.Redis.from_url(server.url)
        for first in range(0, KEYS, BATCH):
            client.mset(dict.fromkeys(names(first), VALUE))
        gc.collect()
        cachee.install(max_memory=CAPACITY)
        while not cachee.stats().hits:
            client.get("absent")
        before = grown_bytes()
        for _ in range(2):
            for first in range(0, KEYS, BATCH):
                client.mget(names(first))
                client.mget(names(first))
        counted, grown = cachee.stats().weight_bytes, grown_bytes() - before
        print(f"counted {counted} B, grown {grown} B, counted over grown {counted / grown:.3f}")
        assert grown <= 1.1 * counted, "the process grew by more than is counted"


if __name__ == "__main__":
    main()
