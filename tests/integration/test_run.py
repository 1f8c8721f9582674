"""`cachee run`, `import cachee.auto` and the other commands, end to end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import scripts
from tests.harness.servers import Server
from tests.harness.waiting import until

CACHEE = str(Path(sys.executable).with_name("cachee"))
APPLICATION = """
import sys, time
import redis

client = redis.Redis(port=int(sys.argv[1]))
client.set("k", "v")
for _ in range(200):
    assert client.get("k") == b"v"
    time.sleep(0.0005)
gets = client.info("commandstats")["cmdstat_get"]["calls"]
client.close()
print(gets)
"""


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A program that knows nothing of cachee and prints how many GETs the server saw."""
    path = tmp_path / "app.py"
    path.write_text(APPLICATION)
    return path


def test_the_application_alone(server: Server, application: Path) -> None:
    result = scripts.call([sys.executable, str(application), str(server.port)])
    assert int(scripts.succeeds(result)) == 200


def test_run(server: Server, application: Path) -> None:
    result = scripts.call([CACHEE, "run", "--", "python", str(application), str(server.port)])
    assert int(scripts.succeeds(result)) < 100


def test_run_passes_settings_and_exit_codes(server: Server, application: Path) -> None:
    command = [CACHEE, "run", "--mode", "off", "--", sys.executable, str(application)]
    assert int(scripts.succeeds(scripts.call([*command, str(server.port)]))) == 200
    failing = scripts.call([CACHEE, "run", "--", sys.executable, "-c", "raise SystemExit(7)"])
    assert failing.returncode == 7


def test_run_reaches_children_and_forks(server: Server, application: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import os, subprocess, sys\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True)\n"
    )
    command = [CACHEE, "run", "--", sys.executable, str(parent), str(application)]
    counts = scripts.succeeds(scripts.call([*command, str(server.port)])).split()
    assert int(counts[0]) < 100
    assert int(counts[1]) < 200


def test_run_keeps_a_sitecustomize_of_the_user(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.of_the_user = 1\n")
    program = "import cachee; print(of_the_user, cachee.stats().mode)"
    result = scripts.call(
        [CACHEE, "run", "--", sys.executable, "-c", program], PYTHONPATH=str(tmp_path)
    )
    assert scripts.succeeds(result) == "1 on\n"


def test_run_without_a_command_is_an_error() -> None:
    for arguments in (["run"], ["run", "--"], ["run", "--", "no-such-program-here"]):
        result = scripts.call([CACHEE, *arguments])
        assert result.returncode not in (0, -6, -11)
        assert result.stderr
        assert "Traceback" not in result.stderr


def test_run_with_a_wrong_setting_names_it() -> None:
    result = scripts.call([CACHEE, "run", "--max-age", "soon", "--", sys.executable, "-c", "1"])
    assert result.returncode != 0
    assert "max_age" in result.stderr or "max-age" in result.stderr
    assert "soon" in result.stderr
    assert "Traceback" not in result.stderr


def test_import_auto(server: Server, application: Path, tmp_path: Path) -> None:
    path = tmp_path / "with_auto.py"
    path.write_text("import cachee.auto\n" + APPLICATION)
    result = scripts.call([sys.executable, str(path), str(server.port)])
    assert int(scripts.succeeds(result)) < 100


def test_auto_takes_settings_from_the_environment(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "with_auto.py"
    path.write_text("import cachee.auto\n" + APPLICATION)
    result = scripts.call([sys.executable, str(path), str(server.port)], CACHEE_MODE="off")
    assert int(scripts.succeeds(result)) == 200


def test_auto_with_a_wrong_environment_never_stops_the_application(
    server: Server, application: Path
) -> None:
    """Under `cachee run` a wrong value is an error before the start; inherited, it only warns."""
    result = scripts.call(
        [CACHEE, "run", "--", sys.executable, str(application), str(server.port)],
        CACHEE_MAX_AGE="soon",
    )
    assert result.returncode != 0
    assert "CACHEE_MAX_AGE" in result.stderr
    assert "Traceback" not in result.stderr


def test_stats_of_a_running_process(server: Server, tmp_path: Path) -> None:
    program = (
        "import sys, redis\n"
        "client = redis.Redis(port=int(sys.argv[1]))\n"
        "import cachee\n"
        "while cachee.stats().hits < 10: client.get('k')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "client.close()\n"
    )
    command = [CACHEE, "run", "--", sys.executable, "-c", program, str(server.port)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=scripts.environment(XDG_RUNTIME_DIR=str(tmp_path)),
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"

        def answer() -> str:
            result = scripts.call(
                [CACHEE, "stats", str(process.pid), "--json"], XDG_RUNTIME_DIR=str(tmp_path)
            )
            return result.stdout if result.returncode == 0 else ""

        text = until(answer, "cachee stats answers")
        content = json.loads(text)
        assert content["hits"] >= 10
        table = scripts.call([CACHEE, "stats", str(process.pid)], XDG_RUNTIME_DIR=str(tmp_path))
        assert "hits" in scripts.succeeds(table)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(20) == 0
    gone = scripts.call([CACHEE, "stats", str(process.pid)], XDG_RUNTIME_DIR=str(tmp_path))
    assert gone.returncode != 0
    assert "Traceback" not in gone.stderr


def test_doctor(server: Server) -> None:
    text = scripts.succeeds(scripts.call([CACHEE, "doctor", f"redis://127.0.0.1:{server.port}/0"]))
    assert "track" in text.lower()


def test_doctor_of_what_cannot_work(too_old: Server) -> None:
    result = scripts.call([CACHEE, "doctor", f"redis://127.0.0.1:{too_old.port}/0"])
    assert result.returncode != 0
    assert "6.2" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    silent = scripts.call([CACHEE, "doctor", "redis://127.0.0.1:1/0"])
    assert silent.returncode != 0
    assert "Traceback" not in silent.stderr


@pytest.mark.parametrize("command", [[], ["run"], ["stats"], ["doctor"], ["config"], ["demo"]])
def test_every_command_has_help(command: list[str]) -> None:
    text = scripts.succeeds(scripts.call([CACHEE, *command, "--help"]))
    assert "usage" in text.lower()


def test_config_names_every_setting() -> None:
    from cachee._settings import TABLE

    text = scripts.succeeds(scripts.call([CACHEE, "config"]))
    assert [name for name in TABLE if name not in text] == []


def test_version() -> None:
    import cachee

    assert cachee.__version__ in scripts.succeeds(scripts.call([CACHEE, "--version"]))
