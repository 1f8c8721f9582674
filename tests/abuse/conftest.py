"""A server, the proxy before it, and how much of everything a test does."""

from collections.abc import Callable, Iterator

import pytest

from tests.harness.proxies import Proxy, proxy
from tests.harness.resp import Wire
from tests.harness.servers import Server
from tests.harness.waiting import until

SLACK = 6.0


class Amount:
    """`--abuse`: how many times as much; times are held to their bars from twice as much on."""

    def __init__(self, factor: float):
        self._factor = factor

    def __call__(self, count: int) -> int:
        return max(int(count * self._factor), 1)

    def bar(self, value: float) -> float:
        """A time that must not be exceeded."""
        return value if self._factor >= 2 else value * SLACK


@pytest.fixture
def amount(request: pytest.FixtureRequest) -> Amount:
    """How much of everything."""
    return Amount(request.config.getoption("--abuse"))


@pytest.fixture
def front(own_server: Server) -> Iterator[Proxy]:
    """A proxy with its default settings before a server of the test's own."""
    with proxy(upstream=f"redis://127.0.0.1:{own_server.port}") as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Callable[[Proxy], Wire]]:
    """Makes connections through a proxy, closed at the end."""
    wires: list[Wire] = []

    def make(running: Proxy, protocol: int = 2) -> Wire:
        wires.append(Wire(("127.0.0.1", running.port), protocol=protocol))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


def warm(running: Proxy, wire: Wire, *command: object) -> object:
    """Asks until an answer came from the L1; a test that begins so cannot pass by not caching."""

    def from_the_l1() -> bool:
        before = running.stats()["hits"]
        wire(*command)
        return bool(running.stats()["hits"] > before)

    until(from_the_l1, f"{command} answered from the L1")
    return wire(*command)
