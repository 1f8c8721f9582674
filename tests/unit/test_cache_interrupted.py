"""Loads of `Cache` that signals, collections and comparisons break into must not hang anybody."""

import signal
import threading
from collections.abc import Callable

import pytest

from cachee import Cache
from cachee._cache import _Flight

PATIENCE_S = 20.0


def in_thread(call: Callable[[], object]) -> object:
    """The result of a call made by another thread, which must come."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert results, "the call hangs"
    return results[0]


def test_a_flight_whose_thread_was_interrupted_before_loading_is_taken_over() -> None:
    cache = Cache()
    cache._flights["k"] = _Flight()  # as an exception raised by a signal handler leaves it
    assert in_thread(lambda: cache.get_or_load("k", lambda: 1)) == 1
    assert cache._flights == {}


def test_waiters_of_an_interrupted_load_load_for_themselves() -> None:
    cache, loading, go = Cache(), threading.Event(), threading.Event()

    def interrupted() -> int:
        loading.set()
        assert go.wait(PATIENCE_S)
        raise KeyboardInterrupt

    def first() -> type[BaseException]:
        try:
            cache.get_or_load("k", interrupted)
        except KeyboardInterrupt as error:
            return type(error)
        raise AssertionError("the interrupt was swallowed")

    outcomes: list[object] = []
    one = threading.Thread(target=lambda: outcomes.append(first()), daemon=True)
    one.start()
    assert loading.wait(PATIENCE_S)
    two = threading.Thread(
        target=lambda: outcomes.append(cache.get_or_load("k", lambda: 2)), daemon=True
    )
    two.start()
    go.set()
    one.join(PATIENCE_S)
    two.join(PATIENCE_S)
    assert sorted(outcomes, key=str) == sorted([KeyboardInterrupt, 2], key=str)
    assert cache._flights == {}


def test_interrupts_anywhere_leave_a_cache_that_works() -> None:
    """A real signal handler raises wherever it strikes; each key must still be loadable."""
    cache = Cache()

    class Struck(Exception):  # noqa: N818  # a signal, no error
        pass

    def strike(*_: object) -> None:
        raise Struck

    before = signal.signal(signal.SIGALRM, strike)
    try:
        for key in range(3_000):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.000_02)
                cache.get_or_load(key % 7, lambda: 1)
                cache.delete(key % 7)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Struck:  # noqa: PERF203  # each key by itself
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for key in range(7):
        assert in_thread(lambda key=key: cache.get_or_load(key, lambda: 1)) == 1


def test_a_comparison_that_loads_from_the_same_cache() -> None:
    cache = Cache()

    class Key:
        def __init__(self, name: int) -> None:
            self.name, self.deep = name, False

        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            if not self.deep:
                self.deep = True
                cache.get_or_load("inner", lambda: 0)
            return isinstance(other, Key) and self.name == other.name

    def outer() -> int:
        return cache.get_or_load(Key(2), lambda: 2)

    assert in_thread(lambda: cache.get_or_load(Key(1), outer)) == 2


def test_a_loader_that_asks_for_its_own_key_is_told() -> None:
    cache = Cache()
    with pytest.raises(RuntimeError, match="asks for the key it is loading"):
        cache.get_or_load("k", lambda: cache.get_or_load("k", lambda: 1))
    assert cache.get_or_load("k", lambda: 2) == 2
