"""The L1 by itself: `cachee.Cache`.

Storage, eviction, expiry and tags are native (`_core.Cache`). Here is what needs Python: sizes
and durations with units, and the single flight of `get_or_load` and `aget_or_load`.

Threads and tasks keep separate flights. A thread that waited for a task of the loop it is itself
blocking would wait for ever, so a sync and an async load of one key may run side by side once;
the later one to store wins, as with two calls of `set`.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cachee import _core
from cachee._units import SIZE_SYNTAX, approximate_size, parse_size

if TYPE_CHECKING:
    import asyncio

__all__ = ["DEFAULT_MAX_MEMORY", "Cache", "CacheStats"]

DEFAULT_MAX_MEMORY: Final = "64mb"

_ABSENT: Final = object()
_T = TypeVar("_T")


@dataclass(frozen=True)
class CacheStats:
    """Counters of one `Cache` since it was made, and its sizes now."""

    hits: int
    misses: int
    stored: int
    replaced: int
    evicted: int
    expired: int
    invalidated: int
    removed: int
    too_large: int
    entries: int
    weight_bytes: int
    capacity_bytes: int

    @property
    def hit_rate(self) -> float:
        """Hits over lookups; 0.0 before the first lookup."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0


class _Retry(Exception):  # noqa: N818 - a signal between waiters, never seen outside
    """The load ended without a result; whoever waits starts over."""


class _Flight:
    """One synchronous load and the threads that wait for it.

    Who holds `lock` is loading; the others wait for it. An exception can come from a signal handler
    anywhere, so nothing hangs on a clean-up having run: when the lock is free and the load has not
    ended, whoever takes the lock loads.
    """

    __slots__ = ("ended", "error", "lock", "value")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.ended = False
        self.value: Any = None
        self.error: BaseException | None = None

    def is_loaded_here(self) -> bool:
        """Whether this very thread is loading."""
        owned: bool = self.lock._is_owned()  # type: ignore[attr-defined]  # threading.Condition's use
        return owned


class _AsyncFlight:
    """One asynchronous load: a task of the loop that began it, and waiters of any loop."""

    __slots__ = ("task", "waiters")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]] = []

    def finish(self, value: Any, error: BaseException | None) -> None:
        """Hand the end to every waiter; a waiter whose loop is closed is gone."""
        for loop, future in self.waiters:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, value, error)


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


def _parse_max_memory(value: object) -> int:
    try:
        size = parse_size(value)
    except (TypeError, ValueError):
        size = 0
    if size < 1:
        allowed = f"a positive int of bytes or {SIZE_SYNTAX}"
        raise ValueError(f"max_memory must be {allowed}, not {value!r}") from None
    return size


class Cache(_core.Cache):
    """A cache of Python objects in this process, bounded in bytes, with deadlines and tags.

    ```python
    cache = Cache(max_memory="64mb", ttl=30)
    cache.set("user:42", {"name": "Ada"}, tags=["users"])
    cache.get("user:42")                      # {'name': 'Ada'}: the object itself, not a copy
    cache.get_or_load("user:43", lambda: {"name": "Alan"})
    cache.invalidate_tag("users")
    ```

    Args:
        max_memory: The bound on keys, values and the cache's own structure: bytes as an int, or
            text with a unit ("64mb", "1gb"). Default 64mb.
        ttl: Seconds a value lives unless `set` says otherwise; None (the default) for ever.
            Accurate to a tick of the kernel's clock (4 to 10 ms).
        sizer: Called as `sizer(key, value)` for the bytes of an entry. Without one an entry is
            measured: `sys.getsizeof` of key and value; builtin containers and instance
            dictionaries are followed four levels deep, of each at most 64 elements are measured
            and the rest is taken to be like them.

    Keys are any hashable object, values any object, None included. Values are handed out as they
    are, so changing one changes what the next reader gets. When memory runs out the entries least
    likely to be asked again go first (S3-FIFO).

    Threads: every method is safe from any thread; one call is atomic as far as keys whose `__eq__`
    is builtin. Fork: the child has its own copy, and loads that other threads of the parent had
    begun are forgotten in it.

    Raises:
        TypeError, ValueError: An argument is of the wrong type or out of range; the text says
            what is allowed. Unhashable keys raise TypeError, as with a dict.
    """

    _flights: dict[Any, _Flight]
    _async_flights: dict[Any, _AsyncFlight]

    def __new__(
        cls,
        max_memory: int | str = DEFAULT_MAX_MEMORY,
        *,
        ttl: float | None = None,
        sizer: Callable[[Any, Any], int] | None = None,
    ) -> Cache:
        self = super().__new__(cls, _parse_max_memory(max_memory), ttl=ttl, sizer=sizer)
        assert isinstance(self, Cache)  # noqa: S101 - tells mypy what cls made
        self._reset_flights()
        return self

    def _reset_flights(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._flights = {}
        self._async_flights = {}

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            self._reset_flights()

    def __repr__(self) -> str:
        held = self.stats()
        used, capacity = map(approximate_size, (held.weight_bytes, held.capacity_bytes))
        return f"<cachee.{type(self).__name__}: {held.entries} entries, {used} of {capacity}>"

    def stats(self) -> CacheStats:
        """The counters since the cache was made and its sizes now, as one frozen snapshot."""
        return CacheStats(**self._counters())

    def get_or_load(
        self,
        key: Hashable,
        loader: Callable[[], _T],
        *,
        ttl: float | None = None,
        tags: Iterable[str] = (),
    ) -> _T:
        """The value of the key; when absent, what `loader()` returns, stored first.

        However many threads ask at once, one loads and the others wait for it. An exception of
        the loader is raised in all of them and nothing is stored. When the key is set or deleted,
        one of `tags` is invalidated, or the cache is cleared while the loader runs, the loaded
        value is returned and not stored.

        Args:
            key: The key.
            loader: Called without arguments, without any lock held.
            ttl: Seconds the loaded value lives; None: the cache's default.
            tags: Tags of the loaded value.

        Raises:
            RuntimeError: The loader itself asks for the key it is loading.
            TypeError: The loader gives a coroutine.
        """
        while True:
            value = self.get(key, _ABSENT)
            if value is not _ABSENT:
                return value  # type: ignore[no-any-return]  # what was stored under the key
            self._check_fork()
            flight = self._flights.setdefault(key, _Flight())
            if flight.is_loaded_here():
                raise RuntimeError(f"the loader of {key!r} asks for the key it is loading")
            with flight.lock:
                if flight.ended:
                    if flight.error is not None:
                        raise flight.error
                    return flight.value  # type: ignore[no-any-return]  # as above
                if key not in self:
                    return self._load(key, loader, ttl, tags, flight)
                self._land(key, flight)

    def _load(
        self,
        key: Hashable,
        loader: Callable[[], _T],
        ttl: float | None,
        tags: Iterable[str],
        flight: _Flight,
    ) -> _T:
        token = self._begin_load(key, tags)
        try:
            value = loader()
            if inspect.iscoroutine(value):
                value.close()
                raise TypeError("loader gives a coroutine; use aget_or_load")
            self._finish_load(token, value, ttl)
            self._land(key, flight)
            flight.value, flight.ended = value, True
        except Exception as error:
            self._land(key, flight)
            flight.error, flight.ended = error, True
            raise
        finally:
            self._abandon_load(token)
            self._land(key, flight)
        return value

    def _land(self, key: Hashable, flight: _Flight) -> None:
        """Take a flight from the board, before it ends: nobody new may be given its value."""
        if self._flights.get(key) is flight:
            self._flights.pop(key, None)

    async def aget_or_load(
        self,
        key: Hashable,
        loader: Callable[[], Awaitable[_T]],
        *,
        ttl: float | None = None,
        tags: Iterable[str] = (),
    ) -> _T:
        """As `get_or_load` for coroutines: `await loader()` runs once for all tasks that ask.

        The load is a task of its own in the loop that asked first. Cancelling one waiter leaves
        the load running for the others; when that loop ends before the load does, a waiter of
        another loop loads anew.
        """
        while True:
            value = self.get(key, _ABSENT)
            if value is not _ABSENT:
                return value  # type: ignore[no-any-return]  # what was stored under the key
            # Only whoever has it imported can be here; it is a third of the time to import cachee.
            import asyncio

            self._check_fork()
            loop = asyncio.get_running_loop()
            future: asyncio.Future[_T] = loop.create_future()
            with self._lock:
                flight = self._async_flights.get(key)
                if flight is None or flight.task is None or flight.task.done():
                    if key in self:
                        continue
                    flight = _AsyncFlight()
                    flight.task = loop.create_task(self._aload(key, loader, ttl, tags, flight))
                    self._async_flights[key] = flight
                elif flight.task is asyncio.current_task():
                    raise RuntimeError(f"the loader of {key!r} asks for the key it is loading")
                flight.waiters.append((loop, future))
            try:
                return await future
            except _Retry:
                continue

    async def _aload(
        self,
        key: Hashable,
        loader: Callable[[], Awaitable[_T]],
        ttl: float | None,
        tags: Iterable[str],
        flight: _AsyncFlight,
    ) -> None:
        value: Any = None
        error: BaseException | None = _Retry()
        token = 0
        try:
            token = self._begin_load(key, tags)
            loading = loader()
            if not inspect.isawaitable(loading):
                raise TypeError("loader gives no awaitable; use get_or_load")
            value = await loading
            self._finish_load(token, value, ttl)
            error = None
        except Exception as raised:  # noqa: BLE001 - every waiter raises it
            error = raised
        finally:
            self._abandon_load(token)
            with self._lock:
                if self._async_flights.get(key) is flight:
                    del self._async_flights[key]
                flight.finish(value, error)


_core.adopt_methods(Cache)
