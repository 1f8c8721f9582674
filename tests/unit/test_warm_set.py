"""The names of hot keys on disk: written whole, read back whole or not at all."""

import json
import os
import zlib

import pytest

from cachee import _hot_keys as snapshot
from cachee import _warm_set as warm
from cachee._hot_keys import SnapshotError
from tests.harness.native_proxy import NativeProxy

UPSTREAM = "redis://app:***@h:6379"
NAMES = [
    ("default", 0, [b"GET", b"user:42"]),
    ("app", 3, [b"HGET", b'\x00\xff\r\n"', "schlüssel".encode()]),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "hot"


def test_what_is_written_is_read_back(path):
    assert snapshot.write(path, UPSTREAM, NAMES) == 2
    assert snapshot.read(path, UPSTREAM) == NAMES


def test_the_header_says_what_it_is(path):
    snapshot.write(path, UPSTREAM, NAMES)
    header = json.loads(path.read_bytes().splitlines()[0])
    assert (header["format"], header["version"]) == ("cachee hot keys", 1)
    assert (header["upstream"], header["count"]) == (UPSTREAM, 2)


def test_only_its_owner_may_read_it(path):
    snapshot.write(path, UPSTREAM, NAMES)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_no_file_is_no_names(path):
    assert snapshot.read(path, UPSTREAM) == []


def test_a_write_that_fails_leaves_the_file_and_nothing_else(path, monkeypatch):
    snapshot.write(path, UPSTREAM, NAMES)

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        snapshot.write(path, UPSTREAM, NAMES[:1])
    monkeypatch.undo()
    assert snapshot.read(path, UPSTREAM) == NAMES
    assert list(path.parent.iterdir()) == [path]


def test_what_an_earlier_write_left_is_no_obstacle(path):
    path.with_name("hot.1.new").write_text("half")
    snapshot.write(path, UPSTREAM, NAMES)
    assert snapshot.read(path, UPSTREAM) == NAMES


def test_it_is_bounded(path, monkeypatch):
    monkeypatch.setattr(snapshot, "NAMES_MAX", 3)
    names = [("default", 0, [b"GET", b"%d" % number]) for number in range(10)]
    assert snapshot.write(path, UPSTREAM, names) == 3
    huge = ("default", 0, [b"GET", b"x" * snapshot.NAME_BYTES_MAX])
    assert snapshot.write(path, UPSTREAM, [huge, names[0]]) == 1
    assert snapshot.read(path, UPSTREAM) == [names[0]]


def changed(path, **header):
    """The file with other fields in its header."""
    first, _, body = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(first), **header}).encode() + b"\n" + body)


def with_body(path, body):
    """The file with another body, and the checksum that fits it."""
    path.write_bytes(path.read_bytes().partition(b"\n")[0] + b"\n" + body)
    changed(path, crc32=zlib.crc32(body), count=len(body.splitlines()))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(b""), "not a file of hot keys"),
        (lambda path: path.write_bytes(b"REDIS0011\xfa\t"), "not a file of hot keys"),
        (lambda path: path.write_bytes(b"[" * 100_000), "not a file of hot keys"),
        (lambda path: changed(path, format="other"), "not a file of hot keys"),
        (lambda path: changed(path, version=2), "version is 2"),
        (lambda path: changed(path, upstream="redis://else:6379"), "upstream is 'redis://else"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x\n"), "damaged"),
        (lambda path: changed(path, count=7), "damaged"),
        (lambda path: with_body(path, b'["a", 0, []]\n'), "not a name"),
        (lambda path: with_body(path, b'["a", -1, ["GET"]]\n'), "not a name"),
        (lambda path: with_body(path, b'["a", 4294967296, ["GET", "x"]]\n'), "not a name"),
        (lambda path: with_body(path, b'["\\ud800", 0, ["GET", "x"]]\n'), "not a name"),
        (lambda path: with_body(path, b'["a", 0, [7]]\n'), "not a name"),
        (lambda path: with_body(path, b'["a", 0, ["\\u1234"]]\n'), "not a name"),
        (lambda path: with_body(path, b"GET x\n"), "not a name"),
    ],
)
def test_a_foreign_or_damaged_file_is_not_used(path, spoil, says):
    snapshot.write(path, UPSTREAM, NAMES)
    spoil(path)
    with pytest.raises(SnapshotError, match=says):
        snapshot.read(path, UPSTREAM)


def test_a_pipe_nobody_writes_to_is_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(SnapshotError, match="not a file"):
        snapshot.read(path, UPSTREAM)


def test_where_no_thread_can_be_started_there_is_no_warm_set(path, monkeypatch, caplog):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(warm.threading.Thread, "start", refuse)
    proxy = NativeProxy(listen=[], upstream={}, settings={})
    assert warm.WarmThread.start(proxy, str(path)) is None
    assert f"snapshot {path} is not used: can't start new thread" in caplog.text


def test_a_directory_is_not_used(tmp_path):
    with pytest.raises(SnapshotError, match="directory"):
        snapshot.read(tmp_path, UPSTREAM)


def make(path, say, upstream="redis://h:6379"):
    proxy = NativeProxy(listen=[], upstream={}, settings={})
    return proxy, warm.WarmSet(proxy, str(path), upstream, say)


def test_names_of_the_last_run_are_handed_over_once_the_upstream_answers(path):
    snapshot.write(path, "redis://h:6379", NAMES)
    said = []
    proxy, warm_set = make(path, said.append)
    proxy.answering = False
    assert warm_set.tick() == warm.WARM_POLL_S
    assert proxy.warmed == []
    proxy.answering = True
    assert warm_set.tick() > warm.WARM_POLL_S
    warm_set.tick()
    assert proxy.warmed == NAMES
    assert said == []


def test_a_file_that_cannot_be_used_is_said_and_replaced(path):
    path.write_text("something else")
    said = []
    proxy, warm_set = make(path, said.append)
    warm_set.tick()
    assert said == [f"snapshot {path} is not used: it is not a file of hot keys"]
    proxy.hot = NAMES
    warm_set.save()
    assert snapshot.read(path, "redis://h:6379") == NAMES


def test_nothing_hot_leaves_the_file_as_it_was(path):
    snapshot.write(path, "redis://h:6379", NAMES)
    make(path, print)[1].save()
    assert snapshot.read(path, "redis://h:6379") == NAMES


def test_a_failing_write_is_said_once(tmp_path):
    said = []
    proxy, warm_set = make(tmp_path / "absent" / "hot", said.append)
    proxy.hot = NAMES
    warm_set.save()
    warm_set.save()
    assert len(said) == 1
    assert "is not written: No such file" in said[0]


def test_names_are_written_soon_and_then_less_often(path, monkeypatch):
    now, saved = [0.0], []
    monkeypatch.setattr(warm.time, "monotonic", lambda: now[0])
    warm_set = make(path, print)[1]
    monkeypatch.setattr(warm_set, "save", lambda: saved.append(now[0]))
    while now[0] < 200:
        now[0] += warm_set.tick()
    assert saved == [5, 15, 35, 75, 135, 195]
