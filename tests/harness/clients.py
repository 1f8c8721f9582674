"""The four client flavours behind one blocking face, so that one test body runs through each.

Asyncio clients live on one loop in a thread of its own; a call made here is a task there.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from importlib import import_module
from types import ModuleType
from typing import Any

FLAVOURS = ("redis", "redis.asyncio", "valkey", "valkey.asyncio")
_CALL_S = 30.0
_FACES = frozenset({"Redis", "Valkey", "Pipeline", "PubSub", "Lock"})


class Loop:
    """An event loop in a thread."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop):
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_S)

    def close(self) -> None:
        self.run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _finish(self) -> None:
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


class Blocking:
    """An asyncio client (or its pipeline) whose methods block until their result is there."""

    def __init__(self, client: Any, loop: Loop):
        self.wrapped = client
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.wrapped, name)
        return self._calling(value) if callable(value) else value

    def _calling(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            async def on_the_loop() -> Any:
                result = method(*args, **kwargs)
                if _is_face(result):
                    return result
                return await result if inspect.isawaitable(result) else result

            result = self._loop.run(on_the_loop())
            return Blocking(result, self._loop) if _is_face(result) else result

        return call

    def __enter__(self) -> "Blocking":
        self._loop.run(self.wrapped.__aenter__())
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.run(_awaited(self.wrapped.__aexit__(*exc)))

    def __len__(self) -> int:
        return len(self.wrapped)


def _is_face(value: object) -> bool:
    """Clients, pipelines, subscriptions and locks: some of them are awaitable, none is a result."""
    return any(each.__name__ in _FACES for each in type(value).__mro__)


def module_of(flavour: str) -> ModuleType:
    """`redis.asyncio` and its like."""
    return import_module(flavour)


def class_of(flavour: str) -> Any:
    """The client class of a flavour."""
    module = module_of(flavour)
    return module.Valkey if flavour.startswith("valkey") else module.Redis


def exceptions_of(flavour: str) -> ModuleType:
    """The library's exceptions; valkey-py's have the same names but for the base."""
    return import_module(f"{flavour.partition('.')[0]}.exceptions")


class Clients:
    """Makes clients of any flavour and closes them all."""

    def __init__(self) -> None:
        self._loop: Loop | None = None
        self._close: list[Callable[[], Any]] = []

    @property
    def loop(self) -> Loop:
        if self._loop is None:
            self._loop = Loop()
        return self._loop

    def make(self, flavour: str, port: int, client_class: Any = None, **options: Any) -> Any:
        """A client on 127.0.0.1 and that port; asyncio ones come wrapped as `Blocking`."""
        options = {"host": "127.0.0.1", "port": port, **options}
        return self.adopt(flavour, lambda: (client_class or class_of(flavour))(**options))

    def adopt(self, flavour: str, build: Callable[[], Any]) -> Any:
        """A client built by the test, closed with the others."""
        if not flavour.endswith("asyncio"):
            client = build()
            self._close.append(lambda: _close_blocking(client))
            return client

        async def on_the_loop() -> Any:
            return build()

        client = self.loop.run(on_the_loop())
        self._close.append(lambda: self.loop.run(_close_async(client)))
        return Blocking(client, self.loop)

    def close(self) -> None:
        for close in reversed(self._close):
            close()
        self._close.clear()
        if self._loop is not None:
            self._loop.close()
            self._loop = None


def _close_blocking(client: Any) -> None:
    client.close()
    client.connection_pool.disconnect()


async def _close_async(client: Any) -> None:
    await client.aclose()
    await client.connection_pool.disconnect()
