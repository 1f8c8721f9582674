"""The hooks of the asyncio clients and their pipelines.

`execute_command` is a plain function here: what it returns is awaited. A hit gives a native
awaitable that is already done, so no coroutine is made and the event loop is not entered; anything
else gives the coroutine the client would have given, with the same steps as in `blocking.py` around
it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

from cachee import _core
from cachee.integrations.redis.blocking import Method, ViewOf, in_plain_state
from cachee.integrations.redis.commands import (
    KINDS_BY_SPELLING,
    TRANSACTION_WORDS,
    Kind,
    split_name,
    words_of,
)
from cachee.integrations.redis.loops import loop_waiter
from cachee.integrations.redis.queue import Queue
from cachee.integrations.redis.replies import NEVER_DECODE, finish
from cachee.integrations.redis.views import View, enroll, kind_of_call

__all__ = ["hook_execute", "hook_execute_command", "hook_immediate"]


class Calls:
    """Every way of a call that is not a hit, around one original `execute_command`."""

    def __init__(self, original: Method) -> None:
        self.original = original
        self.hook: Method = original

    def settle(
        self, client: Any, args: tuple[Any, ...], options: dict[str, Any], reply: object
    ) -> Awaitable[Any]:
        """A hit that has a response callback, which may be asynchronous itself."""
        try:
            value = finish(client, args, options, reply)
        except Exception as error:  # noqa: BLE001  # raised where the caller awaits, as ever
            return fail(error)
        return value if inspect.isawaitable(value) else _core.ready(value)

    async def read(
        self, client: Any, view: View, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """A cacheable read that was no hit, or that may not be one."""
        binding = view.open()
        if binding is None:
            return await self.original(client, *args, **options)
        single = client.connection is not None or client.single_connection_client
        if single or NEVER_DECODE in options or not view.admitted(args):
            if single or NEVER_DECODE not in options:
                view.process.count_bypass("single_connection" if single else "not_admitted")
            return await self.bypass(client, view, args, options)
        if view.observe:
            reply = await self.original(client, *args, **options)
            view.score(args)
            return reply
        if _core.enrolled(client) is None:
            enroll(view, client, self.hook)
        reply = await loop_waiter().read(binding, args, view.timeout_s)
        if reply is _core.MISS:
            view.note_bypass()
            return await self.bypass(client, view, args, options)
        value = finish(client, args, options, reply)
        return await value if inspect.isawaitable(value) else value

    async def bypass(
        self, client: Any, view: View, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """A cacheable read that the client's own connection answers."""
        reply = await self.original(client, *args, **options)
        view.invalidate(args)
        return reply

    async def write(
        self, client: Any, view: View, kind: Kind, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """A command that may change something, announced before and closed after."""
        commands, ticket = (split_name(args),), 0
        try:
            ticket = view.begin_write(commands)
            return await self.original(client, *args, **options)
        finally:
            view.end_write(ticket, commands)
            if kind is Kind.STATE:
                view.leave_plain_state(args)


def hook_execute_command(original: Method, view_of: ViewOf) -> Method:
    """What stands in for a client class's `execute_command`."""
    calls = Calls(original)
    kinds, miss, get, ready = KINDS_BY_SPELLING, _core.MISS, dict.get, _core.ready
    cacheable, effect, state = Kind.CACHEABLE, Kind.EFFECT, Kind.STATE

    @functools.wraps(original)
    def execute_command(self: Any, *args: Any, **options: Any) -> Awaitable[Any]:
        view = self._cachee_view
        if view is None:
            view = view_of(self)
            if view is None or not args:
                return cast("Awaitable[Any]", original(self, *args, **options))
        try:
            kind: Kind | None = kinds[args[0]]
        except (KeyError, IndexError, TypeError):
            kind = None  # and on, so that no exception of the call is raised in here
        if kind is cacheable:
            binding = view.serving
            if binding is None or self.connection is not None or NEVER_DECODE in options:
                return calls.read(self, view, args, options)
            reply = binding.peek(args)
            if reply is miss:
                return calls.read(self, view, args, options)
            if get(self.response_callbacks, args[0]) is None:
                return ready(reply)
            return calls.settle(self, args, options, reply)
        if kind is None:
            kind = kind_of_call(args, options)
            if kind is cacheable:
                return calls.read(self, view, args, options)
        if kind is effect or kind is state:
            return calls.write(self, view, kind, args, options)
        return cast("Awaitable[Any]", original(self, *args, **options))

    calls.hook = execute_command
    return _as_coroutine_function(execute_command)


def hook_execute(original: Method, view_of: ViewOf) -> Method:
    """What stands in for a pipeline class's `execute`."""

    @functools.wraps(original)
    async def execute(self: Any, raise_on_error: bool = True) -> Any:  # noqa: FBT001  # the client's own
        stack = self.command_stack
        view = view_of(self) if stack else None
        if view is None:
            return await original(self, raise_on_error)
        transactional = self.is_transaction or self.explicit_transaction
        queue = Queue(view, stack, plain=not transactional and in_plain_state(self, view))
        if queue.leading and (binding := view.open()) is not None and not view.observe:
            if queue.only_reads:
                waiter = loop_waiter()
                replies = await waiter.read_many(binding, queue.commands(), view.timeout_s)
            else:
                replies = queue.peek(binding)
            queue.answer(self, replies)
        if not queue.answers:
            return await send(self, queue, raise_on_error=raise_on_error)
        sent: list[Any] = []
        if len(queue.answers) < len(stack):
            self.command_stack = queue.rest()
            sent = await send(self, queue, raise_on_error=False)
        else:
            await self.reset()
        merged = queue.merge(sent)
        for index in queue.answers:
            if inspect.isawaitable(merged[index]):
                merged[index] = await merged[index]
        if raise_on_error:
            self.raise_first_error(stack, merged)
        return merged

    async def send(pipeline: Any, queue: Queue, *, raise_on_error: bool) -> Any:
        ticket = 0
        try:
            ticket = queue.begin()
            replies = await original(pipeline, raise_on_error)
        finally:
            queue.end(ticket)
        queue.settle()
        return replies

    return execute


def hook_immediate(original: Method, view_of: ViewOf) -> Method:
    """What stands in for `immediate_execute_command`, which a watching pipeline reads through."""

    @functools.wraps(original)
    async def immediate_execute_command(self: Any, *args: Any, **options: Any) -> Any:
        view = view_of(self) if args else None
        kind = kind_of_call(args, options) if view is not None else Kind.HARMLESS
        if view is None or kind is Kind.HARMLESS:
            return await original(self, *args, **options)
        if kind is Kind.CACHEABLE:
            reply = await original(self, *args, **options)
            view.invalidate(args)
            return reply
        if kind is Kind.STATE:
            if words_of(args, 1)[0] not in TRANSACTION_WORDS:
                view.leave_plain_state(args)
            return await original(self, *args, **options)
        commands, ticket = (split_name(args),), 0
        try:
            ticket = view.begin_write(commands)
            return await original(self, *args, **options)
        finally:
            view.end_write(ticket, commands)

    return immediate_execute_command


async def fail(error: Exception) -> Any:
    """An awaitable that raises."""
    raise error


def _as_coroutine_function(function: Callable[..., Any]) -> Method:
    """Let `asyncio.iscoroutinefunction` (and AsyncMock's spec) see what it saw before."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function
