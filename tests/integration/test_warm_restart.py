"""`snapshot`: a process that starts again finds what was hot in its L1, read anew."""

import asyncio
import itertools
import json
import logging
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

import cachee
from cachee import _hot_keys
from cachee._warm_set import IN_PROCESS
from tests.harness import scripts
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server
from tests.harness.waiting import until

KEYS = 100
READS = ("get", "hgetall", "smembers")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hot"


@pytest.fixture
def filled(server: Server) -> None:
    for number in range(KEYS):
        server.call("SET", f"user/{number}", f"secret {number}")
    server.call("HSET", "hash", "field", "secret value")
    server.call("SADD", "set", "secret member")


def read_all(client: Any) -> list[Any]:
    answers = [client.get(f"user/{number}") for number in range(KEYS)]
    return [*answers, client.hgetall("hash"), client.smembers("set")]


def heat(server: Server, client: Any) -> list[Any]:
    """Every key read and hit."""
    warm(server, lambda: client.get("user/0"), "get")
    read_all(client)
    return read_all(client)


def warmed(client: Any) -> None:
    """The names have been read; the first read of the client is what opens its link."""
    client.get("opens the link")
    until(lambda: cachee.stats().warmed >= KEYS + 2, f"the names to be read: {cachee.stats()}")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("library", ["redis", "valkey"])
@pytest.mark.parametrize("decoded", [False, True])
def test_what_was_hot_is_here_before_it_is_asked_for(
    server: Server, clients: Any, path: Path, library: str, decoded: bool
) -> None:
    client = clients.make(library, server.port, decode_responses=decoded)
    with installed(snapshot=str(path), prefetch="off"):
        answers = heat(server, client)
    content = path.read_bytes()
    assert b"secret" not in content
    assert path.stat().st_mode & 0o777 == 0o600
    server.call("SET", "user/7", "changed meanwhile")
    answers[7] = "changed meanwhile" if decoded else b"changed meanwhile"
    with installed(snapshot=str(path), prefetch="off"):
        warmed(client)
        spy = Spy(server, *READS)
        assert read_all(client) == answers
        assert spy.asked == 0
        server.call("SET", "user/8", "newer")
        until(lambda: client.get("user/8") in ("newer", b"newer"), "the newer value")
        assert cachee.stats().hits >= KEYS


@pytest.mark.usefixtures("filled")
def test_an_event_loop_finds_it_too(server: Server, clients: Any, path: Path) -> None:
    client = clients.make("redis", server.port)
    with installed(snapshot=str(path)):
        heat(server, client)

    async def main() -> None:
        async with redis.asyncio.Redis(
            host=server.host, port=server.port, protocol=3
        ) as asynchronous:
            await asynchronous.get("opens the link")
            until(lambda: cachee.stats().warmed >= KEYS + 2, "the names to be read")
            spy = Spy(server, *READS)
            assert await asynchronous.get("user/1") == b"secret 1"
            assert await asynchronous.hgetall("hash") == {b"field": b"secret value"}
            assert spy.asked == 0

    with installed(snapshot=str(path)):
        asyncio.run(main())


@pytest.mark.usefixtures("filled")
def test_names_of_another_user_or_database_are_not_read(
    own_server: Server, clients: Any, path: Path
) -> None:
    server = own_server
    server.call("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all")
    server.call("SET", "user/0", "of everybody")
    client = clients.make("redis", server.port)
    with installed(snapshot=str(path)):
        warm(server, lambda: client.get("user/0"), "get")
    owners = {json.loads(line)[0] for line in path.read_bytes().splitlines()[1:]}
    assert owners == {f"resp3 @127.0.0.1:{server.port}"}
    with installed(snapshot=str(path)):
        other = clients.make("redis", server.port, username="app", password="pw")
        elsewhere = clients.make("redis", server.port, db=3)
        for stranger in (other, elsewhere):
            warm(server, lambda stranger=stranger: stranger.get("user/0"), "get")
        assert cachee.stats().warmed == 0
        client.get("opens the link")
        until(lambda: cachee.stats().warmed >= 1, "the name of the first")
    assert b"pw" not in path.read_bytes()


def test_a_process_that_asks_for_little_forgets_nothing(
    server: Server, clients: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = clients.make("redis", server.port), clients.make("redis", server.port, db=1)
    with installed(snapshot=str(path)):
        warm(server, lambda: one.get("user/0"), "get")
        warm(server, lambda: other.get("user/1"), "get")
    assert len(path.read_bytes().splitlines()) == 3
    monkeypatch.chdir(path.parent)
    with installed(snapshot=path.name):
        monkeypatch.chdir("/")
        warm(server, lambda: one.get("another"), "get")
    names = [json.loads(line)[1:] for line in path.read_bytes().splitlines()[1:]]
    assert [1, ["GET", "user/1"]] in names, "nobody has opened its link"
    assert [0, ["GET", "another"]] in names


@pytest.mark.usefixtures("filled")
def test_what_is_excluded_is_not_read(server: Server, clients: Any, path: Path) -> None:
    client = clients.make("redis", server.port)
    with installed(snapshot=str(path)):
        heat(server, client)
    with installed(snapshot=str(path), exclude=["user/*"]):
        client.get("opens the link")
        until(lambda: cachee.stats().warmed == 2, "hash and set")
        assert cachee.stats().entries <= 3


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"REDIS0011"), "it is not a file of hot keys"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "it is damaged"),
        (lambda path: path.unlink() or path.mkdir(), "Is a directory"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_a_file_that_cannot_be_used_is_a_warning(
    server: Server,
    clients: Any,
    path: Path,
    spoil: Callable[[Path], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = clients.make("redis", server.port)
    with installed(snapshot=str(path)):
        heat(server, client)
    spoil(path)
    with caplog.at_level(logging.WARNING, "cachee"), installed(snapshot=str(path)):
        assert client.get("user/1") == b"secret 1"
        until(lambda: f"snapshot {path} is not used: {reason}" in caplog.text, caplog.text)
        assert cachee.stats().warmed == 0


def test_a_place_that_cannot_be_written_is_a_warning(
    server: Server, clients: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = clients.make("redis", server.port)
    with caplog.at_level(logging.WARNING, "cachee"), installed(snapshot=str(path / "absent")):
        warm(server, lambda: client.get("user/1"), "get")
    assert f"snapshot {path / 'absent'} is not written: No such file" in caplog.text


PROGRAM = """
import os, sys
import redis
from tests.harness.waiting import until
import cachee

client = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]), protocol=3)

def serve(task):
    client.get("opens the link")
    until(lambda: cachee.stats().warmed >= {keys}, "the names to be read")
    before = cachee.stats().misses
    assert client.get("user/1") == b"secret 1"
    assert cachee.stats().misses == before
    print(task, "is warm", flush=True)

serve("parent")
child = os.fork()
if child == 0:
    serve("child")
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.usefixtures("filled")
def test_workers_are_warm_as_well(server: Server, clients: Any, path: Path) -> None:
    client = clients.make("redis", server.port)
    with installed(snapshot=str(path)):
        heat(server, client)
    flags = ["-m", "cachee", "run", "--snapshot", str(path), "--"]
    program = textwrap.dedent(PROGRAM.format(keys=KEYS + 2))
    command = scripts.python(program, server.port)
    command = [command[0], *flags, *command]
    out = scripts.succeeds(scripts.call(command))
    assert out == "parent is warm\nchild is warm\n"
    assert len(path.read_bytes().splitlines()) > KEYS


def test_what_was_learned_is_known_to_the_next(server: Server, clients: Any, path: Path) -> None:
    kinds = ("perm", "cart")
    users = {f"session:{at * 7919:x}z": 10_000 + at * 7 for at in range(40)}
    for session, user in users.items():
        server.call("SET", session, json.dumps({"user_id": user}))
        for kind in kinds:
            server.call("SET", f"{kind}:{user}", kind)
    client = clients.make("redis", server.port)

    def visit(session: str) -> None:
        user = json.loads(client.get(session))["user_id"]
        assert [client.get(f"{kind}:{user}") for kind in kinds] == [b"perm", b"cart"]

    *known, stranger = users
    with installed(snapshot=str(path)):
        warm(server, lambda: client.get("warm-up"), "get")
        for session in known:
            visit(session)
    assert b'"RULE"' in path.read_bytes()
    with installed(snapshot=str(path)):
        warm(server, lambda: client.get("warm-up"), "get")
        until(lambda: cachee.stats().prefetch.get("trusted", 0) >= 2, "the rules")
        visit(stranger)
        assert cachee.stats().prefetch["rules_issued"] >= len(kinds)


def test_an_order_is_known_to_the_next(server: Server, clients: Any, path: Path) -> None:
    names = [f"w{number * 977 % 131}x:{number * 7919:x}z" for number in range(150)]
    client = clients.make("redis", server.port)

    def walk() -> None:
        for name in names:
            client.get(name)

    with installed(snapshot=str(path)):
        warm(server, lambda: client.get("warm-up"), "get")
        for _ in range(3):
            walk()
            before = cachee.stats().entries
            server.call("FLUSHALL")
            until(lambda before=before: cachee.stats().entries < before, "nothing is held")
        assert cachee.stats().prefetch["streams_issued"] > 0
        walk()
    kept = [json.loads(line)[2] for line in path.read_bytes().splitlines()[1:]]
    pairs = {(words[3], words[5]) for words in kept if words[:3] == ["THEN", "2", "GET"]}
    known = [pair in pairs for pair in itertools.pairwise(names)]
    assert sum(known) > 100, f"{sum(known)} of {len(known)}"
    # The names are left out, so that there is something to predict.
    lines = [line for line in path.read_bytes().splitlines()[1:] if b'"THEN"' in line]
    _hot_keys.write(path, IN_PROCESS, [_hot_keys._hot_key(json.loads(line)) for line in lines])
    with installed(snapshot=str(path)):
        warm(server, lambda: client.get("warm-up"), "get")
        walk()
        assert cachee.stats().prefetch["streams_issued"] > 0, "at the first walk"


@pytest.mark.usefixtures("filled")
def test_a_lost_connection_is_made_good(own_server: Server, clients: Any) -> None:
    server = own_server
    for number in range(KEYS):
        server.call("SET", f"user/{number}", f"secret {number}")
    client = clients.make("redis", server.port)
    with installed():
        warm(server, lambda: client.get("user/0"), "get")
        for _ in range(4):
            for number in range(KEYS):
                client.get(f"user/{number}")
        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        until(lambda: cachee.stats().warmed >= KEYS // 2, "those that were hit twice")
        warm(server, lambda: client.get("user/0"), "get")
        stored, spy = cachee.stats().warmed, Spy(server, "get")
        for number in range(KEYS):
            assert client.get(f"user/{number}") == b"secret %d" % number
        assert spy.asked <= KEYS - stored
