"""What a case asks of a client, whatever library is behind it.

Keys are text, values are bytes; an adapter turns what its library takes and gives into these. What
a library does not offer is not applicable, with the reason. Calls block; `loop.py` lets them for
asynchronous libraries.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from cachee._errors import CacheeError
from cachee.conformance.verdict import NotApplicableError

Word = str | bytes | int
Words = Sequence[Word]

TIMEOUT_S = 2.0
# For clients that state no time after which a silent connection counts as lost.
UNSTATED_BOUND_S = 10.0


@dataclass(frozen=True)
class Opening:
    """How a client is opened; what is None is left at the library's default."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    database: int = 0
    decode: bool = False
    timeout_s: float = TIMEOUT_S
    max_age_ms: int | None = None
    max_memory: int | None = None
    health_check_s: int | None = None


class Watched(Protocol):
    """A key under WATCH, and what may follow on the same connection."""

    def get(self, key: str) -> bytes | None:
        """A read before MULTI."""

    def commit(self, commands: Sequence[Words]) -> list[Any] | None:
        """MULTI, the commands, EXEC; None when the transaction was refused."""

    def close(self) -> None:
        """UNWATCH and give the connection back."""


class Client:
    """A client with its cache on, in the configuration its documentation recommends."""

    distributions: tuple[str, ...] = ()
    # Packages the library uses where they are installed; for the record.
    accelerators: tuple[str, ...] = ()
    note = ""
    # How long entries may be served after their connection fell silent, as the client states it.
    silence_bound_s = UNSTATED_BOUND_S
    has_max_age = False
    bounds_bytes = False
    survives_fork = True
    has_health_check = False
    is_asynchronous = False

    def __init__(self, opening: Opening) -> None:
        self.opening = opening

    def server_key(self, key: str) -> str:
        """The name the server knows a key by."""
        return key

    def process_id(self) -> int:
        """The process that holds the cache."""
        return os.getpid()

    def close(self) -> None:
        """Give everything back."""

    # Reads.

    def get(self, key: str) -> bytes | None:
        """The value of a string."""
        self._lacks("GET")

    def get_decoded(self, key: str) -> Any:
        """What the library itself returns for a string."""
        self._lacks("GET")

    def get_by_bytes(self, key: str) -> bytes | None:
        """GET with the key given as bytes."""
        self._lacks("keys as bytes")

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of several strings."""
        self._lacks("MGET")

    def hget(self, key: str, field: str) -> bytes | None:
        """A field of a hash."""
        self._lacks("HGET")

    def hgetall(self, key: str) -> Any:
        """A hash, as the very object the library returns."""
        self._lacks("HGETALL")

    def smembers(self, key: str) -> Any:
        """A set, as the very object the library returns."""
        self._lacks("SMEMBERS")

    def lrange(self, key: str) -> Any:
        """A whole list, as the very object the library returns."""
        self._lacks("LRANGE")

    def pending(self, key: str, group: str) -> Any:
        """XPENDING of a group."""
        self._lacks("XPENDING")

    def sort_by(self, key: str, pattern: str) -> Any:
        """SORT_RO of a list by other keys."""
        self._lacks("SORT_RO")

    # Writes.

    def set(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        """SET, with PX when a time to live is given."""
        self._lacks("SET")

    def set_by_bytes(self, key: str, value: bytes) -> None:
        """SET with the key given as bytes."""
        self._lacks("keys as bytes")

    def delete(self, key: str) -> None:
        """DEL."""
        self._lacks("DEL")

    def expire(self, key: str, ttl_ms: int) -> None:
        """PEXPIRE."""
        self._lacks("PEXPIRE")

    def command(self, *words: Word) -> Any:
        """Any command as words, the way the library offers for commands it does not know."""
        self._lacks("commands given as words")

    def run_script(self, script: str, keys: Sequence[str], arguments: Words) -> Any:
        """EVAL."""
        self._lacks("scripts")

    # Connections of their own.

    def pipeline(self, commands: Sequence[Words], *, transaction: bool) -> list[Any]:
        """Many commands at once."""
        self._lacks("pipelines")

    def watch(self, key: str) -> Watched:
        """WATCH, on a connection that stays."""
        self._lacks("WATCH")

    def on_one_connection(self, commands: Sequence[Words]) -> list[Any]:
        """Commands one after the other on one connection."""
        self._lacks("connections of one's own")

    def cancelled_get(self, key: str, when_sent: Any) -> None:
        """Begin a GET, call `when_sent`, then cancel it."""
        raise NotApplicableError("calls that block cannot be cancelled")

    def _lacks(self, what: str) -> NoReturn:
        raise NotApplicableError(f"the client does not offer {what}")


def required(module: str, *distributions: str) -> Any:
    """The module of an optional package, or an error that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        wanted = " ".join(f"'{each}'" for each in distributions)
        raise CacheeError(f"{error}; install it with: pip install {wanted}") from error


def as_bytes(value: Any) -> bytes | None:
    """A string value as bytes, however the library decoded it."""
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else str(value).encode()
