"""Through the proxy comes what the server itself says; and the test can tell when it does not."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.differential import run
from tests.harness.relay import Connection, Relay
from tests.harness.servers import Server

COMMANDS = 20_000
STREAMS = 1_500


def _told(capsys: pytest.CaptureFixture[str], outcome: run.Outcome) -> None:
    with capsys.disabled():
        print(f"\n{outcome}")


@pytest.mark.parametrize("protocol", [2, 3])
def test_every_reply_is_the_servers_own(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], protocol: int
) -> None:
    count = request.config.getoption("--differential-commands") or COMMANDS
    seed = request.config.getoption("--differential-seed")
    outcome = run.commands(count, seed, protocol)
    _told(capsys, outcome)
    # A push that the client asked for by CLIENT TRACKING has no promised place among the replies.
    again = [each for each in outcome.differences if "did not come again" not in each]
    assert again == []
    assert outcome.counts, "too few hits: the run does not count"


def test_garbage_is_answered_as_by_the_server(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    count = request.config.getoption("--garbage-streams") or STREAMS
    outcome = run.streams(count, request.config.getoption("--differential-seed"))
    _told(capsys, outcome)
    assert outcome.differences == []


def _relayed(change: Callable[[bytes], bytes]) -> run.Through:
    """A relay that changes replies, in the place of the proxy."""

    @contextlib.contextmanager
    def through(server: Server) -> Iterator[run.Between]:
        def broken(connection: Connection) -> None:
            connection.down.rewrite(change)

        relay = Relay(server.address)
        relay.on_connect = broken
        with relay:
            yield run.Between(relay.port)

    return through


def _stale() -> Callable[[bytes], bytes]:
    """Sometimes the reply before, as from a cache without invalidations."""
    seen = [b"", 0]

    def change(frame: bytes) -> bytes:
        before, count = seen
        seen[:] = [frame, count + 1]
        return before if count % 997 == 996 and before[:1] == b"$" else frame

    return change


MUTATIONS: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "a reply of a moment ago": _stale,
    "a missing value in the other RESP version": lambda: (
        lambda frame: b"_\r\n" if frame == b"$-1\r\n" else frame
    ),
    "an error in other words": lambda: lambda frame: frame.replace(b"WRONGTYPE", b"ERR"),
}


def test_without_anything_between_there_is_no_difference() -> None:
    assert run.commands(5_000, 11, 2, run.nothing).differences == []
    assert run.streams(100, 11, run.nothing).differences == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_reply_changed_on_purpose_is_found(name: str) -> None:
    outcome = run.commands(20_000, 5, 2, _relayed(MUTATIONS[name]()))
    assert outcome.differences != []


@contextlib.contextmanager
def _other_limits(server: Server) -> Iterator[run.Between]:
    """The twin itself, which takes longer bulks than the first."""
    server.call("CONFIG", "SET", "proto-max-bulk-len", "1gb")
    yield run.Between(server.port)


def test_garbage_answered_otherwise_is_found() -> None:
    assert run.streams(200, 5, _other_limits).differences != []
