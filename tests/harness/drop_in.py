"""Switching cachee on for a block, and the proofs that a read was or was not answered locally."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import cachee
from tests.harness.servers import Server
from tests.harness.waiting import until


@contextlib.contextmanager
def installed(**settings: Any) -> Iterator[None]:
    """cachee under this process's clients for one block."""
    cachee.install(**settings)
    try:
        yield
    finally:
        cachee.uninstall()


class Spy:
    """Counts how often one server was asked for a command."""

    def __init__(self, server: Server, *commands: str):
        self._server = server
        self._commands = commands
        self._before = self._now()

    def _now(self) -> int:
        return self._server.calls(*self._commands)

    def reset(self) -> None:
        self._before = self._now()

    @property
    def asked(self) -> int:
        return self._now() - self._before


def warm(server: Server, read: Callable[[], Any], *commands: str) -> Any:
    """Reads until one read was answered without the server being asked; returns that answer.

    A test that begins so cannot pass by not caching.
    """
    answer: list[Any] = []

    def answered_locally() -> bool:
        spy = Spy(server, *commands)
        answer[:] = [read()]
        return spy.asked == 0

    until(answered_locally, f"{'/'.join(commands)} answered locally; {explain_links()}")
    return answer[0]


def explain_links() -> str:
    """What cachee says of itself, for the message of a failed wait."""
    return str(cachee.stats())
