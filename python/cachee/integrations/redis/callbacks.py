"""Noticing that a client's response callbacks change after native methods answer for it.

A client's `response_callbacks` is a dict that anyone may change, by `set_response_callback` or
directly; a pipeline shares it, and so does a copy of the client. A native method must stop
answering for a command the moment that has a callback of its own. So at enrolment the dict gets a
subclass of its own class, in which changing an entry of a hot command (or many at once) enrols the
clients that share it anew. The dict stays the same object and compares as before.

Rejected: looking the callbacks up at every hit (40 ns of the 40 a hit costs), or hooking
`set_response_callback` alone (the dict is public and changed directly in practice).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cachee.integrations.redis.holders import Holders

__all__ = ["unwatch_callbacks", "watch_callbacks"]

_MANY = ("update", "clear", "popitem", "__ior__")
_ONE = ("__setitem__", "__delitem__", "pop", "setdefault")
_OWNERS = "_cachee_owners"

_watching: dict[type, type] = {}


def watch_callbacks(client: Any, commands: frozenset[str], changed: Callable[[Any], None]) -> None:
    """Call `changed(client)` whenever a callback of one of the commands may have changed.

    The client is not kept alive. A dict of another shape (slots, a mapping that is none) is left
    alone; then nothing is noticed.
    """
    callbacks = client.response_callbacks
    kind = type(callbacks)
    if kind in _watching.values():
        getattr(callbacks, _OWNERS).add(client)
    elif hasattr(callbacks, "__dict__"):
        watching = _watching.get(kind)
        if watching is None:
            watching = _watching[kind] = _watching_class(kind)
        owners = _Owners(commands, changed)
        owners.add(client)
        setattr(callbacks, _OWNERS, owners)
        callbacks.__class__ = watching


class _Owners(Holders):
    """The clients that share one dict of callbacks."""

    def __init__(self, commands: frozenset[str], changed: Callable[[Any], None]) -> None:
        super().__init__()
        self._commands = commands
        self._changed = changed

    def notice(self, name: object) -> None:
        """A callback changed; None: any of them."""
        if name is None or str(name).upper() in self._commands:
            for client in self:
                self._changed(client)


def unwatch_callbacks(client: Any) -> None:
    """Give the dict its class back."""
    callbacks = getattr(client, "response_callbacks", None)
    for kind, watching in _watching.items():
        if type(callbacks) is watching:
            callbacks.__class__ = kind
            delattr(callbacks, _OWNERS)


def _watching_class(kind: type) -> type:
    methods = {name: _noticing(getattr(kind, name), many=True) for name in _MANY}
    methods |= {name: _noticing(getattr(kind, name), many=False) for name in _ONE}
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, **methods})


def _noticing(method: Callable[..., Any], *, many: bool) -> Callable[..., Any]:
    @functools.wraps(method)
    def noticing(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        finally:
            owners = getattr(self, _OWNERS, None)
            if owners is not None:
                owners.notice(None if many or not args else args[0])

    return noticing
