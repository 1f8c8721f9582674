"""A client behind a relay, with cachee on and its link known."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.clients import Clients
from tests.harness.drop_in import installed, warm
from tests.harness.relay import Connection, Relay
from tests.harness.servers import Server


class Stage:
    """One client under cachee, its server, and the relay between them."""

    def __init__(self, server: Server, relay: Relay, clients: Clients, flavour: str):
        self.server, self.relay, self.clients, self.flavour = server, relay, clients, flavour
        self.client = self.another()

    def another(self, **options: Any) -> Any:
        """A further client of the same flavour through the same relay."""
        return self.clients.make(self.flavour, self.relay.port, **options)

    def warm(self, key: str = "k", value: str | None = None) -> Any:
        """Caches a string key (set by someone else if a value is given), proven by a hit."""
        if value is not None:
            self.server.call("SET", key, value)
        return warm(self.server, lambda: self.client.get(key), "get")

    def link(self) -> Connection:
        """The link, up and serving: a first hit has been seen through it."""
        self.warm("warm-up", "1")
        return self.relay.link()

    def connection_of(self, name: str) -> Connection:
        """The application's connection of a client that was given that name."""
        matching = [each for each in self.relay.connections if each.name == name.encode()]
        assert len(matching) == 1
        return matching[0]


@pytest.fixture
def stage(server: Server, relay: Relay, clients: Clients, flavour: str) -> Iterator[Stage]:
    """cachee with its default settings but for nothing."""
    with installed():
        yield Stage(server, relay, clients, flavour)


@pytest.fixture
def quick_stage(server: Server, relay: Relay, clients: Clients, flavour: str) -> Iterator[Stage]:
    """The same with `max_staleness` of 300 ms, for tests that sit it out."""
    with installed(max_staleness="300ms"):
        yield Stage(server, relay, clients, flavour)
