"""`cachee audit`: what it calls equal, late and wrong, against real servers and the proxy."""

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cachee.cli import main
from tests.harness.proxies import proxy
from tests.harness.servers import Server
from tests.harness.waiting import until

VALUES: list[tuple[object, ...]] = [
    ("SET", "string", b"\xff\x00"),
    ("HSET", "hash", "f", "1", "g", "2"),
    ("RPUSH", "list", "a", "b"),
    ("SADD", "set", "a", "b", "c"),
    ("ZADD", "zset", "1.5", "a", "2", "b"),
]


@pytest.fixture
def cache(own_server: Server) -> Server:
    """A server in the place of a cache: it answers whatever it was told."""
    own_server.fill(VALUES)
    return own_server


@pytest.fixture
def store(server: Server) -> Iterator[Server]:
    server.fill(VALUES)
    yield server


def _url(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}"


def _audit(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["audit", *words, "--rate", "1e6", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_what_is_the_same_is_equal(store: Server, capsys: pytest.CaptureFixture[str]) -> None:
    store.call("XADD", "stream", "*", "f", "v")
    with proxy(upstream=_url(store)) as front:
        code, found = _audit(capsys, f"redis://127.0.0.1:{front.port}", _url(store))
        assert front.stats()["hits"] > 5_000, "the second of each two reads is a hit"
    assert (code, found["wrong"], found["late"], found["wrong_keys"]) == (0, 0, 0, [])
    assert found["equal"] == found["samples"] >= 10_000
    assert found["skipped"] == found["samples"] / 10, "the stream, once in ten answers"


@pytest.mark.parametrize("change", VALUES, ids=lambda each: each[1])
def test_what_stays_old_is_wrong(
    cache: Server, store: Server, capsys: pytest.CaptureFixture[str], change: tuple[object, ...]
) -> None:
    store.call("DEL", change[1])
    store.call(*change[:-1], "other")
    bound = ("--max-staleness", "50ms", "--samples", "10")
    code, found = _audit(capsys, _url(cache), _url(store), *bound)
    assert code == 1
    assert (found["samples"], found["equal"], found["wrong"]) == (10, 8, 2)
    assert found["wrong_keys"] == [change[1]] * 2


def test_what_is_right_again_in_time_is_late(
    cache: Server, store: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    store.call("SET", "string", "new")
    asked = cache.calls("GET")

    def mends() -> None:
        # The two answers that are compared, and one more look.
        until(lambda: cache.calls("GET") >= asked + 3, "the old answer was seen")
        cache.call("SET", "string", "new")

    mending = threading.Thread(target=mends)
    mending.start()
    bound = ("--max-staleness", "20s", "--samples", "10")
    code, found = _audit(capsys, _url(cache), _url(store), *bound)
    mending.join()
    assert (code, found["equal"], found["late"], found["wrong"]) == (0, 8, 2, 0)
    assert 0 < found["late_s_max"] < 20


def test_what_stays_old_is_wrong_however_often_the_store_changes(
    cache: Server, store: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    over = threading.Event()

    def changes() -> None:
        with contextlib.closing(store.fresh_wire()) as wire:
            for count in itertools.count():
                if over.is_set():
                    return
                wire("SET", "string", count)

    changing = threading.Thread(target=changes)
    changing.start()
    bound = ("--max-staleness", "100ms", "--samples", "2", "--match", "string")
    try:
        code, found = _audit(capsys, _url(cache), _url(store), *bound)
    finally:
        over.set()
        changing.join()
    assert (code, found["wrong"]) == (1, 2)


def test_what_the_store_cannot_tell_is_not_wrong(
    cache: Server, store: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    store.call("SET", "string", "new")
    store.call("ACL", "SETUSER", "auditor", "on", ">p", "~*", "+@all")
    asked = cache.calls("GET")

    def forbids() -> None:
        # The two answers that are compared, and one more look.
        until(lambda: cache.calls("GET") >= asked + 3, "the old answer was seen")
        store.call("ACL", "SETUSER", "auditor", "-get")

    forbidding = threading.Thread(target=forbids)
    forbidding.start()
    as_auditor = _url(store).replace("://", "://auditor:p@")
    bound = ("--max-staleness", "20s", "--samples", "10")
    try:
        code, found = _audit(capsys, _url(cache), as_auditor, *bound)
    finally:
        forbidding.join()
        store.call("ACL", "DELUSER", "auditor")
    assert (code, found["equal"], found["changed"], found["wrong"]) == (0, 8, 2, 0)


def test_many_old_answers_are_watched_at_once(
    cache: Server, store: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        cache.call("SET", f"old{number}", "old")
        store.call("SET", f"old{number}", "new")
    asked = cache.calls("GET")

    def mends() -> None:
        # The answers that are compared, and one more look at each: nobody waits for the first.
        until(lambda: cache.calls("GET") >= asked + 2 * 20 + 2 * 20, "all were looked at")
        for number in range(20):
            cache.call("SET", f"old{number}", "new")

    mending = threading.Thread(target=mends)
    mending.start()
    bound = ("--max-staleness", "20s", "--samples", "40", "--match", "old*")
    code, found = _audit(capsys, _url(cache), _url(store), *bound)
    mending.join()
    assert (code, found["late"], found["wrong"]) == (0, 40, 0)


def test_what_would_be_a_burden_is_skipped(
    store: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    store.call("SETRANGE", "large", 1 << 20, "x")
    store.fill([("RPUSH", "long", *range(1001)), ("XADD", "stream", "*", "f", "v")])
    code, found = _audit(capsys, _url(store), _url(store), "--samples", "10")
    assert (code, found["skipped"], found["samples"]) == (0, 3, 10)


def test_an_error_of_the_cache_is_not_an_old_answer(
    cache: Server, store: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.call("ACL", "SETUSER", "default", "-get")
    code, found = _audit(capsys, _url(cache), _url(store), "--samples", "10")
    assert (code, found["errors"], found["equal"], found["wrong"]) == (0, 2, 8, 0)


def test_who_cannot_be_asked_is_named(
    cache: Server, store: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        ((_url(cache), "redis://127.0.0.1:1"), "redis://127.0.0.1:1 cannot be reached"),
        ((_url(cache), _url(store) + "/99"), "DB index is out of range"),
        ((_url(cache), _url(store) + "/3"), "has no key to compare in database 3"),
        ((_url(cache), _url(store), "--match", "no:*"), "has no key to compare in 'no:*'"),
        ((_url(cache), _url(store), "--rate", "1e-300"), "--rate from 0.1"),
        ((_url(cache), "redis://[::1"), "not a URL"),
        ((_url(cache), f"redis://{'x' * 64}.y"), "cannot be reached"),
        ((_url(cache), _url(store), "--samples", "0"), "--samples must be 1 or more"),
        (("http://x", _url(store)), "is not a URL of redis://"),
    ):
        assert main(["audit", *words]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["audit", "a", "b", "--max-staleness", "soon"])
    assert "'soon' is not a duration" in capsys.readouterr().err
