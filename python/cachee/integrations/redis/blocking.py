"""The hooks of the synchronous clients and their pipelines.

`execute_command` is where every method of a client ends, so it is the one place that sees all reads
and all writes. What a call costs here before anything native is asked: one attribute (the view),
one dictionary (the kind of command). A read that the L1 has is answered right there; everything
that needs more is in a function of its own, so that the hit pays nothing for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cachee import _core
from cachee.integrations.redis import greenlets
from cachee.integrations.redis.commands import (
    KINDS_BY_SPELLING,
    TRANSACTION_WORDS,
    Kind,
    split_name,
    words_of,
)
from cachee.integrations.redis.queue import Queue
from cachee.integrations.redis.replies import NEVER_DECODE, finish
from cachee.integrations.redis.views import View, enroll, kind_of_call

__all__ = ["hook_execute", "hook_execute_command", "hook_immediate"]

Method = Callable[..., Any]
ViewOf = Callable[[Any], "View | None"]


class Calls:
    """Every way of a call that is not a hit, around one original `execute_command`."""

    def __init__(self, original: Method) -> None:
        self.original = original
        self.hook: Method = original

    def odd(self, client: Any, view: View, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A command in a spelling that is not in the table."""
        kind = kind_of_call(args, options)
        if kind is Kind.CACHEABLE:
            return self.read(client, view, args, options)
        if kind is Kind.HARMLESS:
            return self.original(client, *args, **options)
        return self.write(client, view, kind, args, options)

    def read(self, client: Any, view: View, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A cacheable read that was no hit, or that may not be one."""
        binding = view.open()
        if binding is None:
            return self.original(client, *args, **options)
        single = client.connection is not None
        if single or NEVER_DECODE in options or not view.admitted(args):
            if single or NEVER_DECODE not in options:
                view.process.count_bypass("single_connection" if single else "not_admitted")
            return self.bypass(client, view, args, options)
        if view.observe:
            reply = self.original(client, *args, **options)
            view.score(args)
            return reply
        if _core.enrolled(client) is None:
            enroll(view, client, self.hook)
        reply = wait_for(view, binding, args)
        if reply is _core.MISS:
            view.note_bypass()
            return self.bypass(client, view, args, options)
        return finish(client, args, options, reply)

    def bypass(
        self, client: Any, view: View, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """A cacheable read that the client's own connection answers."""
        reply = self.original(client, *args, **options)
        view.invalidate(args)
        return reply

    def write(
        self, client: Any, view: View, kind: Kind, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """A command that may change something, announced before and closed after."""
        commands, ticket = (split_name(args),), 0
        try:
            ticket = view.begin_write(commands)
            return self.original(client, *args, **options)
        finally:
            view.end_write(ticket, commands)
            if kind is Kind.STATE:
                view.leave_plain_state(args)


def hook_execute_command(original: Method, view_of: ViewOf) -> Method:
    """What stands in for a client class's `execute_command`."""
    calls = Calls(original)
    kinds, miss, get = KINDS_BY_SPELLING, _core.MISS, dict.get
    cacheable, effect, state = Kind.CACHEABLE, Kind.EFFECT, Kind.STATE

    @functools.wraps(original)
    def execute_command(self: Any, *args: Any, **options: Any) -> Any:
        view = self._cachee_view
        if view is None:
            view = view_of(self)
            if view is None or not args:
                return original(self, *args, **options)
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
                return reply
            return finish(self, args, options, reply)
        if kind is effect or kind is state:
            return calls.write(self, view, kind, args, options)
        if kind is None:
            return calls.odd(self, view, args, options)
        return original(self, *args, **options)

    calls.hook = execute_command
    return execute_command


def hook_execute(original: Method, view_of: ViewOf) -> Method:
    """What stands in for a pipeline class's `execute`."""

    @functools.wraps(original)
    def execute(self: Any, raise_on_error: bool = True) -> Any:  # noqa: FBT001  # the client's own
        stack = self.command_stack
        view = view_of(self) if stack else None
        if view is None:
            return original(self, raise_on_error)
        transactional = self.transaction or self.explicit_transaction
        queue = Queue(view, stack, plain=not transactional and in_plain_state(self, view))
        if queue.leading and (binding := view.open()) is not None and not view.observe:
            queue.answer(self, read_leading(view, binding, queue))
        if not queue.answers:
            return send(self, queue, raise_on_error=raise_on_error)
        sent: list[Any] = []
        if len(queue.answers) < len(stack):
            self.command_stack = queue.rest()
            sent = send(self, queue, raise_on_error=False)
        else:
            self.reset()
        replies = queue.merge(sent)
        if raise_on_error:
            self.raise_first_error(stack, replies)
        return replies

    def send(pipeline: Any, queue: Queue, *, raise_on_error: bool) -> Any:
        ticket = 0
        try:
            ticket = queue.begin()
            replies = original(pipeline, raise_on_error)
        finally:
            queue.end(ticket)
        queue.settle()
        return replies

    return execute


def hook_immediate(original: Method, view_of: ViewOf) -> Method:
    """What stands in for `immediate_execute_command`, which a watching pipeline reads through."""

    @functools.wraps(original)
    def immediate_execute_command(self: Any, *args: Any, **options: Any) -> Any:
        view = view_of(self) if args else None
        kind = kind_of_call(args, options) if view is not None else Kind.HARMLESS
        if view is None or kind is Kind.HARMLESS:
            return original(self, *args, **options)
        if kind is Kind.CACHEABLE:
            reply = original(self, *args, **options)
            view.invalidate(args)
            return reply
        if kind is Kind.STATE:
            if words_of(args, 1)[0] not in TRANSACTION_WORDS:
                view.leave_plain_state(args)
            return original(self, *args, **options)
        commands, ticket = (split_name(args),), 0
        try:
            ticket = view.begin_write(commands)
            return original(self, *args, **options)
        finally:
            view.end_write(ticket, commands)

    return immediate_execute_command


def in_plain_state(pipeline: Any, view: View) -> bool:
    """Whether a pipeline may be answered: the library's own class, no connection taken yet."""
    state: dict[str, Any] = vars(pipeline)
    return (
        type(pipeline) is view.flavour.pipeline
        and not state["watching"]
        and not state["scripts"]
        and state["connection"] is None
    )


def read_leading(view: View, binding: _core.Binding, queue: Queue) -> list[object]:
    """Replies to a queue's leading reads, MISS where something must be sent."""
    if not queue.only_reads:
        return queue.peek(binding)
    patched = greenlets.patched_by()
    if patched == "":
        return binding.read_many(queue.commands())
    if patched == "gevent":
        return greenlets.hub_waiter().read_many(binding, queue.commands(), view.timeout_s)
    return queue.peek(binding)


def wait_for(view: View, binding: _core.Binding, args: tuple[Any, ...]) -> object:
    """The reply from the L1 or the link, or MISS; never stops a hub of greenlets."""
    patched = greenlets.patched_by()
    if patched == "":
        return binding.read(args)
    if patched == "gevent":
        return greenlets.hub_waiter().read(binding, args, view.timeout_s)
    view.score(args)
    return _core.MISS
