"""Rule 5 and P1: a link that is lost or silent stops serving, and what comes late is ignored."""

import signal
import subprocess
import time

import pytest

from cachee.conformance.stage import Call
from tests.conformance.conftest import Stage
from tests.harness import scripts
from tests.harness.drop_in import installed, warm
from tests.harness.relay import Connection
from tests.harness.servers import Server
from tests.harness.waiting import until

STALENESS_S = 0.3


def _sit_out(stage: Stage, changed_at: float, new: object, patience_s: float = 10.0) -> None:
    """Old reads are allowed to have begun up to the bound after the change, new ones stay new."""
    seen_new = False
    while not seen_new or time.monotonic() < changed_at + 3 * STALENESS_S:
        began = time.monotonic()
        value = stage.client.get("k")
        if value == new:
            seen_new = True
        else:
            assert value == b"old"
            assert not seen_new, "an old value after the new one"
            assert began <= changed_at + STALENESS_S, "older than max_staleness"
        assert began < changed_at + patience_s, "the new value never came"


LOSSES = {"end of stream": Connection.cut, "reset": Connection.reset}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_link(quick_stage: Stage, loss: str) -> None:
    stage = quick_stage
    link = stage.link()
    stage.warm("k", "old")
    LOSSES[loss](link)
    stage.server.call("SET", "k", "new")
    _sit_out(stage, time.monotonic(), b"new")
    assert stage.warm() == b"new"
    assert stage.relay.link() is not link


def test_a_link_killed_by_the_server(quick_stage: Stage) -> None:
    stage = quick_stage
    stage.link()
    stage.warm("k", "old")
    assert stage.server.kill_trackers() >= 1
    stage.server.call("SET", "k", "new")
    _sit_out(stage, time.monotonic(), b"new")
    assert stage.warm() == b"new"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_silence_is_noticed_without_an_end_of_stream(quick_stage: Stage, direction: str) -> None:
    stage = quick_stage
    link = stage.link()
    stage.warm("k", "old")
    getattr(link, direction).black_hole()
    stage.server.call("SET", "k", "new")
    _sit_out(stage, time.monotonic(), b"new")
    assert stage.warm() == b"new", "a new link took over"


def test_held_bytes_are_noticed_and_ignored_when_they_come(quick_stage: Stage) -> None:
    stage = quick_stage
    link = stage.link()
    stage.warm("k", "old")
    link.down.hold()
    stage.server.call("SET", "k", "new")
    _sit_out(stage, time.monotonic(), b"new")
    link.down.flow()
    assert {stage.client.get("k") for _ in range(100)} == {b"new"}
    assert stage.warm() == b"new"


def test_a_reply_of_the_lost_link_is_not_stored(quick_stage: Stage) -> None:
    """The old connection's reply is delivered when a new connection already serves."""
    stage = quick_stage
    link = stage.link()
    stage.server.call("SET", "k", "old")
    link.down.hold()
    read = Call(lambda: stage.client.get("k"))
    link.down.wait_frame(b"old")
    assert read.result() == b"old"
    stage.server.call("SET", "k", "new")
    until(
        lambda: [each for each in stage.relay.links() if each is not link],
        "a second link after the first fell silent",
    )
    link.down.flow()
    until(lambda: stage.client.get("k") == b"new", "the new value", patience_s=STALENESS_S * 2)
    assert {stage.client.get("k") for _ in range(100)} == {b"new"}
    assert stage.warm() == b"new"


def test_nothing_is_served_between_two_links(quick_stage: Stage) -> None:
    """The new connection is held in its handshake: reads go by the client's own way meanwhile."""
    stage = quick_stage
    link = stage.link()
    stage.warm("k", "old")
    stage.relay.on_link = lambda each: each.down.hold()
    stage.server.call("SET", "k", "between")
    link.cut()
    until(lambda: stage.client.get("k") == b"between", "the value written", patience_s=STALENESS_S)
    stage.server.call("SET", "k", "new")
    assert stage.client.get("k") == b"new", "served while no link covers it"
    until(stage.relay.links, "a second link in its handshake")
    stage.server.call("SET", "k", "newer")
    assert stage.client.get("k") == b"newer"
    stage.relay.on_link = None
    for each in stage.relay.links():
        each.down.flow()
    assert stage.warm() == b"newer"


def test_an_upstream_that_comes_and_goes(quick_stage: Stage) -> None:
    stage = quick_stage
    stage.link()
    for number in range(20):
        stage.server.call("SET", "k", number)
        until(lambda n=number: stage.client.get("k") == b"%d" % n, "the value", STALENESS_S * 2)
        for each in stage.relay.links():
            each.cut()
    assert stage.warm() == b"19"


def test_reconnecting_is_paced(quick_stage: Stage) -> None:
    """While every new connection is refused, attempts stay at 20 a second or below."""
    stage = quick_stage
    stage.link()
    stage.relay.refuse()
    for each in stage.relay.links():
        each.cut()
    before, began = stage.relay.accepted, time.monotonic()
    until(lambda: time.monotonic() > began + 1.0, "one second of refusals")
    attempts = stage.relay.accepted - before
    stage.relay.refuse(False)
    assert 1 <= attempts <= 22
    assert stage.warm("k", "v") == b"v"


@pytest.mark.parametrize("how", ["kill -9 and restart", "SIGSTOP and SIGCONT"])
def test_a_server_that_stops(own_server: Server, clients, flavour: str, how: str) -> None:
    client = clients.make(flavour, own_server.port, socket_timeout=5)
    own_server.call("SET", "k", "old")
    with installed(max_staleness="300ms"):
        assert warm(own_server, lambda: client.get("k"), "get") == b"old"
        if how.startswith("kill"):
            own_server.kill()
            stopped = time.monotonic()
            own_server.start()
            own_server.call("SET", "k", "new")
            until(lambda: client.get("k") == b"new", "the value of the new process", STALENESS_S)
        else:
            own_server.pause()
            stopped = time.monotonic()
            reads = Call(lambda: _read_until(client, stopped + STALENESS_S))
            until(lambda: time.monotonic() > stopped + 2 * STALENESS_S, "the bound has passed")
            assert not reads.done, "a hit was served although the server was silent for too long"
            own_server.resume()
            assert reads.result() == b"old"
            own_server.call("SET", "k", "new")
            until(lambda: client.get("k") == b"new", "the new value", STALENESS_S)
        assert warm(own_server, lambda: client.get("k"), "get") == b"new"


def _read_until(client, moment: float) -> object:
    """Reads over and over; returns the first read that began after the moment."""
    while True:
        late = time.monotonic() > moment
        value = client.get("k")
        if late:
            return value


def test_a_process_that_was_stopped_serves_nothing_old(own_server: Server) -> None:
    """SIGSTOP for longer than the bound: the pushes wait in its socket, the clock has gone on."""
    with subprocess.Popen(
        scripts.python(READER, own_server.port, STALENESS_S),
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=scripts.environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        own_server.call("SET", "k", "old")
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "reading\n"
        for number in range(5):
            process.send_signal(signal.SIGSTOP)
            own_server.call("SET", "k", f"new{number}")
            changed = time.monotonic()
            own_server.call("SET", "changed", changed)
            until(lambda c=changed: time.monotonic() > c + 2 * STALENESS_S, "twice the bound")
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline() == f"new{number}\n"
        assert process.stdin.close() is None
        assert process.wait(20) == 0


READER = """
import sys, time
import redis
import cachee

port, bound = int(sys.argv[1]), float(sys.argv[2])
cachee.install(max_staleness=f"{bound * 1000:.0f}ms")
client = redis.Redis(port=port, decode_responses=True)
sys.stdin.readline()
while cachee.stats().hits < 1000:
    last = client.get("k")
print("reading", flush=True)
for _ in range(5):
    late = 0.0
    while True:
        began = time.monotonic()
        value = client.get("k")
        if value != last:
            break
        late = began
    # The last read of the old value began before the stop, so before the change and the bound.
    changed = float(client.execute_command("GETSET", "changed", "0"))
    assert late <= changed + bound, f"old {late - changed} s after the change"
    last = value
    print(value, flush=True)
client.close()
"""


def test_an_idle_process_serves_nothing_from_before(quick_stage: Stage) -> None:
    """Nobody read for longer than the bound, and the pushes of that time are lost."""
    stage = quick_stage
    link = stage.link()
    stage.warm("k", "old")
    link.down.drop_pushes()
    stage.server.call("SET", "k", "new")
    idle_since = time.monotonic()
    until(lambda: time.monotonic() > idle_since + 2 * STALENESS_S, "idle for twice the bound")
    assert stage.client.get("k") == b"new"


def test_few_tracking_connections(stage: Stage) -> None:
    stage.link()
    for _ in range(8):
        stage.another().get("k")
    assert len(stage.server.trackers()) == 1
