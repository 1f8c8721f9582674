"""What is asked for, written to files that `cachee simulate` reads."""

import contextlib
import csv
import json
import logging
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import cachee
from tests.harness import scripts
from tests.harness.drop_in import installed, warm
from tests.harness.plain import plain
from tests.harness.proxies import proxy
from tests.harness.servers import Server
from tests.harness.waiting import until

CACHEE = str(Path(sys.executable).with_name("cachee"))
PLAIN = {"record_keys": "plain"}


class Asked:
    """What a test has asked for."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, call: Callable[..., Any], *lines: str) -> Any:
        self.lines += lines
        return call()


def only_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def keys_in(path: Path) -> list[str]:
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["key"]
    return [key for (key,) in rows]


def simulated(path: Path, *arguments: str) -> dict[str, Any]:
    command = [CACHEE, "simulate", str(path), "--prediction", "off", "--json", *arguments]
    found: dict[str, Any] = json.loads(scripts.succeeds(scripts.call(command)))
    return found


@contextlib.contextmanager
def recording(path: Path, **settings: Any) -> Iterator[Asked]:
    """cachee on for one block, at the end of which everything is in the file."""
    asked = Asked()
    with installed(record=path, **settings):
        yield asked
        until(lambda: cachee.stats().recorded == len(asked.lines), "all of it written")
        assert cachee.stats().record_dropped == 0


def threads_of_recorders() -> int:
    comms = [task / "comm" for task in Path("/proc/self/task").iterdir()]
    return sum("cachee-record" in comm.read_text() for comm in comms)


def ask_in_every_way(server: Server, client: Any, asked: Asked) -> None:
    server.fill([("SET", f"k{at}", at) for at in range(10)])
    server.call("HSET", "h", "f", 1, "g", 2)
    asked(lambda: client.get("first"), "first")
    warm(server, lambda: asked(lambda: client.get("hot"), "hot"), "get")
    for at in range(10):
        asked(lambda at=at: client.get(f"k{at % 7}"), f"k{at % 7}")
    for _ in range(2):
        asked(lambda: client.mget("k1", "hot", "k8"), "k1", "hot", "k8")
        asked(lambda: client.mget(["k9", "k9"]), "k9", "k9")
        asked(lambda: client.hget("h", "f"), "h f")
        asked(lambda: client.hmget("h", ["f", "g"]), "h f", "h g")
        asked(lambda: client.hgetall("h"), "h")
        asked(lambda: client.exists("k1"), "k1")
        asked(lambda: client.exists("k1", "k2"), "k1", "k2")
        asked(lambda: client.sismember("none", "a b"), "none a\\x20b")
        asked(lambda: client.getrange("hot", 0, 1), "hot 0 1")
        asked(client.pipeline(transaction=False).get("k1").get("k9").execute, "k1", "k9")
        mixed = client.pipeline(transaction=False).get("p1").get("hot").set("p1", 1).get("p1")
        asked(mixed.execute, "p1", "hot")
    # Never the L1's to answer.
    asked(lambda: client.ttl("hot"))
    asked(client.pipeline(transaction=True).get("hot").execute)
    asked(lambda: client.object("encoding", "hot"))


def test_each_read_is_recorded_once_in_its_order(
    server: Server, client: Any, tmp_path: Path
) -> None:
    with recording(tmp_path / "trace.csv", **PLAIN, prefetch="off") as asked:
        ask_in_every_way(server, client, asked)
    path = only_file(tmp_path)
    assert keys_in(path) == asked.lines
    assert path.stat().st_mode & 0o777 == 0o600
    found = simulated(path)
    assert (found["requests"], found["keys"]) == (len(asked.lines), len(set(asked.lines)))


def test_codes_give_no_name_away_and_each_entry_has_one(
    server: Server, client: Any, tmp_path: Path
) -> None:
    with recording(tmp_path / "trace") as asked:
        ask_in_every_way(server, client, asked)
        entries = {*asked.lines, "exists k1", "exists k2"}
    path = only_file(tmp_path)
    assert path.suffix == ".u64"
    content = path.read_bytes()
    assert len(content) == 8 * len(asked.lines)
    assert b"first" not in content
    found = simulated(path)
    assert (found["requests"], found["keys"]) == (len(asked.lines), len(entries))


def test_observing_records_the_same(server: Server, client: Any, tmp_path: Path) -> None:
    with recording(tmp_path / "trace", **PLAIN, mode="observe") as asked:
        for at in range(20):
            asked(lambda at=at: client.get(f"k{at % 3}"), f"k{at % 3}")
    assert keys_in(only_file(tmp_path)) == asked.lines


def test_what_may_not_be_cached_and_what_is_read_ahead_is_no_demand(
    server: Server, tmp_path: Path
) -> None:
    users = {f"session:{at * 7919:x}z": 10_000 + at * 7 for at in range(40)}
    for session, user in users.items():
        server.call("SET", session, json.dumps({"user_id": user}))
        server.call("SET", f"perm:{user}", "perm")
    settings: dict[str, Any] = {**PLAIN, "prefetch": "on", "exclude": ["tmp:*"]}
    with (
        redis.Redis(port=server.port) as client,
        recording(tmp_path / "trace", **settings) as asked,
    ):
        warm(server, lambda: asked(lambda: client.get("hot"), "hot"), "get")
        for session, user in users.items():
            asked(lambda session=session: client.get(session), session)
            asked(lambda user=user: client.get(f"perm:{user}"), f"perm:{user}")
            asked(lambda: client.get("tmp:1"))
        assert cachee.stats().prefetch["issued"] > 10
    assert keys_in(only_file(tmp_path)) == asked.lines


def test_threads_share_one_file(server: Server, tmp_path: Path) -> None:
    def ask(client: Any, asked: list[str], number: int) -> None:
        for at in range(500):
            asked.append(f"k{(at * number) % 50}")
            client.get(asked[-1])

    with (
        redis.Redis(port=server.port) as client,
        recording(tmp_path / "trace", **PLAIN) as asked,
    ):
        threads = [
            threading.Thread(target=ask, args=(client, asked.lines, number))
            for number in range(1, 5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Counter(keys_in(only_file(tmp_path))) == Counter(asked.lines)


def test_a_sample_is_of_keys_and_the_same_everywhere(server: Server, tmp_path: Path) -> None:
    keys = [f"user:{at}" for at in range(800)]
    found = []
    with redis.Redis(port=server.port) as client:
        for _ in range(2):
            with installed(record=tmp_path / "trace.csv", record_sample=4, **PLAIN):
                for key in keys * 2:
                    client.get(key)
    first, second = sorted(tmp_path.iterdir(), key=lambda path: len(path.name))
    assert first.name.startswith("trace-1in4-")
    assert second.name == f"{first.stem}-2.csv", "never the file of another"
    found = keys_in(first)
    assert found == keys_in(second)
    assert 120 < len(set(found)) < 280
    assert found == [key for key in keys * 2 if key in set(found)]
    played = simulated(first, "--sizes", "64mb,10%")
    assert (played["requests"], played["sample"]) == (len(found), 4)
    assert played["rows"][0]["capacity_bytes"] == 16 * 1024**2, (
        "a quarter of the keys has a quarter"
    )
    told = scripts.call([CACHEE, "simulate", str(first), "--sizes", "10%"])
    assert "a sample of one key in 4" in scripts.succeeds(told)


def test_off_has_no_file_and_no_thread(server: Server, client: Any, tmp_path: Path) -> None:
    before = threads_of_recorders()
    with installed():
        warm(server, lambda: client.get("hot"), "get")
        assert threads_of_recorders() == before
        assert (cachee.stats().recorded, cachee.stats().record_dropped) == (0, 0)


def test_who_reads_nothing_has_no_file(tmp_path: Path) -> None:
    with installed(record=tmp_path / "trace"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["none/trace", "."])
def test_a_place_where_no_file_can_be_is_a_warning(
    server: Server, client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    with caplog.at_level(logging.WARNING, "cachee"), installed(record=tmp_path / place):
        warm(server, lambda: client.get("hot"), "get")
        assert cachee.stats().recorded == 0
    (warning,) = [each.getMessage() for each in caplog.records]
    assert warning.startswith(f"cachee: nothing is recorded: {tmp_path}")


def run_program(server: Server, program: str, *arguments: object, **extra: str) -> str:
    begin = "import os, resource, sys\nimport redis\nimport cachee\n"
    begin += "client = redis.Redis(port=int(sys.argv[1]))\n"
    result = scripts.call(scripts.python(begin + program, server.port, *arguments), **extra)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_a_disk_that_is_full_ends_it_and_nothing_else(server: Server, tmp_path: Path) -> None:
    program = """
resource.setrlimit(resource.RLIMIT_FSIZE, (1004, 1004))
cachee.install(record=sys.argv[2])
while not cachee.stats().record_dropped:
    client.get("k")
assert cachee.stats().hits > 0
client.get("k")
cachee.uninstall()
"""
    said = run_program(server, program, tmp_path / "trace")
    path = only_file(tmp_path)
    assert said == f"cachee: nothing more is recorded in {path}: File too large (os error 27)\n"
    assert path.stat().st_size % 8 == 0


def test_a_forked_child_has_a_file_of_its_own(server: Server, tmp_path: Path) -> None:
    program = """
cachee.install(record=sys.argv[2], record_keys="plain")
for key in "abc":
    client.get(key)
child = os.fork()
if not child:
    for key in "ade":
        client.get(key)
    cachee.uninstall()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.get("z")
client.close()
print(os.getpid(), child)
"""
    own, child = run_program(server, program, tmp_path / "trace").split()
    assert len(list(tmp_path.iterdir())) == 2
    assert keys_in(tmp_path / f"trace-{own}.csv") == ["a", "b", "c", "z"]
    assert keys_in(tmp_path / f"trace-{child}.csv") == ["a", "d", "e"]


def test_a_program_under_cachee_run(server: Server, tmp_path: Path) -> None:
    program = (
        "import os, sys, redis\n"
        "client = redis.Redis(port=int(sys.argv[1]))\n"
        "for at in range(300): client.get(f'k{at % 7}')\n"
        "client.close()\n"
        "print(os.getpid())\n"
    )
    flags = ["--record", str(tmp_path / "trace.u64"), "--record-sample", "1"]
    command = [CACHEE, "run", *flags, "--", sys.executable, "-c", program, str(server.port)]
    pid = scripts.succeeds(scripts.call(command)).strip()
    found = simulated(tmp_path / f"trace-{pid}.u64")
    assert (found["requests"], found["keys"]) == (300, 7)


@pytest.mark.parametrize("mode", ["on", "observe"])
def test_the_proxy(server: Server, tmp_path: Path, mode: str) -> None:
    asked = Asked()
    url = f"redis://{server.host}:{server.port}"
    flags = ["--record", str(tmp_path / "trace"), "--record-keys", "plain", "--mode", mode]
    with proxy(*flags, upstream=url) as served, plain(served.port) as client:
        for _ in range(3):
            for at in range(20):
                asked(lambda at=at: client.get(f"k{at}"), f"k{at}")
            asked(lambda: client.mget("k1", "other"), "k1", "other")
            asked(lambda: client.hmget("h", ["f", "a,b"]), "h f a,b")
            pipe = client.pipeline(transaction=False)
            for at in range(40):
                pipe.get(f"k{at}")
            asked(pipe.execute, *[f"k{at}" for at in range(40)])
            asked(client.pipeline(transaction=True).get("k1").execute)
        until(lambda: served.stats()["recorded"] == len(asked.lines), "all of it written")
        section: dict[str, Any] = client.info("cachee")
        assert section["cachee_recorded"] == len(asked.lines)
        asked(lambda: client.get("last"), "last")
        pid = served.pid
    path = tmp_path / f"trace-{pid}.csv"
    assert keys_in(path) == asked.lines, "the end writes what is left"
    assert simulated(path)["requests"] == len(asked.lines)


def test_a_proxy_that_cannot_record_does_not_start(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cachee", "proxy", "--listen", "tcp://127.0.0.1:0"]
    command += ["--upstream", f"redis://{server.host}:{server.port}"]
    command += ["--record", str(tmp_path / "none" / "trace")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "record" in done.stderr
    assert "directory must be there" in done.stderr
    assert done.stderr.count("\n") == 1
