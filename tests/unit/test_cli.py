"""The command line without servers: help, exit codes, errors, what is printed."""

import json
import socket

import pytest

from cachee import cli, doctor
from cachee._proxy_settings import TABLE as PROXY_TABLE
from cachee._resp import parse_url
from cachee._settings import TABLE
from cachee._snapshot import ProxySnapshot, Snapshot
from cachee.cli import run, stats


def call(capsys, *words):
    code = cli.main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(capsys, name):
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert "examples:" in text
    assert "exit" in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_file_has_the_same_shape(name):
    import importlib

    module = importlib.import_module(f"cachee.cli.{name}")
    assert callable(module.add_arguments)
    assert callable(module.run)
    assert module.SUMMARY
    assert module.SUMMARY[0].islower()
    assert not module.SUMMARY.endswith(".")


def test_no_command_is_wrong_usage(capsys):
    code, out, _ = call(capsys)
    assert code == 2
    assert "cachee run -- gunicorn" in out


def test_an_unknown_command_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["prozy"])
    assert caught.value.code == 2
    assert "prozy" in capsys.readouterr().err


def test_config_prints_every_setting_as_toml(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "config")
    assert code == 0
    (tmp_path / "cachee.toml").write_text(out)
    again, out_again, _ = call(capsys, "config")
    assert (again, out_again) == (0, out), "what it prints is a file it reads"
    assert all(f"\n{name} = " in out for name in TABLE)


def test_config_shows_what_is_in_force(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CACHEE_MAX_AGE", "5s")
    code, out, _ = call(capsys, "config", "max_age", "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert (row["default"], row["value"]) == ("60s", "5s")
    assert (row["environment"], row["flag"]) == ("CACHEE_MAX_AGE", "--max-age")


def test_config_of_an_unknown_setting(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "config", "max_aeg")
    assert code == 2
    assert "did you mean max_age?" in err


def test_config_has_the_proxys_settings_without_its_password(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CACHEE_UPSTREAM", "redis://app:secret@cache:1")
    code, out, _ = call(capsys, "config")
    assert code == 0
    assert all(f"\n{name} = " in out for name in PROXY_TABLE)
    assert 'upstream = "redis://app:***@cache:1"' in out
    assert "secret" not in out + call(capsys, "config", "--json")[1]


def test_run_has_no_settings_of_the_proxy(capsys):
    for command, offered in (("run", False), ("proxy", True)):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        text = capsys.readouterr().out
        assert ("--upstream" in text, "--max-age" in text) == (offered, True)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--listen", "127.0.0.1:6380"], "listen = '127.0.0.1:6380' (from a flag): allowed is "),
        (["--upstream", "redis://:sec/ret@h"], "upstream = 'redis://:***@h' (from a flag)"),
        (["--max-clients", "many"], "max_clients = 'many' (from a flag): allowed is a whole"),
        (["--max-age", "ages"], "max_age = 'ages' (from a flag)"),
        (["--tls-cert", "/absent", "--upstream", "redis://h"], "No such file"),
    ],
)
def test_a_proxy_that_is_told_something_wrong_says_so_in_a_line(
    capsys, monkeypatch, tmp_path, flags, says
):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "proxy", *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("cachee proxy: ")
    assert says in err


def test_a_port_in_use_is_wrong_usage(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = f"tcp://127.0.0.1:{port}"
        code, _, err = call(
            capsys, "proxy", "--listen", listen, "--upstream", "redis://127.0.0.1:1"
        )
    assert code == 2
    assert f"cannot listen on {listen}: " in err


def test_run_needs_a_command_and_right_settings(capsys):
    assert call(capsys, "run")[0] == 2
    code, _, err = call(capsys, "run", "--max-age", "ages", "--", "python")
    assert code == 2
    assert "max_age = 'ages' (from a flag)" in err
    code, _, err = call(capsys, "run", "--", "no-such-program-anywhere")
    assert code == 127
    assert "not found" in err


def test_run_hands_on_settings_and_path(monkeypatch):
    became = []
    monkeypatch.setattr(run, "_become", lambda *what: became.append(what) or 0)
    monkeypatch.setenv("PYTHONPATH", "/mine")
    monkeypatch.delenv("CACHEE_STATS_SOCKET", raising=False)
    assert cli.main(["run", "--max-age", "5s", "--exclude", "a:*", "--", "sh", "-c", "x"]) == 0
    ((program, environment),) = became
    assert program[0].endswith("/sh")
    assert program[1:] == ["-c", "x"]
    assert environment["CACHEE_MAX_AGE"] == "5s"
    assert environment["CACHEE_EXCLUDE"] == "a:*"
    assert environment["CACHEE_STATS_SOCKET"] == "on"
    assert environment["PYTHONPATH"] == f"{run.BOOTSTRAP_DIRECTORY}:/mine"
    assert run._python_path(environment["PYTHONPATH"]) == environment["PYTHONPATH"]


def test_flags_of_the_program_are_its_own(monkeypatch):
    became = []
    monkeypatch.setattr(run, "_become", lambda *what: became.append(what) or 0)
    assert cli.main(["run", "--", "sh", "--mode", "x"]) == 0
    assert became[0][0][1:] == ["--mode", "x"]


def test_stats_without_a_process(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    code, _, err = call(capsys, "stats")
    assert code == 2
    assert "no process" in err
    assert "import cachee.auto" in err
    code, _, err = call(capsys, "stats", "1")
    assert code == 2
    assert "no process 1 of this user" in err


def test_stats_of_this_process(capsys, monkeypatch, tmp_path):
    from cachee import _stats_socket

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(_stats_socket, "_path", None)
    snapshot = Snapshot(
        mode="on", pid=7, hits=99, misses=1, coalesced=2, bypasses={"link down": 98}
    )
    _stats_socket.serve(lambda: snapshot)
    code, out, _ = call(capsys, "stats", "--json")
    assert code == 0
    assert json.loads(out) == [json.loads(json.dumps(snapshot.as_dict()))]
    code, out, _ = call(capsys, "stats")
    assert code == 0
    assert ["reads", "200", "49.50%"] in [line.split()[:3] for line in out.splitlines()]
    assert "bypassed 98: link down" in out
    assert tmp_path.joinpath(f"cachee-{__import__('os').getuid()}").stat().st_mode & 0o077 == 0
    assert stats.SUMMARY


def test_stats_say_what_was_loaded_ahead_and_why_not_more(capsys, monkeypatch):
    rule = {"source": "GET s:{1}", "precision": 0.25, "trials": 16, "issued": 0, "trusted": False}
    rules = (
        rule | {"target": "GET a:{1}", "trusted": True, "issued": 9, "why_not": ""},
        rule | {"target": "GET b:{1}", "why_not": "comes true too seldom"},
    )
    counted = {"events": 20, "issued": 9, "used": 7, "late": 1, "unused": 1}
    counted |= {"rules": 2, "trusted": 1, "rules_issued": 9, "rules_used": 7, "rules_late": 1}
    snapshot = Snapshot(prefetch=counted, prefetch_doubts={"streams": "too few"}, rules=rules)
    monkeypatch.setattr(stats._stats_socket, "running_processes", lambda: [1])
    monkeypatch.setattr(stats._stats_socket, "ask", lambda pid: snapshot.as_dict())
    code, out, _ = call(capsys, "stats")
    assert code == 0
    assert "loaded ahead 9, 89% of them asked for; 1 of 2 rules are acted on" in out
    assert "    rules    9 sent  7 in time, 1 late, 0 in vain\n" in out
    assert "    streams  0 sent  0 in time, 0 late, 0 in vain  at present none: too few\n" in out
    assert "GET s:{1} -> GET a:{1}  25% of 16  9 sent\n" in out
    assert "GET s:{1} -> GET b:{1}  25% of 16  not acted on: comes true too seldom\n" in out


def test_stats_of_several_say_of_what_kind_each_is(capsys, monkeypatch):
    snapshots = {1: Snapshot(pid=1), 2: ProxySnapshot(pid=2, counted={"hits": 3, "misses": 1})}
    monkeypatch.setattr(stats._stats_socket, "running_processes", lambda: [1, 2])
    monkeypatch.setattr(stats._stats_socket, "ask", lambda pid: snapshots[pid].as_dict())
    code, out, _ = call(capsys, "stats")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["1", "process", "0.0%", "of", "0", "reads"] in lines
    assert ["2", "proxy", "75.0%", "of", "4", "reads"] in lines
    assert call(capsys, "stats", "--all")[0] == 0


def test_doctor_of_an_address_that_cannot_be_one(capsys):
    code, _, err = call(capsys, "doctor", "http://localhost")
    assert code == 2
    assert "http://localhost" in err
    code, _, err = call(capsys, "doctor", "postgresql://localhost/db")
    assert code == 2
    assert "not available yet" in err


def test_doctor_of_nobody(capsys):
    code, out, _ = call(capsys, "doctor", "--json", "redis://127.0.0.1:1")
    (report,) = json.loads(out)
    assert code == 2
    assert report["reachable"] is False
    assert report["serves"] is False
    assert "Nothing can be said" in call(capsys, "doctor", "redis://127.0.0.1:1")[1]


def test_doctor_of_a_server(capsys, server):
    code, out, _ = call(capsys, "doctor", f"redis://127.0.0.1:{server.port}")
    assert code == 0
    assert "will be served from the L1" in out


def test_doctor_names_the_user_it_came_as(capsys, server):
    server.call("ACL", "SETUSER", "low", "on", ">p", "~*", "+get", "+set")
    try:
        _, out, _ = call(capsys, "doctor", f"redis://low:p@127.0.0.1:{server.port}")
    finally:
        server.call("ACL", "DELUSER", "low")
    assert "ACL SETUSER low +" in out
    assert "SETUSER default" not in out


def test_doctor_says_what_to_allow(capsys, server):
    server.call("ACL", "SETUSER", "weak", "on", ">p", "~*", "+@all", "-client|tracking", "-pttl")
    try:
        url = f"redis://weak:p@127.0.0.1:{server.port}"
        code, out, _ = call(capsys, "doctor", url)
    finally:
        server.call("ACL", "DELUSER", "weak")
    assert code == 1
    assert "ACL SETUSER weak +client|tracking +pttl" in out
    assert ":p@" not in out


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:secret@h:1/2", "redis://u:***@h:1/2"),
        ("redis://h?password=secret", "redis://h?password=***"),
        ("unix:///a.sock?db=3", "unix:///a.sock?db=3"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert parse_url(url).shown == shown


def test_a_report_of_findings():
    finding = doctor.Finding("tracking", "pass through", "unknown command", "upgrade")
    assert doctor.Report("redis://h", (finding,)).serves is False
    assert doctor.Report("redis://h", (finding,)).reachable is True
