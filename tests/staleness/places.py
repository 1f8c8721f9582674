"""Where the L1 is: in each process under the client library, or in one proxy for all of them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cachee
from cachee import Snapshot
from tests.harness.proxies import proxy
from tests.staleness.board import FOREIGN_WRITER, MAX_STALENESS_S, WRITERS

_MAX_STALENESS = f"{MAX_STALENESS_S * 1000:.0f}ms"


class Counted(NamedTuple):
    """Reads by where they were answered; reads sent ahead, and those of these asked for."""

    hits: int = 0
    misses: int = 0
    ahead: int = 0
    ahead_used: int = 0


@dataclass(frozen=True)
class Place:
    """The port clients connect to, what was counted, and whose writes all readers see at once."""

    port: int
    counted: Callable[[], Counted] = lambda: Counted()
    shared_writers: frozenset[int] = frozenset()
    # A read through the proxy takes a hundred times one in process: with as many writes as there,
    # most reads would follow one.
    write_pause_s: float = 0.012


def _ahead(prefetch: Mapping[str, int]) -> tuple[int, int]:
    used = prefetch.get("used", 0) + prefetch.get("late", 0)
    return prefetch.get("issued", 0), used


@contextlib.contextmanager
def in_process(upstream_port: int) -> Iterator[Place]:
    """cachee under this process's clients."""

    def counted() -> Counted:
        now: Snapshot = cachee.stats()
        return Counted(now.hits, now.misses, *_ahead(now.prefetch))

    cachee.install(max_staleness=_MAX_STALENESS)
    try:
        yield Place(upstream_port, counted)
    finally:
        cachee.uninstall()


PROXY_WRITE_PAUSE_S = 0.05
SHARED_WRITERS = frozenset(range(WRITERS)) - {FOREIGN_WRITER}


@contextlib.contextmanager
def in_proxy(upstream_port: int) -> Iterator[Place]:
    """`cachee proxy`; the clients are plain ones, and every writer but the foreign one is its."""
    upstream = f"redis://127.0.0.1:{upstream_port}"
    with proxy("--max-staleness", _MAX_STALENESS, upstream=upstream) as running:

        def counted() -> Counted:
            now = running.stats()
            return Counted(int(now["hits"]), int(now["misses"]), *_ahead(now["prefetch"]))

        yield Place(running.port, counted, SHARED_WRITERS, PROXY_WRITE_PAUSE_S)


@contextlib.contextmanager
def at_a_proxy(port: int) -> Iterator[Place]:
    """A further process's view of the proxy that another one has started and counts for."""
    yield Place(port, shared_writers=SHARED_WRITERS, write_pause_s=PROXY_WRITE_PAUSE_S)


PLACES = {"process": in_process, "proxy": in_proxy}
SECOND_PROCESS = {"process": in_process, "proxy": at_a_proxy}
