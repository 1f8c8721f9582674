"""Rules 1 and 2: replies and pushes are applied in the order of the bytes on the link."""

import pytest

from cachee.conformance.stage import Call
from tests.conformance.conftest import Stage
from tests.harness.drop_in import Spy
from tests.harness.relay import Connection
from tests.harness.waiting import until

P1_S = 1.0


def _settles_on(stage: Stage, value: bytes, key: str = "k") -> None:
    """The new value is seen within P1, and the old one never again."""
    until(lambda: stage.client.get(key) == value, f"{key} reads {value!r}", patience_s=P1_S)
    assert {stage.client.get(key) for _ in range(100)} == {value}
    assert stage.warm(key) == value


def _fetch_held(stage: Stage, link: Connection, key: str = "k") -> Call:
    """A first read of `key` whose reply waits in the relay."""
    stage.server.call("SET", key, "old")
    link.down.hold()
    read = Call(lambda: stage.client.get(key))
    link.down.wait_frame(b"old")
    return read


def test_reply_and_push_in_one_segment(stage: Stage) -> None:
    link = stage.link()
    read = _fetch_held(stage, link)
    stage.server.call("SET", "k", "new")
    link.down.wait_push()
    link.down.flow()
    assert read.result() in (b"old", b"new")
    _settles_on(stage, b"new")


def test_reply_then_push_one_frame_at_a_time(stage: Stage) -> None:
    link = stage.link()
    read = _fetch_held(stage, link)
    stage.server.call("SET", "k", "new")
    before = link.down.wait_push()
    for _ in range(before):
        link.down.release(1)
    link.down.release(1)
    link.down.flow()
    assert read.result() in (b"old", b"new")
    _settles_on(stage, b"new")


def test_reply_and_push_in_single_bytes(stage: Stage) -> None:
    link = stage.link()
    read = _fetch_held(stage, link)
    stage.server.call("SET", "k", "new")
    link.down.wait_push()
    link.down.flow()
    link.down.fragment(1)
    assert read.result() in (b"old", b"new")
    _settles_on(stage, b"new")


def test_a_write_between_the_read_and_its_ttl_voids_the_entry(stage: Stage) -> None:
    """GET, then the change, then PTTL: value and deadline do not belong together."""
    link = stage.link()
    stage.server.call("SET", "k", "old")
    link.up.hold()
    read = Call(lambda: stage.client.get("k"))
    spy = Spy(stage.server, "get")
    link.up.release_through(b"GET")
    until(lambda: spy.asked == 1, "GET is executed")
    stage.server.call("SET", "k", "new", "PX", "3600000")
    link.up.flow()
    assert read.result() in (b"old", b"new")
    _settles_on(stage, b"new")


def test_a_key_that_ended_between_the_read_and_its_ttl_is_not_kept(stage: Stage) -> None:
    link = stage.link()
    stage.server.call("SET", "k", "old")
    link.up.hold()
    read = Call(lambda: stage.client.get("k"))
    spy = Spy(stage.server, "get")
    link.up.release_through(b"GET")
    until(lambda: spy.asked == 1, "GET is executed")
    stage.server.call("DEL", "k")
    link.up.flow()
    assert read.result() in (b"old", None)
    until(lambda: stage.client.get("k") is None, "the end is seen", patience_s=P1_S)
    assert {stage.client.get("k") for _ in range(50)} == {None}


def test_a_push_for_an_older_read_does_not_void_the_fetch_behind_it(stage: Stage) -> None:
    link = stage.link()
    stage.warm("k", "old")
    link.down.hold()
    stage.server.call("SET", "k", "longer")
    link.down.wait_push()
    read = Call(lambda: stage.client.strlen("k"))
    link.down.wait_frame(b":6\r\n")
    link.down.flow()
    assert read.result() == 6
    spy = Spy(stage.server, "strlen")
    assert stage.client.strlen("k") == 6
    assert spy.asked == 0, "the fetch was voided by a push that came before its reply"
    _settles_on(stage, b"longer")


def test_reads_and_writes_in_one_turn_of_the_server(stage: Stage) -> None:
    """A busy server executes a queued read and write together: reply and push in one segment."""
    stage.link()
    sleeper, writer = stage.server.fresh_wire(), stage.server.fresh_wire()
    rounds = 40
    stage.server.fill([("SET", f"r{at}", "old") for at in range(rounds)])
    for at in range(rounds):
        nap = Call(lambda: sleeper("DEBUG", "SLEEP", "0.004"))
        read = Call(lambda at=at: stage.client.get(f"r{at}"))
        write = Call(lambda at=at: writer("SET", f"r{at}", "new"))
        assert read.result() in (b"old", b"new")
        nap.result()
        write.result()
    sleeper.close()
    writer.close()

    def stale() -> list[int]:
        return [at for at in range(rounds) if stage.client.get(f"r{at}") != b"new"]

    until(lambda: not stale(), "no old value is left", patience_s=P1_S)


def test_two_readers_of_one_cold_key_share_the_flight(stage: Stage) -> None:
    link = stage.link()
    other = stage.another()
    stage.server.call("SET", "k", "value")
    spy = Spy(stage.server, "get")
    link.up.hold()
    readers = [Call(lambda r=r: r.get("k")) for r in (stage.client, other) * 3]
    link.up.wait_frame(b"GET")
    link.up.flow()
    assert [reader.result() for reader in readers] == [b"value"] * 6
    assert spy.asked == 1


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_fragmented_replies(stage: Stage, size: int) -> None:
    link = stage.link()
    link.down.fragment(size)
    stage.server.call("SET", "k", "x" * 5000)
    stage.server.call("HSET", "h", *[word for n in range(50) for word in (f"f{n}", n)])
    assert stage.client.get("k") == b"x" * 5000
    assert stage.client.hgetall("h") == {b"f%d" % n: b"%d" % n for n in range(50)}
    stage.server.call("SET", "k", "y" * 4000)
    _settles_on(stage, b"y" * 4000)
