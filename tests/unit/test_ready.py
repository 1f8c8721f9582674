"""The awaitable of an asynchronous hit, in every place a coroutine is accepted."""

import asyncio
import collections.abc
import gc
import sys
import weakref

import pytest
import uvloop

from cachee._core import ready

VALUES = [None, 1, "text", b"bytes", (), (1, 2), [], {"a": 1}, ValueError("x"), StopIteration(3)]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(main, new_loop):
    loop = new_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_it_gives_its_value_wherever_a_coroutine_may_stand(value, new_loop):
    async def inner():
        return await ready(value)

    async def main():
        assert await ready(value) is value
        assert await inner() is value
        assert await asyncio.create_task(ready(value)) is value
        assert await asyncio.ensure_future(ready(value)) is value
        assert await asyncio.wait_for(ready(value), 1) is value
        assert await asyncio.shield(ready(value)) is value
        assert await asyncio.gather(ready(value), inner(), ready(value)) == [value] * 3

    run(main(), new_loop)
    assert run(ready(value), new_loop) is value


def test_it_is_a_coroutine_to_those_who_ask():
    awaitable = ready(1)
    assert asyncio.iscoroutine(awaitable)
    assert isinstance(awaitable, collections.abc.Coroutine)
    assert isinstance(awaitable, collections.abc.Awaitable)
    awaitable.close()


def again(awaitable):
    async def main():
        return await awaitable

    return asyncio.run(main())


@pytest.mark.parametrize("use", [again, next, lambda awaitable: awaitable.send(None)])
def test_it_is_used_once(use):
    awaitable = ready("once")
    assert again(awaitable) == "once"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
        use(awaitable)


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("drive", [next, lambda awaitable: awaitable.send(None)])
def test_driven_by_hand_it_stops_with_its_value(drive, value):
    caught = []
    for _ in range(3):
        with pytest.raises(StopIteration) as stop:
            drive(ready(value))
        caught.append(stop.value)
    assert all(error.value is value for error in caught)
    assert len({id(error) for error in caught}) == 3


def test_it_can_be_thrown_into_and_closed():
    for thrown in [(KeyError("a"),), (KeyError,), (KeyError, "a"), (KeyError, KeyError("a"), None)]:
        awaitable = ready(1)
        with pytest.raises(KeyError):
            awaitable.throw(*thrown)
        with pytest.raises(RuntimeError):
            awaitable.send(None)
    with pytest.raises(TypeError):
        ready(1).throw(5)
    awaitable = ready(1)
    assert awaitable.close() is None
    with pytest.raises(RuntimeError):
        awaitable.send(None)


def test_a_cancelled_task_does_not_give_it():
    async def main():
        task = asyncio.create_task(ready(1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_values_are_not_kept():
    class Value:
        pass

    async def main(value):
        await ready(value)

    for end in (main, lambda value: asyncio.sleep(0, ready(value).close())):
        value = Value()
        reference = weakref.ref(value)
        asyncio.run(end(value))
        del value
        gc.collect()
        assert reference() is None
    value = Value()
    before = sys.getrefcount(value)
    awaitables = [ready(value) for _ in range(500)]
    assert sys.getrefcount(value) == before + 500
    del awaitables
    assert sys.getrefcount(value) == before


def test_the_type_cannot_be_made_or_changed():
    kind = type(ready(1))
    with pytest.raises(TypeError):
        kind()
    with pytest.raises(TypeError):
        kind.extra = 1
