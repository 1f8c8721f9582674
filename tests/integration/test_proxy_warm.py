"""`cachee proxy --snapshot`: a restarted proxy is warm before its first client asks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.harness.drop_in import Spy
from tests.harness.plain import plain
from tests.harness.proxies import Proxy, proxy
from tests.harness.servers import Server
from tests.harness.waiting import until

KEYS = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hot.snapshot"


def url_of(server: Server) -> str:
    return f"redis://{server.host}:{server.port}"


def logged_in(served: Proxy) -> redis.Redis:
    """A client of the user `app` in database 3."""
    return redis.Redis(port=served.port, username="app", password="pw", db=3, decode_responses=True)


def fill(server: Server, served: Proxy) -> None:
    """Keys of several kinds, loaded and hit."""
    for number in range(KEYS):
        server.call("SET", f"k{number}", f"secret-{number}")
    server.call("HSET", "h", "field", "secret-of-the-field", b"\x00\r\n", "binary")
    with plain(served.port) as client:
        for _ in range(2):
            for number in range(KEYS):
                assert client.get(f"k{number}") == f"secret-{number}"
            assert client.hget("h", "field") == "secret-of-the-field"
            assert client.hmget("h", ["field", b"\x00\r\n"]) == ["secret-of-the-field", "binary"]
    assert served.stats()["hits"] >= KEYS


def warmed(served: Proxy, count: int) -> None:
    until(lambda: served.stats()["entries"] >= count, "the names to be read")
    assert served.stats()["warmed"] >= count


def test_what_was_hot_is_hit_at_once(server: Server, path: Path) -> None:
    with proxy("--snapshot", str(path), upstream=url_of(server)) as served:
        fill(server, served)
    content = path.read_bytes()
    assert b"secret" not in content
    assert path.stat().st_mode & 0o777 == 0o600
    names = [json.loads(line) for line in content.splitlines()[1:]]
    assert ["", 0, ["HMGET", "h", "field", "\x00\r\n"]] in names
    assert len([name for name in names if name[2][0] not in ("RULE", "THEN")]) == KEYS + 2

    server.call("SET", "k7", "changed meanwhile")
    with proxy("--snapshot", str(path), upstream=url_of(server)) as served:
        warmed(served, KEYS + 2)
        assert served.stats()["commands"] == 0
        with plain(served.port) as client:
            # What a client says when it connects may have changed anything: one answer is awaited.
            client.get("none")
            spy = Spy(server, "get", "hget", "hmget")
            for number in range(KEYS):
                value = "changed meanwhile" if number == 7 else f"secret-{number}"
                assert client.get(f"k{number}") == value
            assert client.hget("h", "field") == "secret-of-the-field"
            assert client.hmget("h", ["field", b"\x00\r\n"]) == ["secret-of-the-field", "binary"]
            assert spy.asked == 0
            server.call("SET", "k8", "newer")
            until(lambda: client.get("k8") == "newer", "the newer value")
    names = [json.loads(line) for line in path.read_bytes().splitlines()[1:]]
    assert len([name for name in names if name[2][0] not in ("RULE", "THEN")]) == KEYS + 3, (
        "of both runs"
    )


def test_the_names_of_a_user_wait_for_the_login(own_server: Server, path: Path) -> None:
    server = own_server
    server.call("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all")
    with (
        proxy("--snapshot", str(path), upstream=url_of(server)) as served,
        logged_in(served) as client,
    ):
        client.set("k", "of three")
        until(lambda: client.get("k") and served.stats()["entries"], "the link of the user")
    assert b"pw" not in path.read_bytes()
    assert json.loads(path.read_bytes().splitlines()[1]) == ["app", 3, ["GET", "k"]]

    # One that ends before anybody has logged in forgets nothing.
    with proxy("--snapshot", str(path), upstream=url_of(server)) as served:
        assert (served.stats()["entries"], served.stats()["warmed"]) == (0, 0)
    assert json.loads(path.read_bytes().splitlines()[1]) == ["app", 3, ["GET", "k"]]

    with (
        proxy("--snapshot", str(path), upstream=url_of(server)) as served,
        logged_in(served) as client,
    ):
        # The first cacheable read of a session is what opens its link.
        client.get("another")
        warmed(served, 1)
        # A session that found its link not ready asks for it again a little later.
        until(lambda: client.get("k") == "of three" and served.stats()["hits"], "a hit")


@pytest.mark.parametrize(
    ("settings", "expected"), [(["--mode", "off"], 0), (["--exclude", "k1*"], 1)]
)
def test_what_may_not_be_cached_is_not_read_ahead(
    server: Server, path: Path, settings: list[str], expected: int
) -> None:
    server.call("MSET", "k1", "v", "k2", "v")
    with (
        proxy("--snapshot", str(path), upstream=url_of(server)) as served,
        plain(served.port) as client,
    ):
        assert [client.get(key) for key in ("k1", "k2") * 2] == ["v"] * 4
    with proxy("--snapshot", str(path), *settings, upstream=url_of(server)) as served:
        if expected:
            warmed(served, expected)
        assert served.stats()["entries"] == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"REDIS0011\xfa\t", "it is not a file of hot keys"),
        (b"", "it is not a file of hot keys"),
    ],
)
def test_a_foreign_file_is_not_used(
    server: Server, path: Path, content: bytes, reason: str
) -> None:
    path.write_bytes(content)
    saying = f"cachee proxy: snapshot {path} is not used: {reason}\n"
    with proxy("--snapshot", str(path), upstream=url_of(server), saying=saying) as served:
        assert served.stats()["warmed"] == 0


def test_a_damaged_file_is_not_used(server: Server, path: Path) -> None:
    with proxy("--snapshot", str(path), upstream=url_of(server)) as served:
        fill(server, served)
    path.write_bytes(path.read_bytes()[:-3])
    saying = f"cachee proxy: snapshot {path} is not used: it is damaged\n"
    with proxy("--snapshot", str(path), upstream=url_of(server), saying=saying) as served:
        assert served.stats()["warmed"] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_not_used(server: Server, path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0)
    saying = f"cachee proxy: snapshot {path} is not used: Permission denied\n"
    with proxy("--snapshot", str(path), upstream=url_of(server), saying=saying) as served:
        assert served.stats()["warmed"] == 0


def test_a_place_that_is_not_there_is_an_error(server: Server, path: Path) -> None:
    command = [sys.executable, "-m", "cachee", "proxy", "--listen", "tcp://127.0.0.1:0"]
    command += ["--upstream", url_of(server), "--snapshot", str(path / "none" / "hot")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "snapshot" in done.stderr
    assert "directory must be there" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_was_learned_is_known_to_the_next(server: Server, path: Path) -> None:
    kinds = ("perm", "cart")
    users = {f"session:{at * 7919:x}z": 10_000 + at * 7 for at in range(40)}
    for session, user in users.items():
        server.call("SET", session, json.dumps({"user_id": user}))
        for kind in kinds:
            server.call("SET", f"{kind}:{user}", kind)
    sessions = list(users)

    def visit(client: redis.Redis, session: str) -> None:
        user = json.loads(client.get(session))["user_id"]
        assert [client.get(f"{kind}:{user}") for kind in kinds] == list(kinds)

    first = proxy("--snapshot", str(path), upstream=url_of(server))
    with first as served, plain(served.port) as client:
        until(lambda: client.get("warm-up") is None and served.stats()["hits"] > 0, "hits")
        for session in sessions[:-1]:
            visit(client, session)
    rules = [line for line in path.read_text().splitlines() if '"RULE"' in line]
    assert rules
    with proxy("--snapshot", str(path), upstream=url_of(server)) as served:
        until(lambda: served.stats()["prefetch"].get("trusted", 0) >= 2, "the rules")
        with plain(served.port) as client:
            client.get("none")
            visit(client, sessions[-1])
        assert served.stats()["prefetch"]["rules_issued"] == len(kinds)
