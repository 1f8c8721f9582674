"""Waiting for the link in a process that gevent has patched: the greenlet waits, its hub goes on.

`Binding.read` waits on a lock of the operating system, which would stop every greenlet of the
thread. Here the read is submitted instead, the hub watches the descriptor of the completions, and
only the greenlet that asked sleeps. Everything of gevent is taken from `sys.modules`: a process
that has not imported it pays one dictionary lookup a miss.

eventlet has no such hook that is still maintained; under it a miss goes to the client's own
(patched) socket, and the link is asked beside it so that the next read is a hit.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from typing import Any

from cachee import _core

__all__ = ["HubWaiter", "forget_hubs", "hub_waiter", "patched_by"]


def patched_by() -> str:
    """Which of gevent and eventlet has replaced the socket module; "" for neither."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("socket"):
        return "eventlet"
    return ""


class HubWaiter:
    """Submitted reads of one thread's hub."""

    def __init__(self, hub: Any) -> None:
        self.completions = _core.Completions()
        self._tickets = itertools.count(1)
        self._waiting: dict[int, Any] = {}
        self._watcher = hub.loop.io(self.completions.fileno(), 1)
        self._watcher.start(self._drain)

    def read(self, binding: _core.Binding, args: tuple[object, ...], timeout_s: float) -> object:
        """As `Binding.read`; other greenlets run meanwhile."""
        ticket = next(self._tickets)
        return self._wait(ticket, binding.submit(args, self.completions, ticket), timeout_s)

    def read_many(
        self, binding: _core.Binding, commands: list[tuple[object, ...]], timeout_s: float
    ) -> list[object]:
        """As `Binding.read_many`; other greenlets run meanwhile."""
        ticket = next(self._tickets)
        submitted = binding.submit_many(commands, self.completions, ticket)
        replies = self._wait(ticket, submitted, timeout_s)
        return replies if isinstance(replies, list) else [_core.MISS] * len(commands)

    def _wait(self, ticket: int, submitted: object, timeout_s: float) -> object:
        if submitted is not _core.PENDING:
            return submitted
        result = sys.modules["gevent.event"].AsyncResult()
        self._waiting[ticket] = result
        try:
            return result.get(timeout=timeout_s)
        except sys.modules["gevent"].Timeout:
            return _core.MISS
        finally:
            self._waiting.pop(ticket, None)

    def _drain(self) -> None:
        for ticket, reply in self.completions.drain():
            result = self._waiting.get(ticket)
            if result is not None:
                result.set(reply)


_waiters: weakref.WeakKeyDictionary[Any, HubWaiter] = weakref.WeakKeyDictionary()
"""By hub, not by threading.local: gevent makes that one local to each greenlet."""


def hub_waiter() -> HubWaiter:
    """The waiter of this thread's hub."""
    __import__("gevent.event")
    hub = sys.modules["gevent"].get_hub()
    waiter = _waiters.get(hub)
    if waiter is None:
        waiter = _waiters[hub] = HubWaiter(hub)
    return waiter


def forget_hubs() -> None:
    """In a forked child: the parent's descriptors are not ours to read."""
    _waiters.clear()
