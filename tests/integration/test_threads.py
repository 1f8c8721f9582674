"""Threads, tasks and event loops: one flight a key, no hang, nothing left behind."""

import asyncio
import gc
import os
import random
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import cachee
from tests.harness import scripts
from tests.harness.clients import Clients, Loop, class_of, module_of
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server
from tests.harness.waiting import until


@pytest.mark.parametrize("library", ["redis", "valkey"])
def test_eight_threads_on_one_cold_key_are_one_read(
    server: Server, clients: Clients, library: str
) -> None:
    client = clients.make(library, server.port)
    threads, rounds = 8, 50
    server.fill([("SET", f"k{at}", f"v{at}") for at in range(rounds)])
    barrier = threading.Barrier(threads)

    def read(at: int) -> bytes:
        barrier.wait()
        return client.get(f"k{at}")

    with installed(prefetch="off"), ThreadPoolExecutor(threads) as pool:
        warm(server, lambda: client.get("warm-up"), "get")
        spy = Spy(server, "get")
        for at in range(rounds):
            values = list(pool.map(read, [at] * threads))
            assert values == [b"v%d" % at] * threads
        assert spy.asked == rounds


@pytest.mark.parametrize("flavour", ["redis.asyncio", "valkey.asyncio"])
def test_many_tasks_on_one_cold_key_are_one_read(
    server: Server, clients: Clients, flavour: str
) -> None:
    client = clients.make(flavour, server.port)
    rounds = 100
    server.fill([("SET", f"k{at}", f"v{at}") for at in range(rounds)])

    async def read_together(at: int) -> list[bytes]:
        return await asyncio.gather(*[client.wrapped.get(f"k{at}") for _ in range(100)])

    with installed():
        warm(server, lambda: client.get("warm-up"), "get")
        spy = Spy(server, "get")
        for at in range(rounds):
            assert clients.loop.run(read_together(at)) == [b"v%d" % at] * 100
        assert spy.asked == rounds


def test_reads_and_writes_from_many_threads(server: Server, clients: Clients) -> None:
    """Each thread owns a key it writes and reads back, and reads those of the others."""
    client = clients.make("redis", server.port)
    threads, rounds = 8, 200
    seen: list[dict[int, int]] = [{} for _ in range(threads)]

    def work(me: int) -> None:
        choose = random.Random(me)
        for value in range(1, rounds):
            client.set(f"k{me}", value)
            assert int(client.get(f"k{me}")) == value
            other = choose.randrange(threads)
            got = int(client.get(f"k{other}") or 0)
            assert got >= seen[me].get(other, 0), "went back in time"
            seen[me][other] = got

    with installed(), ThreadPoolExecutor(threads) as pool:
        for each in [pool.submit(work, at) for at in range(threads)]:
            each.result(60)


def test_install_and_uninstall_while_others_read(server: Server, clients: Clients) -> None:
    client = clients.make("redis", server.port)
    server.call("SET", "k", "v")
    stop = threading.Event()

    def read() -> int:
        count = 0
        while not stop.is_set():
            assert client.get("k") == b"v"
            assert client.hgetall("none") == {}
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for _ in range(30):
            with installed():
                client.get("k")
        stop.set()
        assert all(each.result(30) > 0 for each in readers)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")  # noqa: PTH112
def test_installing_again_and_again_leaves_nothing_open(server: Server, clients: Clients) -> None:
    client = clients.make("redis", server.port)
    counts = []
    for _ in range(30):
        with installed():
            warm(server, lambda: client.get("k"), "get")
        until(lambda: not server.trackers(), "the link is closed")
        counts.append((_open_files(), len(os.listdir("/proc/self/task"))))  # noqa: PTH208
    assert counts[-1] <= counts[2]


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")  # noqa: PTH112
@pytest.mark.parametrize("flavour", ["redis.asyncio", "valkey.asyncio"])
def test_a_hundred_event_loops_leave_nothing_open(server: Server, flavour: str) -> None:
    server.call("SET", "k", "v")

    async def once() -> None:
        client = class_of(flavour)(port=server.port)
        assert [await client.get("k") for _ in range(3)] == [b"v"] * 3
        assert await client.get("missing") is None
        await client.set("k", "v")
        await client.aclose()

    with installed():
        asyncio.run(once())
        gc.collect()
        before, links = _open_files(), len(server.trackers())
        for _ in range(100):
            asyncio.run(once())
        gc.collect()
        assert _open_files() <= before + 2
        assert len(server.trackers()) == links == 1


@pytest.mark.parametrize("flavour", ["redis.asyncio", "valkey.asyncio"])
def test_a_cancelled_read_harms_nobody(server: Server, clients: Clients, flavour: str) -> None:
    """The reply of a cancelled read is not given to the next one."""
    client = clients.make(flavour, server.port)
    server.fill([("SET", f"k{at}", at) for at in range(200)])

    async def cancel_many() -> None:
        for at in range(200):
            task = asyncio.ensure_future(client.wrapped.get(f"k{at}"))
            for _ in range(at % 4):
                await asyncio.sleep(0)
            task.cancel()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            assert isinstance(result, asyncio.CancelledError) or result == b"%d" % at
            other = (at * 7) % 200
            assert await client.wrapped.get(f"k{other}") == b"%d" % other

    with installed():
        warm(server, lambda: client.get("warm-up"), "get")
        clients.loop.run(cancel_many())


@pytest.mark.parametrize("flavour", ["redis.asyncio", "valkey.asyncio"])
def test_awaitables_of_every_use(server: Server, clients: Clients, flavour: str) -> None:
    """What `get` returns can be awaited, gathered, made a task, waited for with a timeout."""
    client = clients.make(flavour, server.port)
    server.call("SET", "k", "v")

    async def use() -> None:
        raw = client.wrapped
        assert await raw.get("k") == b"v"
        assert await asyncio.gather(raw.get("k"), raw.get("none")) == [b"v", None]
        assert await asyncio.wait_for(raw.get("k"), 5) == b"v"
        assert await asyncio.create_task(raw.get("k")) == b"v"
        assert await asyncio.ensure_future(raw.get("k")) == b"v"
        assert await asyncio.shield(raw.get("k")) == b"v"
        done, _ = await asyncio.wait([asyncio.create_task(raw.get("k"))])
        assert done.pop().result() == b"v"
        once = raw.get("k")
        assert await once == b"v"
        with pytest.raises(RuntimeError):
            await once
        unused = raw.get("k")
        unused.close()

    with installed():
        warm(server, lambda: client.get("k"), "get")
        clients.loop.run(use())


def test_two_loops_in_two_threads(server: Server) -> None:
    server.call("SET", "k", "v")
    kind = module_of("redis.asyncio").Redis

    async def read() -> None:
        client = kind(port=server.port)
        for at in range(300):
            assert await client.get("k") == b"v"
            assert await client.get(f"cold{at}") is None
        await client.aclose()

    with installed(), ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(asyncio.run, read()) for _ in range(4)]:
            each.result(60)


def test_uvloop(server: Server) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed on this platform")
    server.call("SET", "k", "v")
    kind = module_of("redis.asyncio").Redis
    with installed():
        loop = Loop(uvloop.new_event_loop)

        async def use() -> None:
            client = kind(port=server.port)
            assert await asyncio.gather(*[client.get(f"c{at}") for at in range(50)]) == [None] * 50
            for _ in range(3):
                assert await client.get("k") == b"v"
            await client.set("k", "own")
            assert await client.get("k") == b"own"
            await client.aclose()

        loop.run(use())
        loop.close()
        assert cachee.stats().hits > 0


def test_gevent(server: Server) -> None:
    """Everything patched: greenlets that miss do not stop the others."""
    program = """
        from gevent import monkey
        monkey.patch_all()
        import sys
        import gevent
        import redis
        import cachee

        cachee.install()
        client = redis.Redis(port=int(sys.argv[1]))
        client.mset({f"k{at}": at for at in range(100)})
        ticks = []

        def tick():
            while True:
                ticks.append(1)
                gevent.sleep(0.001)

        def read(me):
            for at in range(100):
                assert client.get(f"k{at}") == str(at).encode()
                client.set(f"own{me}", at)
                assert client.get(f"own{me}") == str(at).encode()

        ticker = gevent.spawn(tick)
        gevent.joinall([gevent.spawn(read, me) for me in range(20)], raise_error=True)
        ticker.kill()
        stats = cachee.stats()
        assert stats.hits > 500, stats
        assert len(ticks) > 3
        client.close()
        print("done")
    """
    result = scripts.call(scripts.python(program, server.port))
    assert scripts.succeeds(result) == "done\n"


def test_signals_reach_a_waiting_read(server: Server, relay) -> None:
    """Ctrl-C while a read waits for a silent server."""
    program = """
        import signal, sys, threading, time
        import redis
        import cachee

        cachee.install(reply_timeout="30s", max_staleness="30s")
        client = redis.Redis(port=int(sys.argv[1]))
        deadline = time.monotonic() + 10
        while cachee.stats().hits == 0 and time.monotonic() < deadline:
            client.get("warm-up")
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            client.get("cold")
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        client.close()
    """
    with subprocess.Popen(
        scripts.python(program, relay.port),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=scripts.environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        link = relay.link()
        link.down.hold()
        process.stdin.write("\n")
        process.stdin.flush()
        link.down.wait_held(1)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        link.down.flow()
        assert process.wait(20) == 0
