"""Fork, spawn and the end of the interpreter, in every state a process can be in."""

import sys
import textwrap
import time

import pytest

from tests.harness import scripts
from tests.harness.servers import Server

BEGIN = """
import asyncio, multiprocessing, os, signal, sys, threading, time
import redis
import cachee

PORT = int(sys.argv[1])

def warm(client, key="k"):
    deadline = time.monotonic() + 10
    before = cachee.stats().hits
    while cachee.stats().hits == before:
        assert time.monotonic() < deadline, cachee.stats()
        value = client.get(key)
    return value
"""


def _run(program: str, server: Server, *arguments: object, **extra: str) -> str:
    command = scripts.python(BEGIN + textwrap.dedent(program), server.port, *arguments)
    return scripts.succeeds(scripts.call(command, **extra))


def test_a_forked_child_starts_anew(server: Server) -> None:
    """Parent and child both cache, neither sees the other's link or entries."""
    out = _run(
        """
        cachee.install()
        client = redis.Redis(port=PORT)
        client.set("k", "v")
        assert warm(client) == b"v"
        parent_before = cachee.stats()
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            assert cachee.stats().entries == 0, cachee.stats()
            assert warm(client) == b"v"
            client.set("k", "from the child")
            assert client.get("k") == b"from the child"
            assert warm(client) == b"from the child"
            os.write(writable, b"x")
            os._exit(0)
        os.read(readable, 1)
        deadline = time.monotonic() + 1
        while client.get("k") != b"from the child":
            assert time.monotonic() < deadline
        assert warm(client) == b"from the child"
        assert os.waitpid(child, 0)[1] == 0
        client.set("k", "from the parent")
        assert client.get("k") == b"from the parent"
        client.close()
        print("done")
        """,
        server,
    )
    assert out == "done\n"


def test_a_fork_in_the_middle_of_reads(server: Server) -> None:
    """Threads hit and miss while others fork: no child hangs, whatever was locked."""
    out = _run(
        """
        cachee.install()
        client = redis.Redis(port=PORT)
        client.mset({f"k{at}": at for at in range(500)})
        warm(client)
        stop = threading.Event()

        def read():
            while not stop.is_set():
                for at in range(500):
                    assert client.get(f"k{at}") == str(at).encode()
                client.set("w", 1)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(25):
            child = os.fork()
            if child == 0:
                own = redis.Redis(port=PORT)
                signal.alarm(20)
                ok = all(own.get(f"k{at}") == str(at).encode() for at in range(20) for _ in "ab")
                own.set("w", 2)
                ok = ok and own.get("w") is not None
                os._exit(0 if ok else 1)
            status = os.waitpid(child, 0)[1]
            assert status == 0, status
        stop.set()
        for thread in threads:
            thread.join()
        client.close()
        print("done")
        """,
        server,
    )
    assert out == "done\n"


def test_a_child_of_a_child(server: Server) -> None:
    out = _run(
        """
        cachee.install()
        client = redis.Redis(port=PORT)
        client.set("k", "v")
        warm(client)
        child = os.fork()
        if child == 0:
            warm(client)
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0 if warm(client) == b"v" else 1)
            os._exit(os.waitpid(grandchild, 0)[1] and 2)
        assert os.waitpid(child, 0)[1] == 0
        client.close()
        print("done")
        """,
        server,
    )
    assert out == "done\n"


def test_forked_children_leave_no_trackers(server: Server) -> None:
    _run(
        """
        cachee.install()
        client = redis.Redis(port=PORT)
        warm(client)
        for _ in range(10):
            child = os.fork()
            if child == 0:
                warm(client)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        client.close()
        """,
        server,
    )
    from tests.harness.waiting import until

    until(lambda: server.trackers() == [], "no tracking connection is left")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(server: Server, method: str, tmp_path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(
        BEGIN
        + textwrap.dedent(
            """
            def work(number):
                cachee.install()
                with redis.Redis(port=PORT) as client:
                    value = warm(client)
                    client.set(f"done{number}", number)
                    assert client.get(f"done{number}") == str(number).encode()
                return value

            if __name__ == "__main__":
                multiprocessing.set_start_method(sys.argv[2])
                cachee.install()
                client = redis.Redis(port=PORT)
                client.set("k", "v")
                warm(client)
                with multiprocessing.Pool(2) as pool:
                    assert pool.map(work, range(6)) == [b"v"] * 6
                    pool.close()
                    pool.join()
                assert client.mget([f"done{at}" for at in range(6)]) == [
                    str(at).encode() for at in range(6)
                ]
                client.close()
                print("done")
            """
        )
    )
    result = scripts.call([sys.executable, str(script), str(server.port), method])
    assert scripts.succeeds(result) == "done\n"


ENDINGS = {
    "after install": "cachee.install()",
    "after a hit": "cachee.install(); client = redis.Redis(port=PORT); warm(client)",
    "link still connecting": "cachee.install(); client = redis.Redis(port=PORT); client.get('k')",
    "closed client": "cachee.install(); c = redis.Redis(port=PORT); warm(c); c.close(); del c",
    "uninstalled": "cachee.install(); c = redis.Redis(port=PORT); warm(c); cachee.uninstall()",
    "by sys.exit": "cachee.install(); client = redis.Redis(port=PORT); warm(client); sys.exit(0)",
    "by os._exit": "cachee.install(); client = redis.Redis(port=PORT); warm(client); os._exit(0)",
    "daemon threads read on": """
cachee.install()
client = redis.Redis(port=PORT)
warm(client)
def read():
    at = 0
    while True:
        client.get("k"); client.get(f"cold{at}"); client.set("w", at); at += 1
for _ in range(4):
    threading.Thread(target=read, daemon=True).start()
time.sleep(0.05)
""",
    "in atexit": """
import atexit
cachee.install()
client = redis.Redis(port=PORT)
def last():
    assert client.get("k") is None
    client.set("last", "1")
    assert client.get("last") == b"1"
atexit.register(last)
warm(client)
""",
    "registered before cachee was": """
import atexit
holder = []
def last():
    assert holder[0].get("k") is None
atexit.register(last)
cachee.install()
holder.append(redis.Redis(port=PORT))
warm(holder[0])
""",
    "in a finaliser": """
cachee.install()
class Holder:
    def __init__(self): self.client = redis.Redis(port=PORT)
    def __del__(self): self.client.get("k")
holder = Holder()
warm(holder.client)
""",
    "a global cycle": """
cachee.install()
client = redis.Redis(port=PORT)
client.itself = client
client.hset("h", mapping={"a": 1}); client.hgetall("h")
warm(client)
""",
    "asyncio": """
import redis.asyncio
cachee.install()
async def main():
    client = redis.asyncio.Redis(port=PORT)
    for _ in range(50): await client.get("k")
    await client.aclose()
asyncio.run(main())
""",
    "asyncio task pending": """
import redis.asyncio
cachee.install()
async def main():
    client = redis.asyncio.Redis(port=PORT)
    async def read():
        at = 0
        while True:
            await client.get(f"c{at}"); at += 1
    task = asyncio.ensure_future(read())
    await asyncio.sleep(0.05)
    await client.get("k")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()
asyncio.run(main())
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_ends_quickly_and_silently(server: Server, ending: str) -> None:
    began = time.monotonic()
    _run(ENDINGS[ending], server)
    assert time.monotonic() - began < 5.0


def test_an_exception_ends_the_process_as_usual(server: Server) -> None:
    program = BEGIN + "cachee.install(); c = redis.Redis(port=PORT); warm(c); raise SystemExit(3)"
    result = scripts.call(scripts.python(program, server.port))
    assert (result.returncode, result.stderr) == (3, "")


def test_the_server_is_gone_at_the_end(own_server: Server) -> None:
    out = _run(
        """
        cachee.install()
        client = redis.Redis(port=PORT)
        warm(client)
        redis.Redis(port=PORT).shutdown(nosave=True)
        print("done")
        """,
        own_server,
    )
    assert out == "done\n"
