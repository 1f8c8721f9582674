"""Python code that a cache runs may call the cache: comparisons, hashes, destructors, sizers."""

import gc
import threading

import pytest

from cachee._cache import Cache


class Colliding:
    """Equal by name; every hash is the same, and comparing calls back."""

    def __init__(self, name, on_compare=None):
        self.name = name
        self.on_compare = on_compare

    def __hash__(self):
        return 7

    def __eq__(self, other):
        if self.on_compare is not None:
            callback, self.on_compare = self.on_compare, None
            callback()
        return isinstance(other, Colliding) and self.name == other.name


def test_foreign_keys_of_one_hash_are_told_apart():
    cache = Cache()
    for number in range(50):
        cache.set(Colliding(number), number)
    assert [cache.get(Colliding(number)) for number in range(60)] == [*range(50), *[None] * 10]
    assert cache.delete(Colliding(3))
    assert cache.get(Colliding(3)) is None
    assert cache.get(7) is None
    assert len(cache) == 49


@pytest.mark.parametrize("act", ["clear", "delete", "replace", "refill", "grow"])
@pytest.mark.parametrize("operation", ["get", "set", "delete", "in", "many"])
def test_a_comparison_may_change_the_cache(act, operation):
    cache = Cache()
    stored = Colliding("k")
    cache.set(stored, "old")
    cache.set(Colliding("other"), "other")

    def callback():
        if act in ("clear", "refill"):
            cache.clear()
        if act == "refill":
            cache.set("unrelated", "wrong")
        if act == "delete":
            cache.delete(Colliding("k"))
        if act == "replace":
            cache.set(Colliding("k"), "new")
        if act == "grow":
            for number in range(2_000):
                cache.set(number, number)

    stored.on_compare = callback
    asked = Colliding("k")
    if operation == "get":
        assert cache.get(asked) in {"old", "new", None}
    elif operation == "set":
        cache.set(asked, "mine")
        assert cache.get(Colliding("k")) == "mine"
    elif operation == "delete":
        cache.delete(asked)
    elif operation == "many":
        assert cache.get_many([asked, "unrelated"])[0] in {"old", "new", None}
    else:
        assert (asked in cache) in {True, False}
    assert cache.get("unrelated") in {None, "wrong"}


def test_a_comparison_that_raises_is_seen_and_harms_nothing():
    class Angry:
        def __hash__(self):
            return 7

        def __eq__(self, other):
            raise ZeroDivisionError

    cache = Cache()
    angry = Angry()
    cache.set(angry, 1)
    for call in (cache.get, cache.delete, cache.__contains__, lambda key: cache.set(key, 1)):
        with pytest.raises(ZeroDivisionError):
            call(Colliding("k"))
    with pytest.raises(ZeroDivisionError):
        cache.get_many([Colliding("k")])
    assert cache.get(angry) == 1


def test_a_comparison_that_never_stops_inserting_is_given_up():
    class Restless(Colliding):
        def __eq__(self, other):
            cache.set(object(), 1)
            return False

        __hash__ = Colliding.__hash__

    cache = Cache()
    cache.set(Restless("k"), 1)
    with pytest.raises(RuntimeError, match="keeps changing the cache"):
        cache.get(Colliding("k"))


def test_a_hash_may_change_the_cache():
    class Busy:
        def __hash__(self):
            cache.clear()
            cache.set("again", 1)
            return hash("again")

        def __eq__(self, other):
            return other == "again"

    cache = Cache()
    assert cache.get(Busy()) == 1


def test_destructors_may_use_the_cache():
    class Chained:
        left = 200

        def __del__(self):
            Chained.left -= 1
            if Chained.left > 0:
                cache.set(Chained.left % 7, Chained())
            cache.get("anything")
            cache.invalidate_tag("t")

    cache = Cache()
    for number in range(7):
        cache.set(number, Chained(), tags=["t"])
    cache.clear()
    for number in range(7):
        cache.delete(number)
    gc.collect()
    assert Chained.left <= 200
    Chained.left = 0
    cache.clear()


def test_a_destructor_may_run_during_eviction():
    class Noisy:
        def __del__(self):
            seen.append(cache.get("steady"))
            cache.set(len(seen) + 1_000_000, "from a destructor")

    seen = []
    cache = Cache(max_memory="200kb", sizer=lambda key, value: 1_000)
    cache.set("steady", 1)
    for number in range(500):
        cache.set(number, Noisy())
        cache.get("steady")
    assert len(seen) > 100
    assert cache.stats().weight_bytes <= 200 * 1024


def test_a_sizer_may_use_the_cache():
    def sizer(key, value):
        if depth:
            depth.pop()
            cache.set(key, "inner")
        return 100

    depth = [1]
    cache = Cache(sizer=sizer)
    cache.set("k", "outer")
    assert cache.get("k") == "outer"


def test_many_threads_and_foreign_keys():
    cache = Cache(max_memory="300kb")
    errors = []

    def work(seed):
        try:
            for number in range(3_000):
                key = Colliding(number % 5) if number % 11 == seed else f"k{number % 300}"
                cache.set(key, (number, b"x" * 100), ttl=5, tags=["t"] if number % 3 else ())
                cache.get(key)
                cache.get_many([f"k{at}" for at in range(20)])
                if number % 500 == 0:
                    cache.invalidate_tag("t")
                if number % 1_000 == 0:
                    cache.clear()
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert cache.stats().weight_bytes <= 300 * 1024
