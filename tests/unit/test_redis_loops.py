"""One waiter an event loop, and none for a loop that is closed."""

import asyncio

from cachee.integrations.redis import loops


async def _waiter() -> loops.LoopWaiter:
    return loops.loop_waiter()


def test_a_loop_has_one_waiter() -> None:
    async def twice() -> bool:
        return loops.loop_waiter() is loops.loop_waiter()

    assert asyncio.run(twice())


def test_closed_loops_are_let_go_even_if_somebody_holds_them() -> None:
    held = []
    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(_waiter())
        loop.close()
        held.append(loop)
    asyncio.run(_waiter())
    assert not any(loop in loops._waiters for loop in held)
