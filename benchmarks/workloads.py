"""The keys, values and orders of access every figure shares; seeded, so two runs ask the same."""

from __future__ import annotations

import itertools
import random

HOT_KEYS = 1_000
LARGE_KEYS = 100_000
SEQUENCE = 200_000  # accesses drawn once for Zipf and uniform
CHUNK = 10_000  # accesses of such a sequence timed as one chunk
SHORT_CHUNK = 100  # where each access is a round trip
VALUE_BYTES = 100
SEED = 20

HOT, FRESH, ZIPF, UNIFORM = "1k hot", "1k hot, new key objects", "100k Zipf .99", "100k uniform"


def held(workload: str) -> int:
    """How many entries a cache holds for the workload: a hot set is all there is."""
    return HOT_KEYS if workload in (HOT, FRESH) else LARGE_KEYS


def keys(count: int) -> list[str]:
    """16-byte keys."""
    return [f"user:{index:011d}" for index in range(count)]


def value(index: int) -> bytes:
    """A 100-byte value of its own for each index."""
    return b"%0*d" % (VALUE_BYTES, index)


def chunks(workload: str, names: list[str], *, short: bool = False) -> list[list[str]]:
    """The workload as lists of keys, each timed as one chunk, in turn."""
    if workload in (HOT, FRESH):
        return split(names[:HOT_KEYS], SHORT_CHUNK if short else HOT_KEYS)
    order = random.Random(SEED)
    if workload == UNIFORM:
        sequence = order.choices(names, k=SEQUENCE)
    else:
        ranked = names[:]
        order.shuffle(ranked)
        weights = itertools.accumulate(1 / rank**0.99 for rank in range(1, len(ranked) + 1))
        sequence = order.choices(ranked, cum_weights=list(weights), k=SEQUENCE)
    return split(sequence, CHUNK)


def split(items: list, size: int) -> list[list]:
    """Consecutive lists of `size` items."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def fresh(names: list[str]) -> list[str]:
    """Equal keys as new objects, hash not computed yet: what an f-string gives."""
    return ["".join(("u", name[1:])) for name in names]
