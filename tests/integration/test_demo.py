"""The demo: its relay, its application without a trace of cachee, and the whole of it in small."""

import ast
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest

from cachee.demo import comparison, report, servers
from cachee.demo.measurement import STAGES

# Small enough for a test; the rate is high so that many answers meet a fresh change.
SMALL = ["--requests", "600", "--users", "150", "--write-rate", "150", "--rtt", "0.3"]
DEMO_TIMEOUT_S = 120
FIRST_VISITS = ("without", "without_prediction", "with")
RUN_KEYS = {"p50_ms", "p99_ms", "stages", "histograms_us"}


@contextmanager
def echo(path: Path) -> Iterator[None]:
    """A server on a Unix socket that sends everything back."""
    program = (
        "import socketserver, sys\n"
        "class Echo(socketserver.StreamRequestHandler):\n"
        "    def handle(self):\n"
        "        while piece := self.request.recv(65536): self.request.sendall(piece)\n"
        "server = socketserver.ThreadingUnixStreamServer(sys.argv[1], Echo)\n"
        "print('ready', flush=True)\n"
        "server.serve_forever()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield
        process.terminate()


@contextmanager
def relayed(path: Path, rtt_ms: float) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "cachee.demo.relay", f"echo={path}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        port = json.loads(process.stdout.readline())["echo"]
        process.stdin.write(f"{rtt_ms}\n")
        process.stdin.flush()
        yield port
        process.stdin.close()
        assert json.loads(process.stdout.read())["pieces"] > 0
        assert process.wait() == 0


@pytest.fixture
def echo_path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "echo"
    with echo(path):
        yield path


def received(connection: socket.socket, length: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < length:
        piece = connection.recv(65536)
        assert piece, "the relay closed early"
        pieces += piece
    return bytes(pieces)


def test_relay_adds_a_round_trip_and_keeps_pipelines(echo_path: Path) -> None:
    with relayed(echo_path, 20) as port, socket.create_connection(("127.0.0.1", port)) as peer:
        took_s = []
        for _ in range(10):
            since_s = time.perf_counter()
            peer.sendall(b"ping")
            assert received(peer, 4) == b"ping"
            took_s.append(time.perf_counter() - since_s)
        assert 0.020 <= median(took_s) < 0.030
        # 50 messages at once cost one round trip, not fifty, and arrive in order.
        messages = [b"%05d" % i for i in range(50)]
        since_s = time.perf_counter()
        for message in messages:
            peer.sendall(message)
        assert received(peer, 250) == b"".join(messages)
        assert time.perf_counter() - since_s < 0.200


def test_relay_carries_much_and_passes_the_end_on(echo_path: Path) -> None:
    much = os.urandom(1 << 16) * 320
    with relayed(echo_path, 1) as port, socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(20)
        sender = peer.dup()
        pid = os.fork()
        if pid == 0:
            sender.sendall(much)
            sender.shutdown(socket.SHUT_WR)
            os._exit(0)
        sender.close()
        assert received(peer, len(much)) == much
        assert peer.recv(1) == b""
        os.waitpid(pid, 0)


def test_the_application_has_no_trace_of_cachee() -> None:
    source = (Path(servers.__file__).parent / "app.py").read_text()
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    siblings = {path.stem for path in Path(servers.__file__).parent.glob("*.py")}
    assert not imported & (siblings | {"cachee"})
    code = source.split('"""', 2)[2]
    assert "cachee" not in code.lower()


def demo(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cachee", "demo", *flags],
        capture_output=True,
        text=True,
        timeout=DEMO_TIMEOUT_S,
    )


@pytest.mark.slow
def test_demo_in_small(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    done = demo(*SMALL, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(file.read_text())
    assert told["rtt_ms"] == 0.3
    assert told["requests"] == 600
    assert told["seed"] == 1
    for run in (told["without"], told["with"]):
        assert run.keys() >= RUN_KEYS
        assert run["stages"].keys() >= STAGES.keys()
        assert run["check"]["commits"] > 50
        counted = sum(count for _, count in run["histograms_us"]["total"])
        assert counted == run["answered_requests"] > 500
    assert told["answers_checked"] == 2 * (600 + 150) + 150 + 2 * 300, "restarts included"
    assert told["restarts"].keys() == {"with_snapshot", "without"}
    first = {name: told["first_visits"][name]["redis_reads_p50_ms"] for name in FIRST_VISITS}
    assert first["with"] < first["without"]
    assert told["stale_answers"] == 0
    assert told["impossible_answers"] == 0
    assert 0.5 < told["with"]["l1_hit_rate"] <= 1
    assert told["redis_stages_speedup_p50"] > 5
    assert told["speedup_p50"] > 1
    assert {"python", "valkey", "postgresql", "redis"} <= told["versions"].keys()
    for name in STAGES:
        assert name.replace("_", " ") in done.stdout


# What `sitecustomize` does for cachee, this does for a cache that never hears of a change.
FORGETFUL = """
from redis.asyncio import Redis
kept, ask = {}, Redis.get
async def get(self, name):
    if name not in kept:
        value = await ask(self, name)
        if value is None:
            return None
        kept[name] = value
    return kept[name]
Redis.get = get
"""


@pytest.mark.slow
def test_checker_finds_a_cache_that_forgets_to_invalidate(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FORGETFUL)
    # 2 ms there and back for the two stages that always ask: at the least 2 s, twice the bound.
    settings = comparison.Settings(
        rtt_ms=2, requests=1000, seed=1, users=20, write_rate=100, concurrency=2
    )
    result = comparison.compare(
        settings, lambda *_at: None, prefix=["env", f"PYTHONPATH={tmp_path}"]
    )
    assert result.without.verdict.stale_answers == 0
    assert result.with_cachee.verdict.stale_answers > 0
    assert result.with_cachee.verdict.behind_ms_max > comparison.BOUND_MS
    assert report.is_wrong(result)
    assert "showed what nobody" not in report.as_text(result)


def test_demo_refuses_wrong_flags() -> None:
    for flags in (
        ["--rtt", "-1"],
        ["--requests", "0"],
        ["--write-rate", "x"],
        ["--nonsense"],
        ["--json", "/nowhere/out.json"],
    ):
        done = demo(*flags)
        assert done.returncode == 2
        assert flags[0] in done.stderr
        assert "Traceback" not in done.stderr
