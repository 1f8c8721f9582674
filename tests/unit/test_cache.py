"""`cachee.Cache`: storage, deadlines, tags, sizes, errors. Time is moved, never slept."""

import copy
import gc
import weakref

import pytest

from cachee._cache import Cache, CacheStats

MISSING = object()


def make(**options) -> Cache:
    return Cache(max_memory="4mb", **options)


@pytest.mark.parametrize(
    "key",
    ["text", "", "ключ", b"bytes", b"", 0, -1, 1 << 80, 1.5, True, None, ("a", 1), (("x",), b"y"),
     frozenset({1}), object(), Cache],
)  # fmt: skip
def test_any_hashable_key_finds_its_value_and_none_other(key):
    cache = make()
    assert cache.get(key, MISSING) is MISSING
    value = object()
    assert cache.set(key, value) is True
    assert cache.get(key) is value
    assert cache[key] is value
    assert key in cache
    assert cache.keys() == [key]
    assert list(cache) == [key]
    assert cache.delete(key) is True
    assert cache.delete(key) is False
    assert key not in cache


def test_equal_keys_are_one_and_types_that_differ_are_not():
    cache = make()
    cache.set(1, "number")
    assert cache.get(1.0) == "number"
    assert cache.get(True) == "number"
    cache.set("a", "text")
    cache.set(b"a", "bytes")
    assert (cache["a"], cache[b"a"]) == ("text", "bytes")
    cache.set(("a", 1), "tuple")
    assert cache[(*"a", 1)] == "tuple"
    assert len(cache) == 4


def test_none_is_a_value():
    cache = make()
    cache.set("k", None)
    assert cache.get("k", MISSING) is None
    assert cache.get("k", default=MISSING) is None
    assert cache.get("other", default=MISSING) is MISSING
    assert cache.stats().hits == 2


def test_mapping_syntax_raises_like_a_dict():
    cache = make()
    cache["k"] = 1
    cache["k"] = 2
    assert cache["k"] == 2
    del cache["k"]
    for key in ("k", ("a", "b")):
        with pytest.raises(KeyError) as caught:
            cache[key]
        assert caught.value.args == (key,)
        with pytest.raises(KeyError):
            del cache[key]
    with pytest.raises(TypeError, match="unhashable"):
        cache[[]] = 1
    for method in (cache.get, cache.delete, cache.__contains__):
        with pytest.raises(TypeError, match="unhashable"):
            method({})


def test_a_value_lives_as_long_as_its_ttl():
    cache = make(ttl=10)
    cache.set("default", 1)
    cache.set("short", 2, ttl=1)
    cache.set("ever", 3, ttl=float("inf"))
    cache._advance_clock(5)
    assert cache.get_many(["default", "short", "ever"]) == [1, None, 3]
    assert "short" not in cache
    assert sorted(cache.keys()) == ["default", "ever"]
    cache._advance_clock(6)
    assert cache.get_many(["default", "short", "ever"], "gone") == ["gone", "gone", 3]
    assert cache.stats().expired == 2
    assert cache.delete("default") is False


def test_setting_again_starts_a_new_life():
    cache = make()
    cache.set("k", 1, ttl=10)
    cache._advance_clock(8)
    cache.set("k", 2, ttl=10)
    cache._advance_clock(8)
    assert cache.get("k") == 2


def test_tags_drop_what_carries_them():
    cache = make()
    cache.set("a", 1, tags=["users", "all"])
    cache.set("b", 2, tags=("all",))
    cache.set("c", 3)
    assert cache.invalidate_tag("users") == 1
    assert cache.get_many("abc") == [None, 2, 3]
    assert cache.invalidate_tag("users") == 0
    assert cache.invalidate_tag("all") == 1
    cache.set("c", 4, tags=["late"])
    cache.set("c", 5)
    assert cache.invalidate_tag("late") == 0
    assert cache["c"] == 5
    assert cache.stats().invalidated == 2


def test_many_at_once():
    cache = make()
    keys = [f"key:{number}" for number in range(1000)]
    assert cache.set_many({key: key.upper() for key in keys}, ttl=5, tags=["batch"]) == 1000
    assert cache.set_many([("x", 1), ("y", 2)]) == 2
    assert cache.get_many(keys) == [key.upper() for key in keys]
    assert cache.get_many(iter(["x", "nothing", "y"]), MISSING) == [1, MISSING, 2]
    assert cache.get_many([]) == []
    assert cache.invalidate_tag("batch") == 1000
    cache.clear()
    assert len(cache) == 0
    assert cache.stats().removed == 2


def test_memory_is_bounded_and_counted():
    cache = Cache(max_memory=300_000)
    for number in range(5_000):
        cache.set(f"key:{number}", b"x" * 200)
    stats = cache.stats()
    assert stats.weight_bytes <= stats.capacity_bytes == 300_000
    assert stats.evicted == 5_000 - len(cache) > 3_000
    assert 500 < len(cache) < 1_300


def test_what_does_not_fit_is_refused_and_replaces_nothing_by_a_lie():
    cache = Cache(max_memory="100kb")
    assert cache.set("k", b"small")
    assert cache.set("k", b"x" * 200_000) is False
    assert cache.get("k") is None
    assert cache.stats().too_large == 1


def test_a_sizer_weighs_instead_of_measuring():
    seen = []
    cache = Cache(max_memory="1mb", sizer=lambda key, value: seen.append((key, value)) or 400_000)
    for key in "abcd":
        cache.set(key, key)
    assert seen == [(key, key) for key in "abcd"]
    assert len(cache) == 2


def test_measuring_follows_containers():
    def weight(value):
        cache = make()
        before = cache.stats().weight_bytes
        cache.set("k", value)
        return cache.stats().weight_bytes - before

    class Plain:
        def __init__(self):
            self.text = "x" * 10_000

    assert weight(["x" * 1_000 + str(number) for number in range(100)]) > 100_000
    assert weight({"a": {"b": ("y" * 10_000,)}}) > 10_000
    assert weight(Plain()) > 10_000
    assert weight({bytes(1_000) + bytes([number]) for number in range(50)}) > 50_000
    assert 50_000 < weight([1 << 70] * 10_000) < 1_000_000
    loop: list[object] = []
    loop.append(loop)
    assert weight(loop) < 10_000


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_memory": 0}, ValueError, "max_memory"),
        ({"max_memory": -5}, ValueError, "max_memory"),
        ({"max_memory": "many"}, ValueError, "max_memory.*'many'"),
        ({"max_memory": 1.5}, ValueError, "max_memory"),
        ({"max_memory": None}, ValueError, "max_memory"),
        ({"ttl": 0}, ValueError, "ttl must be more than 0"),
        ({"ttl": float("nan")}, ValueError, "ttl"),
        ({"ttl": "soon"}, TypeError, "ttl must be a number of seconds"),
        ({"sizer": 3}, TypeError, "sizer"),
    ],
)
def test_bad_settings_say_what_is_allowed(options, error, text):
    with pytest.raises(error, match=text):
        Cache(**options)


def test_bad_arguments_say_what_is_allowed():
    cache = make()
    with pytest.raises(TypeError, match="not one"):
        cache.set("k", 1, tags="users")
    with pytest.raises(TypeError, match="a tag must be a str"):
        cache.set("k", 1, tags=[1])
    with pytest.raises(TypeError, match="tags must be an iterable"):
        cache.set("k", 1, tags=5)
    with pytest.raises(TypeError, match="a tag must be a str"):
        cache.invalidate_tag(1)
    with pytest.raises(ValueError, match="ttl must be more than 0"):
        cache.set("k", 1, ttl=-1)
    with pytest.raises(TypeError, match=r"set\(\) misses its argument 'value'"):
        cache.set("k")
    with pytest.raises(TypeError, match="unexpected argument 'time'"):
        cache.set("k", 1, time=3)
    with pytest.raises(TypeError, match="two values for argument 'key'"):
        cache.set("k", 1, key="k")
    with pytest.raises(TypeError, match="get"):
        cache.get()
    with pytest.raises(TypeError, match="get"):
        cache.get("k", fallback=1)
    with pytest.raises(TypeError, match="mapping or pairs"):
        cache.set_many(["ab"])
    with pytest.raises(TypeError, match="sizer must return bytes"):
        Cache(sizer=lambda key, value: "big").set("k", 1)
    with pytest.raises(ValueError, match="0 or more bytes"):
        Cache(sizer=lambda key, value: -1).set("k", 1)
    with pytest.raises(ZeroDivisionError):
        Cache(sizer=lambda key, value: 1 // 0).set("k", 1)
    assert len(cache) == 0


def test_stats_are_a_frozen_snapshot():
    cache = make()
    assert cache.stats().hit_rate == 0.0
    cache.set("k", 1)
    cache.get("k")
    cache.get("k")
    cache.get("other")
    stats = cache.stats()
    assert isinstance(stats, CacheStats)
    assert (stats.hits, stats.misses, stats.stored, stats.entries) == (2, 1, 1, 1)
    assert stats.hit_rate == pytest.approx(2 / 3)
    with pytest.raises(AttributeError):
        stats.hits = 0  # type: ignore[misc]  # frozen, which is what is tested
    cache.get("k")
    assert stats.hits == 2


def test_in_counts_neither_hit_nor_miss():
    cache = make()
    cache.set("k", 1)
    assert "k" in cache
    assert "other" not in cache
    assert (cache.stats().hits, cache.stats().misses) == (0, 0)


def test_references_are_dropped_with_their_entries():
    class Thing:
        pass

    cache = Cache(max_memory="1mb")
    things = [Thing() for _ in range(6)]
    alive = [weakref.ref(thing) for thing in things]
    for number, thing in enumerate(things):
        cache.set(number, thing, tags=["t"] if number == 1 else ())
    cache.set("ttl", things[0], ttl=1)
    del things, thing
    assert all(reference() for reference in alive)
    cache.delete(0)
    cache._advance_clock(2)
    assert cache.get("ttl") is None
    assert alive[0]() is None
    cache.invalidate_tag("t")
    assert alive[1]() is None
    cache.set(2, "other")
    assert alive[2]() is None
    cache.set(3, bytes(2_000_000))
    assert alive[3]() is None
    cache.clear()
    assert alive[4]() is None
    cache.set(5, value := Thing())
    reference = weakref.ref(value)
    del value, cache
    assert reference() is None


def test_the_collector_sees_through_a_cache():
    class Node:
        pass

    cache = make()
    node = Node()
    node.cache = cache
    cache.set("node", node)
    reference = weakref.ref(node)
    del cache, node
    gc.collect()
    assert reference() is None


def test_a_cache_can_be_subclassed_and_referenced_weakly():
    class Named(Cache):
        def __init__(self, name: str) -> None:
            self.name = name

        def __new__(cls, name: str) -> "Named":
            return super().__new__(cls, "1mb")

    cache = Named("mine")
    cache.set("k", 1)
    assert cache.name == "mine"
    assert cache.get("k") == 1
    assert weakref.ref(cache)() is cache


def test_a_cache_is_not_copied_by_accident():
    with pytest.raises(TypeError):
        copy.copy(make())
