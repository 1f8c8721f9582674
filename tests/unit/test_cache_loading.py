"""`get_or_load` and `aget_or_load`: one flight a key, nothing stale stored, failures shared."""

import asyncio
import os
import threading
import time

import pytest

from cachee._cache import Cache


def in_threads(count, work):
    results = [None] * count
    barrier = threading.Barrier(count)

    def run(index):
        barrier.wait()
        try:
            results[index] = work()
        except Exception as error:  # noqa: BLE001 - compared by the tests
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return results


def test_a_load_is_stored_and_not_repeated():
    cache = Cache()
    assert cache.get_or_load("k", lambda: None) is None
    assert cache.get_or_load("k", pytest.fail) is None
    assert cache.get_or_load("t", lambda: 1, ttl=5, tags=["tag"]) == 1
    assert cache.invalidate_tag("tag") == 1
    assert cache.get_or_load("t", lambda: 2, ttl=5) == 2
    cache._advance_clock(6)
    assert cache.get_or_load("t", lambda: 3) == 3


def test_threads_share_one_load():
    cache = Cache()
    calls = []
    release = threading.Event()

    def load():
        calls.append(1)
        release.wait(10)
        return "value"

    threading.Timer(0.05, release.set).start()
    assert in_threads(8, lambda: cache.get_or_load("k", load)) == ["value"] * 8
    assert len(calls) == 1


def test_a_failed_load_fails_for_everyone_and_stores_nothing():
    cache = Cache()
    release = threading.Event()

    def load():
        release.wait(10)
        raise LookupError("no such user")

    threading.Timer(0.05, release.set).start()
    results = in_threads(4, lambda: cache.get_or_load("k", load))
    assert [type(result) for result in results] == [LookupError] * 4
    assert "k" not in cache
    assert cache.get_or_load("k", lambda: 1) == 1


@pytest.mark.parametrize(
    "interfere",
    [
        lambda cache: cache.set("k", "newer"),
        lambda cache: cache.delete("k"),
        lambda cache: cache.invalidate_tag("tag"),
        lambda cache: cache.clear(),
    ],
)
def test_a_change_during_the_load_voids_it(interfere):
    cache = Cache()

    def load():
        interfere(cache)
        return "loaded"

    assert cache.get_or_load("k", load, tags=["tag"]) == "loaded"
    assert cache.get("k") in {None, "newer"}
    assert cache.get("k") != "loaded"


def test_a_change_of_something_else_does_not():
    cache = Cache()

    def load():
        cache.set("other", 1)
        cache.delete("another")
        cache.invalidate_tag("elsewhere")
        return "loaded"

    cache.get_or_load("k", load, tags=["tag"])
    assert cache.get("k") == "loaded"
    assert cache.invalidate_tag("tag") == 1


def test_a_loader_that_asks_for_its_own_key_is_told():
    cache = Cache()
    with pytest.raises(RuntimeError, match="asks for the key it is loading"):
        cache.get_or_load("k", lambda: cache.get_or_load("k", lambda: 1))
    assert cache.get_or_load("a", lambda: cache.get_or_load("b", lambda: 2) + 1) == 3

    async def own():
        return await cache.aget_or_load("c", own)

    async def main():
        with pytest.raises(RuntimeError, match="asks for the key it is loading"):
            await cache.aget_or_load("c", own)

    asyncio.run(main())


def test_tasks_share_one_load_and_one_may_leave():
    cache = Cache()
    calls = []

    async def main():
        left = asyncio.Event()

        async def load():
            calls.append(1)
            await left.wait()
            return "value"

        tasks = [asyncio.create_task(cache.aget_or_load("k", load)) for _ in range(8)]
        while not calls:
            await asyncio.sleep(0)
        tasks[0].cancel()
        left.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == ["value"] * 7

    asyncio.run(main())
    assert len(calls) == 1
    assert cache.get("k") == "value"


def test_failures_of_tasks_are_shared_and_changes_void_loads():
    cache = Cache()

    async def fail():
        await asyncio.sleep(0)
        raise LookupError

    async def load():
        await asyncio.sleep(0)
        cache.invalidate_tag("tag")
        return "loaded"

    async def main():
        loads = [cache.aget_or_load("k", fail) for _ in range(3)]
        results = await asyncio.gather(*loads, return_exceptions=True)
        assert [type(result) for result in results] == [LookupError] * 3
        assert await cache.aget_or_load("k", load, tags=["tag"]) == "loaded"
        assert cache.get("k") is None
        cache.set("k", 5)
        assert await cache.aget_or_load("k", fail) == 5

    asyncio.run(main())


def test_loops_of_different_threads_share_one_load():
    cache = Cache()
    calls = []

    async def load():
        calls.append(1)
        await asyncio.sleep(0.1)
        return "value"

    results = in_threads(4, lambda: asyncio.run(cache.aget_or_load("k", load)))
    assert results == ["value"] * 4
    assert len(calls) == 1


def test_a_loop_that_ends_during_its_load_leaves_it_to_another():
    cache = Cache()
    started = threading.Event()

    async def never():
        started.set()
        await asyncio.sleep(60)

    async def give_up():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(cache.aget_or_load("k", never), 0.1)

    first = threading.Thread(target=asyncio.run, args=(give_up(),))
    first.start()
    started.wait(5)

    async def load():
        return "second"

    assert asyncio.run(asyncio.wait_for(cache.aget_or_load("k", load), 5)) == "second"
    first.join(5)


def test_a_child_forgets_the_loads_of_its_parent():
    cache = Cache()
    entered, release = threading.Event(), threading.Event()

    def load():
        entered.set()
        release.wait(10)
        return "parent"

    thread = threading.Thread(target=cache.get_or_load, args=("k", load))
    thread.start()
    entered.wait(5)
    child = os.fork()
    if child == 0:
        found = cache.get_or_load("k", lambda: "child")
        os._exit(0 if found == "child" else 1)
    deadline = time.monotonic() + 10
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended == (child, 0)
    release.set()
    thread.join()
    assert cache.get("k") == "parent"


def test_a_loader_of_the_other_kind_is_named():
    cache = Cache()

    async def coroutine():
        return 1

    for loader in (coroutine, lambda: coroutine()):
        with pytest.raises(TypeError, match="use aget_or_load"):
            cache.get_or_load("k", loader)
    with pytest.raises(TypeError, match="use get_or_load"):
        asyncio.run(cache.aget_or_load("k", lambda: 1))
    assert "k" not in cache


def test_repr_says_what_is_held():
    cache = Cache(max_memory="1mb")
    cache["k"] = 1
    assert repr(cache).startswith("<cachee.Cache: 1 entries, ")
    assert repr(cache).endswith(" of 1.0 MB>")
