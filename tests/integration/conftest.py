"""A plain client and a cached one on the shared Valkey."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.clients import Clients
from tests.harness.drop_in import installed
from tests.harness.servers import Server


@pytest.fixture
def client(server: Server, clients: Clients, flavour: str) -> Any:
    """A client of the flavour, made before cachee is installed."""
    return clients.make(flavour, server.port)


@pytest.fixture
def cached(client: Any) -> Iterator[Any]:
    """The same with cachee on; nothing is read ahead, so that reads can be counted."""
    with installed(prefetch="off"):
        yield client
