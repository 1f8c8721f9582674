"""The process of `cachee proxy` around a stand-in: ready line, signals, reload, systemd, errors."""

import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from cachee import CacheeError, Settings, SettingsError, cli
from cachee._proxy_settings import ProxySettings
from cachee.proxy import descriptors, server
from cachee.proxy.server import Ready
from cachee.proxy.systemd import Notifier
from tests.harness import scripts
from tests.harness.native_proxy import NativeProxy
from tests.harness.waiting import until

PROGRAM = """
import sys
from cachee import cli, _core
from tests.harness.native_proxy import NativeProxy

class Noisy(NativeProxy):
    def drain(self, timeout_s):
        print("drain", timeout_s, flush=True)
        if b"stuck" in self.given["settings"]["exclude"]:
            self.all_gone.clear()
        return super().drain(timeout_s)
    def reload(self, settings):
        print("reload", settings["max_clients"], flush=True)
    def close(self):
        print("close", flush=True)

_core.Proxy = Noisy
sys.exit(cli.main(["proxy", *sys.argv[1:]]))
"""


@contextmanager
def running(*flags, directory=None, **variables):
    """`cachee proxy` with a stand-in, its ready line read; killed at the end."""
    process = subprocess.Popen(
        scripts.python(PROGRAM, *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env=scripts.environment(**variables),
    )
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def ended(process):
    out, err = process.communicate(timeout=scripts.PATIENCE_S)
    return process.returncode, out.split("\n"), err


UPSTREAM = "--upstream=redis://app:secret@127.0.0.1:7"


def test_the_ready_line(tmp_path):
    listen = ("--listen", "tcp://127.0.0.1:0", "--listen", f"unix:{tmp_path}/x.sock")
    with running(*listen, UPSTREAM, "--admin", ":0") as (process, line):
        words = line.split()
        assert words[:3] == ["ready", "tcp://127.0.0.1:45123", f"unix:{tmp_path}/x.sock"]
        assert words[3:6] == ["upstream", "redis://app:***@127.0.0.1:7", "admin"]
        assert words[6].startswith("http://127.0.0.1:")
        assert words[7:] == ["pid", str(process.pid)]


def test_the_ready_line_as_json():
    with running("--json", UPSTREAM) as (process, line):
        assert line == (
            '{"ready": {"listen": ["tcp://127.0.0.1:6380"], '
            f'"upstream": "redis://app:***@127.0.0.1:7", "admin": "", "pid": {process.pid}}}}}\n'
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends(number):
    with running(UPSTREAM, "--drain-timeout", "3s") as (process, _):
        process.send_signal(number)
        assert ended(process) == (0, ["drain 3.0", "close", ""], "")


def test_a_drain_that_takes_too_long_is_over():
    with running(UPSTREAM, "--drain-timeout", "50ms", "--exclude", "stuck") as (process, _):
        process.terminate()
        code, out, err = ended(process)
        assert (code, out) == (0, ["drain 0.05", "close", ""])
        assert "cut off" in err


def test_a_second_signal_ends_at_once():
    with running(UPSTREAM, "--drain-timeout", "1h", "--exclude", "stuck") as (process, _):
        process.terminate()
        assert process.stdout.readline() == "drain 3600.0\n"
        process.terminate()
        assert ended(process)[0] == 1


def test_sighup_reads_the_limits_again(tmp_path):
    file = tmp_path / "cachee.toml"
    file.write_text("max_clients = 10\n")
    with running(UPSTREAM, directory=tmp_path) as (process, _):
        file.write_text("max_clients = 20\nlisten = 'tcp://127.0.0.1:9'\n")
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "reload 20\n"
        assert process.stderr.readline() == "cachee proxy: limits reloaded\n"
        assert process.stderr.readline().endswith("only for the next start: listen\n")
        file.write_text("max_clients = 'lots'\n")
        process.send_signal(signal.SIGHUP)
        assert "not reloaded: max_clients = 'lots'" in process.stderr.readline()
        process.terminate()
        assert ended(process)[0] == 0


def test_what_systemd_is_told(tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(scripts.PATIENCE_S)
        with running(UPSTREAM, directory=tmp_path, NOTIFY_SOCKET=address) as (process, _):
            assert manager.recv(4096).startswith(b"READY=1\nSTATUS=serving redis://app:***@")
            process.send_signal(signal.SIGHUP)
            reloading = manager.recv(4096).split(b"\n")
            assert reloading[0] == b"RELOADING=1"
            assert reloading[1].startswith(b"MONOTONIC_USEC=")
            assert manager.recv(4096).startswith(b"READY=1\n")
            process.terminate()
            assert manager.recv(4096).startswith(b"STOPPING=1\n")


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux' own")
def test_an_abstract_socket_of_systemd():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0cachee-test-{os.getpid()}")
        manager.settimeout(scripts.PATIENCE_S)
        Notifier({"NOTIFY_SOCKET": f"@cachee-test-{os.getpid()}"}).stopping()
        assert manager.recv(4096).startswith(b"STOPPING=1")
    Notifier({"NOTIFY_SOCKET": "/nobody/listens"}).ready("x")


def test_stats_of_a_running_proxy(tmp_path):
    with running(UPSTREAM, XDG_RUNTIME_DIR=str(tmp_path)) as (process, _):
        command = [sys.executable, "-m", "cachee", "stats", str(process.pid)]
        shown = scripts.call(command, XDG_RUNTIME_DIR=str(tmp_path))
        lines = [line.split() for line in scripts.succeeds(shown).splitlines()]
        assert lines[0] == ["proxy", f"{process.pid},", "mode", "on"]
        assert ["clients", "2"] in lines
        assert ["reads", "13", "69.23%"] in [line[:3] for line in lines]


def test_the_embedded_valkey_is_the_default(tmp_path):
    with running("--listen", "tcp://127.0.0.1:0") as (process, line):
        url = line.split()[3]
        assert url.startswith("unix://:***@/")
        socket_path = url.partition("@")[2]
        assert Path(socket_path).exists()
        process.terminate()
        assert ended(process)[0] == 0
    until(lambda: not Path(socket_path).exists(), "the end of the embedded Valkey")


def test_the_embedded_valkey_goes_with_a_killed_proxy():
    with running("--listen", "tcp://127.0.0.1:0") as (process, line):
        socket_path = line.split()[3].partition("@")[2]
        process.kill()
    until(lambda: not Path(socket_path).exists(), "the end of the embedded Valkey")


def serve(own, make, said=None, settings=None):
    return server.serve(
        settings or Settings(),
        own,
        reread=lambda: own,
        announce=lambda _: None,
        say=(said if said is not None else []).append,
        make=make,
    )


def failing(error):
    def make(**_):
        raise error

    return make


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError("tcp://127.0.0.1:6380: in use"), "cannot listen on tcp://127.0.0.1:6380: in use"),
        (ValueError("threads: too many"), "threads: too many"),
    ],
)
def test_what_the_native_half_refuses_is_one_line(error, says):
    with pytest.raises(CacheeError, match=says):
        serve(ProxySettings(upstream="redis://:secret@h"), failing(error))


@pytest.mark.parametrize("name", ["tls_cert", "tls_key", "tls_client_ca", "upstream_ca"])
def test_a_file_that_is_not_there_is_found_out_at_the_start(name):
    with pytest.raises(SettingsError, match="No such file") as caught:
        serve(ProxySettings(upstream="rediss://h", **{name: "/absent.pem"}), NativeProxy)
    assert caught.value.setting == name


def test_a_snapshot_that_cannot_be_written_is_found_out_at_the_start(tmp_path):
    for path in (tmp_path / "absent" / "hot", tmp_path):
        with pytest.raises(SettingsError, match="must be there and writable"):
            own, settings = ProxySettings(upstream="redis://h"), Settings(snapshot=str(path))
            serve(own, NativeProxy, settings=settings)


@pytest.mark.parametrize(
    ("own", "warned"),
    [
        (ProxySettings(listen=("tcp://0.0.0.0:1",), upstream="redis://:p@h"), True),
        (ProxySettings(listen=("tcp://0.0.0.0:1",), upstream="redis://h"), False),
        (ProxySettings(listen=("tcp://127.0.0.1:1",), upstream="redis://:p@h"), False),
    ],
)
def test_lending_rights_to_other_machines_is_said(own, warned):
    def make(**given):
        proxy = NativeProxy(**given)
        os.kill(os.getpid(), signal.SIGTERM)
        return proxy

    said = []
    assert serve(own, make, said) == 0
    assert any("acts as the user of" in line for line in said) == warned
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("soft", "hard", "clients", "asked_for"),
    [
        (50_000, 50_000, 10_000, None),
        (1_024, 50_000, 10_000, 20_512),
        (1_024, 4_096, 1_792, 4_096),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 10_000, None),
        (64, 64, 1, 64),
    ],
)
def test_descriptors_for_as_many_clients_as_are_allowed(
    monkeypatch, soft, hard, clients, asked_for
):
    asked, said = [], []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert descriptors.fit(ProxySettings(), said.append).max_clients == clients
    assert asked == ([] if asked_for is None else [(asked_for, hard)])
    assert said == [], "nobody asked for the default"
    asked_for_clients = ProxySettings(max_clients=9_999)
    assert descriptors.fit(asked_for_clients, said.append).max_clients == min(clients, 9_999)
    assert len(said) == (clients < 9_999)


def test_a_client_of_a_cluster_needs_more_descriptors(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8_512, 8_512))
    own = ProxySettings(upstream="redis+cluster://h:7000")
    assert descriptors.fit(own, lambda _: None).max_clients == 1_000


def test_a_ready_line_without_an_admin_endpoint():
    ready = Ready(("tcp://h:1", "unix:/x"), "redis://h:6379", "", 42)
    assert str(ready) == "ready tcp://h:1 unix:/x upstream redis://h:6379 pid 42"


def test_a_reload_without_its_file_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cachee.toml"
    file.write_text("max_clients = 50\n")
    given = {}
    monkeypatch.setattr(server, "serve", lambda *own, **named: given.update(named, own=own) or 0)
    assert cli.main(["proxy"]) == 0
    assert given["own"][1].max_clients == given["reread"]().max_clients == 50
    file.unlink()
    with pytest.raises(CacheeError, match=r"cachee\.toml has gone"):
        given["reread"]()
