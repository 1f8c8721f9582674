"""Rule 3: a process reads its own writes, of every kind, however late the server's push is."""

import pytest

from cachee.conformance.stage import Call
from tests.conformance.conftest import Stage
from tests.conformance.writes import WRITES
from tests.harness.clients import exceptions_of
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.waiting import until
from tests.integration.reads import outcome

KNOWN = [name for name, write in WRITES.items() if not write.pushed]
PUSHED = [name for name, write in WRITES.items() if write.pushed]
_COMMANDS = ("get", "hget", "hgetall", "lrange", "smembers", "zrange", "exists", "geopos", "xlen")


def _prepared(stage: Stage, name: str) -> object:
    """The key as it was before the write, cached and proven so."""
    write = WRITES[name]
    if write.before:
        stage.server.fill(write.before)
    return warm(stage.server, lambda: outcome(write.read, stage.client), *_COMMANDS)


@pytest.mark.parametrize("name", KNOWN)
def test_a_write_whose_keys_are_known_needs_no_push(
    server, relay, clients, flavour, name: str
) -> None:
    relay.on_link = lambda link: link.down.drop_pushes()
    with installed():
        stage = Stage(server, relay, clients, flavour)
        before = _prepared(stage, name)
        outcome(WRITES[name].write, stage.client)
        after = outcome(WRITES[name].read, stage.client)
    assert after == outcome(WRITES[name].read, stage.client), "the truth once cachee is off"
    assert after != before


@pytest.mark.parametrize("name", PUSHED)
def test_a_write_whose_keys_only_the_server_knows_waits_for_the_push(
    stage: Stage, name: str
) -> None:
    write, link = WRITES[name], stage.link()
    before = _prepared(stage, name)
    link.down.hold()
    outcome(write.write, stage.client)
    read = Call(lambda: outcome(write.read, stage.client))
    link.down.wait_push()
    while not read.done:
        link.down.release(1)
    link.down.flow()
    assert read.result() != before
    assert outcome(write.read, stage.client) == read.result()


@pytest.mark.parametrize("name", PUSHED)
def test_the_barrier_falls_again(stage: Stage, name: str) -> None:
    before = _prepared(stage, name)
    outcome(WRITES[name].write, stage.client)
    after = outcome(WRITES[name].read, stage.client)
    assert after != before
    assert after == warm(stage.server, lambda: outcome(WRITES[name].read, stage.client), *_COMMANDS)


def test_reading_own_writes_across_clients_of_one_process(stage: Stage) -> None:
    link = stage.link()
    other = stage.another(decode_responses=True)
    stage.warm("k", "0")
    link.down.drop_pushes()
    for number in range(1, 200):
        writer, reader = (stage.client, other) if number % 2 else (other, stage.client)
        writer.set("k", number)
        assert int(reader.get("k")) == number
        assert int(writer.get("k")) == number


def test_a_write_in_flight_keeps_the_key_out_of_the_cache(stage: Stage) -> None:
    stage.link()
    writer = stage.another(client_name="writer")
    writer.ping()
    stage.warm("k", "old")
    wire = stage.connection_of("writer")
    wire.up.hold()
    write = Call(lambda: writer.set("k", "new"))
    wire.up.wait_frame(b"SET")
    spy = Spy(stage.server, "get")
    assert [stage.client.get("k") for _ in range(3)] == [b"old"] * 3
    assert spy.asked == 3, "read while a write was in flight and kept"
    wire.down.hold()
    wire.up.flow()
    until(lambda: stage.server.call("GET", "k") == b"new", "the write is done at the server")
    assert stage.client.get("k") == b"new"
    wire.down.flow()
    assert write.result() is True
    assert stage.warm("k") == b"new"


def test_a_read_that_left_before_the_write_is_not_kept(stage: Stage) -> None:
    link = stage.link()
    stage.server.call("SET", "k", "old")
    link.down.hold()
    early = Call(lambda: stage.client.get("k"))
    link.down.wait_frame(b"old")
    stage.client.set("k", "new")
    late = Call(lambda: stage.client.get("k"))
    link.down.flow()
    assert early.result() in (b"old", b"new")
    assert late.result() == b"new"
    assert stage.client.get("k") == b"new"
    assert stage.warm("k") == b"new"


def test_a_stale_fill_does_not_replace_the_fill_of_a_later_reader(stage: Stage) -> None:
    """Three readers around two writes: each fill has a token of its own, none is shared."""
    link = stage.link()
    link.down.drop_pushes()
    stage.server.call("SET", "k", "1")
    link.down.hold()
    readers = []
    for value in ("1", "2", "3"):
        stage.client.set("k", value)
        readers.append(Call(lambda: stage.client.get("k")))
        link.down.wait_frame(value.encode())
    link.down.flow()
    assert readers[2].result() == b"3"
    assert [reader.result() >= str(at + 1).encode() for at, reader in enumerate(readers)] == [
        True
    ] * 3
    assert stage.client.get("k") == b"3"
    assert stage.warm("k") == b"3"


def test_a_write_that_timed_out_and_happened_later(stage: Stage) -> None:
    stage.link()
    writer = stage.another(client_name="writer", socket_timeout=0.2, retry=None)
    writer.ping()
    stage.warm("k", "old")
    wire = stage.connection_of("writer")
    wire.up.hold()
    with pytest.raises(exceptions_of(stage.flavour).TimeoutError):
        writer.set("k", "new")
    assert stage.client.get("k") == b"old"
    wire.up.flow()
    until(lambda: stage.server.call("GET", "k") == b"new", "the write is done at the server")
    until(lambda: stage.client.get("k") == b"new", "the late write is seen", patience_s=1.0)
    assert {stage.client.get("k") for _ in range(50)} == {b"new"}


def test_a_write_refused_by_the_server_changes_nothing(stage: Stage) -> None:
    stage.server.call("SET", "k", "text")
    stage.warm("k")
    with pytest.raises(exceptions_of(stage.flavour).ResponseError):
        stage.client.incr("k")
    assert stage.warm("k") == b"text"


def test_an_aborted_transaction_changes_nothing(stage: Stage) -> None:
    stage.warm("k", "old")
    pipe = stage.client.pipeline()
    pipe.watch("k")
    stage.server.call("SET", "k", "foreign")
    pipe.multi()
    pipe.set("k", "mine")
    with pytest.raises(exceptions_of(stage.flavour).WatchError):
        pipe.execute()
    assert stage.client.get("k") == b"foreign"
    assert stage.warm("k") == b"foreign"
