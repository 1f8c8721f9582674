"""The two client libraries as data: redis-py and valkey-py differ in names, not in shape.

Each has a synchronous and an asyncio client class, each with a pipeline class; both keep the class
that opens a connection and its arguments in the pool, which is what a link can be mirrored from.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

__all__ = ["LIBRARIES", "Flavour", "flavours"]

LIBRARIES = ("redis", "valkey")
"""Top-level packages that are hooked as soon as something imports them."""


@dataclass(frozen=True)
class Flavour:
    """One client class of a library, with all that is needed to hook and to mirror it."""

    library: str
    asynchronous: bool
    client: type
    pipeline: type
    tcp_class: type
    tls_class: type
    unix_class: type
    response_error: type[Exception]
    default_protocol: int
    default_parser: type
    old: bool
    """redis-py before 5.1, whose own RESP3 parser gives Python sets."""
    default_callbacks: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    tls_defaults: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For reasons and warnings: redis.Redis, valkey.asyncio.Valkey."""
        middle = ".asyncio" if self.asynchronous else ""
        return f"{self.library}{middle}.{self.client.__name__}"


def flavours(library: str) -> list[Flavour]:
    """Both client classes of a library that has been imported."""
    found = []
    for asynchronous in (False, True):
        root = f"{library}.asyncio" if asynchronous else library
        client_module = sys.modules.get(f"{root}.client")
        connection_module = sys.modules.get(f"{root}.connection")
        if client_module is None or connection_module is None:
            continue
        found.append(_flavour(library, client_module, connection_module, asynchronous=asynchronous))
    return found


def _flavour(
    library: str, clients: ModuleType, connections: ModuleType, *, asynchronous: bool
) -> Flavour:
    exceptions = sys.modules[f"{library}.exceptions"]
    tls_class: type = connections.SSLConnection
    return Flavour(
        library=library,
        asynchronous=asynchronous,
        client=clients.Valkey if library == "valkey" else clients.Redis,
        pipeline=clients.Pipeline,
        tcp_class=connections.Connection,
        tls_class=tls_class,
        unix_class=connections.UnixDomainSocketConnection,
        response_error=exceptions.ResponseError,
        default_parser=connections.DefaultParser,
        old=_is_old(library),
        default_protocol=int(getattr(connections, "DEFAULT_RESP_VERSION", 2)),
        default_callbacks=_default_callbacks(library),
        tls_defaults={
            name: parameter.default
            for name, parameter in inspect.signature(tls_class).parameters.items()
            if name.startswith("ssl_")
        },
    )


def _is_old(library: str) -> bool:
    version = str(getattr(sys.modules[library], "__version__", "")).split(".")
    return library == "redis" and [int(part) for part in version[:2] if part.isdigit()] < [5, 1]


def _default_callbacks(library: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The callbacks a fresh client with these arguments would have, by upper-case name."""
    unified = sys.modules.get(f"{library}._parsers.response_callbacks")
    if unified is not None:

        def from_selector(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            callbacks: Mapping[str, Any] = unified.get_response_callbacks(
                user_protocol=arguments.get("protocol"),
                legacy_responses=arguments.get("legacy_responses", True),
            )
            return callbacks

        return from_selector
    tables = sys.modules[f"{library}._parsers.helpers"]
    stem = "_" + library.capitalize() + "Callbacks"

    def from_tables(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        resp3 = arguments.get("protocol") in ("3", 3)
        overlay = getattr(tables, stem + ("RESP3" if resp3 else "RESP2"))
        return {**getattr(tables, stem), **overlay}

    return from_tables
