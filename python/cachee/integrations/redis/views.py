"""What is known of each pool and client: how to answer for it, or why it is left alone.

A `View` belongs to a pool, because the pool says how its clients connect; every client of the pool
carries a reference to it, which is the one attribute a hooked call reads. The link is opened by the
first cacheable read, so a client that only writes, or that a cluster client keeps for itself, costs
the server nothing.

Native methods answer for a client only where they would give what its own method gives: a class
that overrides `execute_command`, a tracer wrapped around it, or a response callback that is not the
library's, each takes names out of `hot`. Such a client is still answered one step later, in
`execute_command`, where its own code has run.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cachee import _core
from cachee._engine import Process
from cachee.integrations.redis.callbacks import unwatch_callbacks, watch_callbacks
from cachee.integrations.redis.commands import Kind, keys_of, kind_of, words_of
from cachee.integrations.redis.holders import Holders
from cachee.integrations.redis.library import Flavour
from cachee.integrations.redis.mirror import Mirror, Refusal, mirror_pool

__all__ = ["PoolAttribute", "View", "enroll", "forget_views", "view_of_client", "view_of_pool"]

VIEW = "_cachee_view"
"""Attribute of clients and pools that holds their view; None at the class means not seen yet."""

LEFT_PLAIN_STATE = "_cachee_left_plain_state"
"""Attribute of a pool some connection of which was changed: it stays so over any uninstall."""

NOT_OPEN = -1
"""Ticket of a write that began before any read had opened the engine."""

LINKS_MAX = 64
"""Links of one process; a client that would need one more passes through."""

COMMAND_OF_METHOD = {
    "exists": "EXISTS",
    "get": "GET",
    "hexists": "HEXISTS",
    "hget": "HGET",
    "hgetall": "HGETALL",
    "hmget": "HMGET",
    "mget": "MGET",
    "sismember": "SISMEMBER",
    "smembers": "SMEMBERS",
}
"""The hot methods cachee can put a native one in place of, and the command each sends."""

HOT_COMMANDS = frozenset(COMMAND_OF_METHOD.values())

REPLY = ("parse_response", "_send_command_parse_response", "_execute_command")
"""Methods that see a raw reply: a class with one of its own decides itself what a reply is."""


class View:
    """How the clients of one pool are answered. Every method is safe from any thread."""

    __slots__ = (
        "__weakref__",
        "admits",
        "binding",
        "callbacks",
        "encoding",
        "errors",
        "flavour",
        "link",
        "mirror",
        "observe",
        "process",
        "reason",
        "serving",
        "timeout_s",
        "warned",
    )

    def __init__(self, process: Process, flavour: Flavour, pool: Any, reason: str = "") -> None:
        self.process = process
        self.flavour = flavour
        self.observe = process.settings.mode == "observe"
        self.admits = process.admits
        self.timeout_s = process.settings.reply_timeout_ms / 1000
        self.binding: _core.Binding | None = None
        self.serving: _core.Binding | None = None
        self.link: _core.Link | None = None
        self.warned = False
        self.mirror: Mirror | None = None
        self.callbacks: Mapping[str, Any] = {}
        self.encoding, self.errors = "utf-8", "strict"
        self.reason = ""
        mirror = Refusal(reason) if reason else mirror_pool(flavour, pool)
        if isinstance(mirror, Refusal):
            self.refuse(mirror.reason)
        else:
            self.mirror = mirror
            self.encoding, self.errors = mirror.encoding, mirror.errors
            self.callbacks = flavour.default_callbacks(pool.connection_kwargs)

    def refuse(self, reason: str) -> None:
        """From now on nothing is answered for this pool; what it writes is still noted."""
        self.reason = reason
        self.mirror = self.binding = self.serving = None
        self.process.pass_through(reason)
        for holder in _seen:
            if vars(holder).get(VIEW) is self:
                _core.withdraw(holder)

    def open(self) -> _core.Binding | None:
        """The binding, opened by the first read that could use it; None when passed through."""
        binding = self.binding
        if binding is not None or self.mirror is None:
            return binding
        engine = self.process.open()
        if engine is None:
            return None
        with _opening:
            mirror = self.mirror
            if self.binding is None and mirror is not None:
                if len(engine.links()) >= LINKS_MAX:
                    self.refuse(f"{self.flavour.name}: more than {LINKS_MAX} links in one process")
                    return None
                try:
                    self.link = engine.link(**mirror.link)
                    self.binding = self.process.binding(
                        engine,
                        self.link,
                        decode=mirror.decode,
                        encoding=mirror.encoding,
                        errors=mirror.errors,
                        resp2=mirror.resp2,
                    )
                except RuntimeError:  # uninstalled by another thread meanwhile
                    return None
                self.serving = None if self.observe else self.binding
            return self.binding

    def admitted(self, args: tuple[object, ...]) -> bool:
        """Whether include, exclude and overrides let the keys of a cacheable command in."""
        admits = self.admits
        return admits is None or all(admits(self.key_bytes(key)) for key in keys_of(args))

    def score(self, args: tuple[object, ...]) -> None:
        """Read beside the application: the L1 fills and counts, nobody waits for the reply."""
        binding = self.open()
        if binding is not None and self.admitted(args):
            sink = _sink()
            sink.drain()
            binding.submit(args, sink, 0)

    def begin_write(self, commands: Sequence[tuple[Any, ...]]) -> int:
        """Announce commands that may change keys; the ticket goes to `end_write`."""
        engine = self.process.core
        if engine is None:
            return NOT_OPEN
        try:
            return engine.begin_write(commands, self.encoding, self.errors)
        except Exception:  # noqa: BLE001  # an argument no client can send; it will say so itself
            return 0

    def end_write(self, ticket: int, commands: Sequence[tuple[Any, ...]]) -> None:
        """The announced commands were answered, failed or timed out."""
        engine = self.process.core
        if engine is not None and ticket:
            if ticket == NOT_OPEN:
                ticket = self.begin_write(commands)
            engine.end_write(ticket)

    def invalidate(self, args: tuple[object, ...]) -> None:
        """The client's own connection answered a cacheable read: nothing older may follow."""
        engine = self.process.core
        if engine is None or self.mirror is None:
            return
        for key in keys_of(args):
            engine.invalidate(self.key_bytes(key))
            if isinstance(key, str) and not key.isascii():
                engine.invalidate(key.encode("utf-8", "surrogatepass"))  # as a native packer does

    def key_bytes(self, key: object) -> bytes:
        """A key as this pool's clients encode it; never raises."""
        if isinstance(key, str):
            try:
                return key.encode(self.encoding, self.errors)
            except UnicodeError:
                return key.encode("utf-8", "surrogatepass")
        if isinstance(key, (bytes, bytearray, memoryview)):
            return bytes(key)
        return repr(key).encode()

    def note_bypass(self) -> None:
        """The link did not answer: warn, once a link, when it never will."""
        link = self.link
        if link is not None and not self.warned:
            state, text = link.status()
            if state == "unsupported":
                self.warned = True
                self.process.pass_through(f"{self.flavour.name}: {text}")

    def leave_plain_state(self, args: tuple[object, ...]) -> None:
        """A command changed what a connection of this pool is: it may be any of them, so all."""
        if self.mirror is not None:
            name = words_of(args, 1)[0]
            reason = f"{name} changed the state of a pooled connection"
            for holder in _seen:
                if vars(holder).get(VIEW) is self:
                    setattr(holder, LEFT_PLAIN_STATE, reason)
            self.refuse(f"{self.flavour.name}: {reason}")


_opening = threading.Lock()
_completions: _core.Completions | None = None
_seen = Holders()


def view_of_pool(process: Process, flavour: Flavour, pool: Any) -> View:
    """The view of a pool, made at its first use. Never raises."""
    try:
        view: View | None = vars(pool).get(VIEW)
        if view is None or view.process is not process:
            left = vars(pool).get(LEFT_PLAIN_STATE)
            view = View(process, flavour, pool, f"{flavour.name}: {left}" if left else "")
            setattr(pool, VIEW, view)
            _seen.add(pool)
    except Exception as error:  # noqa: BLE001  # a pool of any making; its client must go on working
        kind = type(pool).__name__
        return View(process, flavour, None, f"{flavour.name}: cannot read its pool {kind}: {error}")
    return view


def view_of_client(process: Process, flavour: Flavour, client: Any) -> View:
    """The view a client carries from its first hooked call on."""
    view = view_of_pool(process, flavour, client.connection_pool)
    if view.mirror is not None:
        reason = _own_way(flavour, client)
        if reason:
            view = View(process, flavour, None, f"{flavour.name}: {reason}")
    setattr(client, VIEW, view)
    _seen.add(client)
    return view


def enroll(view: View, client: Any, hook: Callable[..., Any]) -> None:
    """Let native methods answer for a client whose binding is open."""
    serving = view.serving
    if serving is None:
        return
    _core.enroll(client, serving, _hot_names(view, client, hook))
    watch_callbacks(client, HOT_COMMANDS, functools.partial(_enroll_anew, hook))


def _enroll_anew(hook: Callable[..., Any], client: Any) -> None:
    view = vars(client).get(VIEW)
    if view is not None:
        enroll(view, client, hook)


def forget_views() -> None:
    """Drop every view: after uninstall, and in a forked child."""
    global _opening, _completions, _seen
    _opening = threading.Lock()
    _completions = None
    _core.withdraw_all()
    for holder in _seen:
        vars(holder).pop(VIEW, None)
        unwatch_callbacks(holder)
    _seen = Holders()


def kind_of_call(args: tuple[object, ...], options: dict[str, Any]) -> Kind:
    """The kind of a queued or odd command; a read that must stay undecoded is HARMLESS."""
    kind = kind_of(args) if args else Kind.HARMLESS
    if kind is Kind.CACHEABLE and "NEVER_DECODE" in options:
        return Kind.HARMLESS
    return kind


def _sink() -> _core.Completions:
    """Where replies go that nobody waits for."""
    global _completions
    if _completions is None:
        _completions = _core.Completions()
    return _completions


def _own_way(flavour: Flavour, client: Any) -> str:
    """Why a client cannot be answered for, if it does for itself what a view takes over."""
    kind = type(client)
    if any(
        name in vars(client) or getattr(kind, name, None) is not getattr(flavour.client, name, None)
        for name in REPLY
    ):
        return f"{kind.__name__} parses replies itself"
    own = kind.__mro__[: kind.__mro__.index(flavour.client)]
    if any("connection_pool" in vars(base) for base in own):
        return f"{kind.__name__} chooses its pool itself"
    return ""


class PoolAttribute:
    """`connection_pool` of the client classes: a client that is given another pool is seen anew.

    The value stays in the instance, as before; only setting it does more.
    """

    def __get__(self, client: Any, _owner: type | None = None) -> Any:
        # Of the class it does not exist, as before: `hasattr` and mock's specs see no change.
        pool = None if client is None else vars(client).get("connection_pool")
        if pool is None:
            raise AttributeError("connection_pool")
        return pool

    def __set__(self, client: Any, pool: Any) -> None:
        vars(client)["connection_pool"] = pool
        if vars(client).pop(VIEW, None) is not None:
            _core.withdraw(client)

    def __delete__(self, client: Any) -> None:
        vars(client).pop("connection_pool", None)


def _hot_names(view: View, client: Any, hook: Callable[..., Any]) -> frozenset[str]:
    own = vars(client)
    if type(client).execute_command is not hook or "execute_command" in own:
        return frozenset()
    return frozenset(
        name
        for name, command in COMMAND_OF_METHOD.items()
        if name not in own
        and dict.get(client.response_callbacks, command) is view.callbacks.get(command)
        and _gives_native_shape(view, command)
    )


def _gives_native_shape(view: View, command: str) -> bool:
    """Whether this library's own callback makes of a reply what the native method returns.

    That is a bool for HEXISTS, a set for SMEMBERS, a dict for HGETALL and else the reply as it is;
    valkey-py for one leaves SMEMBERS a list.
    """
    callback = view.callbacks.get(command)
    if command == "HEXISTS":
        return callback is bool
    if command == "SMEMBERS":
        return callback is not None
    if command == "HGETALL":
        return callback is not None or (view.mirror is not None and not view.mirror.resp2)
    return callback is None
