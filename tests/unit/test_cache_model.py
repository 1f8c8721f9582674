"""Random operations on a `Cache` and on a plain dict that knows deadlines and tags."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cachee._cache import Cache

TICK = 1.0


class Foreign:
    """A key of Python: its own equality, few hashes."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return self.number % 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Foreign) and self.number == other.number


PLAIN = st.one_of(
    st.integers(-3, 3),
    st.sampled_from(["", "a", "b", "é", b"", b"a", 1.0, 0.5, True, None, ("a", 1), ("a", (b"b",))]),
)
KEYS = st.one_of(PLAIN, st.integers(0, 3).map(Foreign))
TTLS = st.one_of(st.none(), st.integers(1, 5).map(lambda ticks: ticks * TICK))
TAGS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=2)


class CacheAgainstDict(RuleBasedStateMachine):
    """Everything fits, so the model knows exactly what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache(max_memory="64mb")
        self.model: dict[object, tuple[object, float, list[str]]] = {}
        self.now = 0.0
        self.looked_up = 0

    def live(self, key):
        held = self.model.get(key)
        return held if held is not None and held[1] > self.now else None

    @rule(key=KEYS, value=st.integers(), ttl=TTLS, tags=TAGS)
    def set(self, key, value, ttl, tags):
        assert self.cache.set(key, value, ttl, tags)
        ends = float("inf") if ttl is None else self.now + ttl - TICK / 2
        self.model[key] = (value, ends, tags)

    @rule(key=KEYS)
    def get(self, key):
        held = self.live(key)
        self.looked_up += 1
        assert self.cache.get(key, "absent") == (held[0] if held else "absent")

    @rule(keys=st.lists(KEYS, max_size=80))
    def get_many(self, keys):
        expected = [held[0] if (held := self.live(key)) else "absent" for key in keys]
        self.looked_up += len(keys)
        assert self.cache.get_many(keys, "absent") == expected

    @rule(key=KEYS)
    def contains(self, key):
        assert (key in self.cache) == (self.live(key) is not None)

    @rule(key=KEYS)
    def delete(self, key):
        assert self.cache.delete(key) == (self.live(key) is not None)
        self.model.pop(key, None)

    @rule(tag=st.sampled_from(["x", "y", "z"]))
    def invalidate_tag(self, tag):
        self.cache.invalidate_tag(tag)
        self.model = {key: held for key, held in self.model.items() if tag not in held[2]}

    @rule()
    def clear(self):
        self.cache.clear()
        self.model.clear()

    @rule(ticks=st.integers(1, 3))
    def wait(self, ticks):
        self.cache._advance_clock(ticks * TICK)
        self.now += ticks * TICK

    @invariant()
    def same_keys(self):
        live = {key for key in self.model if self.live(key)}
        keys = self.cache.keys()
        assert len(keys) == len(live)
        assert set(keys) == live

    @invariant()
    def lookups_add_up(self):
        stats = self.cache.stats()
        assert stats.hits + stats.misses == self.looked_up


TestCacheAgainstDict = CacheAgainstDict.TestCase
TestCacheAgainstDict.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
