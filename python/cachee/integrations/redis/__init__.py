"""The drop-in for redis-py and valkey-py: an `Integration` that hooks their client classes.

What is hooked: on each client class the hot methods (native) and `execute_command`; on each
pipeline class `execute` and `immediate_execute_command`. Nothing is replaced in connections, pools
or parsers. A library that has not been imported yet is hooked when something imports it, never
imported from here: importing it costs time that a process which never uses it should not pay, and
it imports ssl, which gevent must patch first.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from cachee import _core
from cachee._engine import Process
from cachee.integrations.redis import blocking, greenlets
from cachee.integrations.redis.library import LIBRARIES, Flavour, flavours
from cachee.integrations.redis.views import (
    COMMAND_OF_METHOD,
    VIEW,
    PoolAttribute,
    View,
    forget_views,
    view_of_client,
    view_of_pool,
)

__all__ = ["RedisIntegration"]

_ABSENT = object()


class RedisIntegration:
    """Hooks redis-py and valkey-py for one process state."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._replaced: list[tuple[type, str, object, object]] = []
        self._finder = _ImportFinder(self._hook_library)
        self._hooked: set[str] = set()

    def attach(self, process: Process) -> None:
        """Hook what is imported, and the rest when it will be."""
        self._process = process
        for library in LIBRARIES:
            if _is_imported(library):
                self._hook_library(library)
        if len(self._hooked) < len(LIBRARIES):
            sys.meta_path.insert(0, self._finder)

    def detach(self) -> None:
        """Put the classes back as they were; a hook that someone wrapped stays, without effect.

        The class attribute `_cachee_view` stays, None: a bound hook taken before still reads it.
        """
        self._process = None
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        forget_views()
        for cls, name, original, hook in reversed(self._replaced):
            if vars(cls).get(name) is not hook:
                continue
            if original is _ABSENT:
                delattr(cls, name)
            else:
                setattr(cls, name, original)
        self._replaced.clear()
        self._hooked.clear()

    def forget(self) -> None:
        """In a forked child: its clients are enrolled anew at their next call."""
        forget_views()
        greenlets.forget_hubs()
        loops = sys.modules.get("cachee.integrations.redis.loops")
        if loops is not None:
            loops.forget_loops()

    def _hook_library(self, library: str) -> None:
        if library in self._hooked or self._process is None:
            return
        self._hooked.add(library)
        if len(self._hooked) == len(LIBRARIES) and self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        for flavour in flavours(library):
            self._hook_flavour(flavour)

    def _hook_flavour(self, flavour: Flavour) -> None:
        hooks: Any = blocking
        if flavour.asynchronous:
            from cachee.integrations.redis import asynchronous as hooks  # it imports asyncio
        client, pipeline = flavour.client, flavour.pipeline
        setattr(client, VIEW, None)

        def of_client(instance: Any) -> View | None:
            process = self._process
            return None if process is None else view_of_client(process, flavour, instance)

        def of_pipeline(instance: Any) -> View | None:
            process = self._process
            if process is None:
                return None
            return view_of_pool(process, flavour, instance.connection_pool)

        self._put(client, "connection_pool", PoolAttribute())
        self._replace(client, "execute_command", hooks.hook_execute_command, of_client)
        self._replace(pipeline, "execute", hooks.hook_execute, of_pipeline)
        self._replace(pipeline, "immediate_execute_command", hooks.hook_immediate, of_pipeline)
        for name in COMMAND_OF_METHOD:
            own = vars(client).get(name, _ABSENT)
            original = getattr(client, name)
            hook = _core.install_method(client, name, original, asynchronous=flavour.asynchronous)
            self._replaced.append((client, name, own, hook))

    def _replace(
        self,
        cls: type,
        name: str,
        make: Callable[[Callable[..., Any], Callable[[Any], View | None]], Callable[..., Any]],
        view_of: Callable[[Any], View | None],
    ) -> None:
        self._put(cls, name, make(getattr(cls, name), view_of))

    def _put(self, cls: type, name: str, hook: object) -> None:
        self._replaced.append((cls, name, vars(cls).get(name, _ABSENT), hook))
        setattr(cls, name, hook)


def _is_imported(library: str) -> bool:
    """Whether the import of the whole package has ended, its asyncio half included."""
    module = sys.modules.get(library)
    spec = getattr(module, "__spec__", None)
    return module is not None and not getattr(spec, "_initializing", False)


class _ImportFinder(importlib.abc.MetaPathFinder):
    """Finds the libraries as anyone would, and calls back when one has been imported."""

    def __init__(self, imported: Callable[[str], None]) -> None:
        self._imported = imported

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in LIBRARIES:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is None:
                continue
            if spec.loader is not None:
                spec.loader = _Loader(spec.loader, self._imported)
            return spec
        return None


class _Loader(importlib.abc.Loader):
    """Another loader's work, and a call after it."""

    def __init__(self, loader: importlib.abc.Loader, imported: Callable[[str], None]) -> None:
        self._loader = loader
        self._imported = imported

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._imported(module.__name__)
