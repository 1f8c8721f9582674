"""Rule 8 and P4: whoever is not in plain state is not answered locally."""

from tests.conformance.conftest import Stage
from tests.harness.clients import exceptions_of
from tests.harness.drop_in import Spy


def test_a_read_under_watch_reaches_the_server(stage: Stage) -> None:
    stage.warm("k", "old")
    spy = Spy(stage.server, "get")
    pipe = stage.client.pipeline()
    pipe.watch("k")
    assert pipe.get("k") == b"old"
    assert spy.asked == 1
    pipe.reset()


def test_optimistic_locking_still_works(stage: Stage) -> None:
    """The counter loop of every tutorial, with a foreign writer in between."""
    stage.warm("k", "5")
    foreign = iter([("SET", "k", "50"), None])

    def add_one(pipe) -> None:
        current = int(pipe.get("k"))
        command = next(foreign)
        if command is not None:
            stage.server.call(*command)
        pipe.multi()
        pipe.set("k", current + 1)

    if stage.flavour.endswith("asyncio"):
        pipe = stage.client.pipeline()
        while True:
            pipe.watch("k")
            add_one(pipe)
            try:
                pipe.execute()
            except exceptions_of(stage.flavour).WatchError:
                continue
            break
    else:
        stage.client.transaction(add_one, "k")
    assert stage.client.get("k") == b"51"


def test_a_transaction_reads_its_own_writes_in_order(stage: Stage) -> None:
    stage.warm("k", "old")
    pipe = stage.client.pipeline(transaction=True)
    pipe.get("k").set("k", "new").get("k")
    assert pipe.execute() == [b"old", True, b"new"]
    assert stage.client.get("k") == b"new"


def test_a_transaction_is_executed_by_the_server_whole(stage: Stage) -> None:
    stage.warm("k", "v")
    spy = Spy(stage.server, "get")
    assert stage.client.pipeline(transaction=True).get("k").get("k").execute() == [b"v", b"v"]
    assert spy.asked == 2


def test_a_pipeline_reads_its_own_writes_in_order(stage: Stage) -> None:
    stage.warm("k", "old")
    pipe = stage.client.pipeline(transaction=False)
    pipe.get("k").set("k", "new").get("k").delete("k").get("k")
    assert pipe.execute() == [b"old", True, b"new", 1, None]
    assert stage.client.get("k") is None


def test_a_raw_transaction_on_one_connection(stage: Stage) -> None:
    stage.warm("k", "v")
    with stage.client.client() as one:
        one.execute_command("MULTI")
        assert one.execute_command("GET", "k") in (b"QUEUED", "QUEUED")
        assert one.execute_command("EXEC") == [b"v"]
        assert one.get("k") == b"v"


def test_a_selected_connection_reads_its_own_database(stage: Stage) -> None:
    stage.warm("k", "zero")
    stage.server.fill([("SELECT", 3), ("SET", "k", "three"), ("SELECT", 0)])
    with stage.client.client() as one:
        one.execute_command("SELECT", 3)
        assert [one.get("k") for _ in range(3)] == [b"three"] * 3
        one.execute_command("SELECT", 0)
    assert stage.client.get("k") == b"zero"


def test_a_write_on_one_connection_in_another_database(stage: Stage) -> None:
    other = stage.another(db=3)
    stage.server.fill([("SELECT", 3), ("SET", "k", "old"), ("SELECT", 0)])
    assert other.get("k") == b"old"
    with stage.client.client() as one:
        one.execute_command("SELECT", 3)
        one.set("k", "new")
        assert other.get("k") == b"new"
        one.execute_command("SELECT", 0)


def test_subscriptions_pass(stage: Stage) -> None:
    stage.warm("k", "v")
    with stage.client.pubsub() as subscription:
        subscription.subscribe("news")
        assert subscription.get_message(timeout=5)["type"] == "subscribe"
        assert stage.client.publish("news", "hello") == 1
        message = subscription.get_message(timeout=5)
        assert (message["type"], message["data"]) == ("message", b"hello")
        assert stage.client.get("k") == b"v"


def test_blocking_commands_pass(stage: Stage) -> None:
    stage.client.rpush("queue", "job")
    assert stage.client.lrange("queue", 0, -1) == [b"job"]
    assert stage.client.blpop("queue", timeout=1) in ((b"queue", b"job"), [b"queue", b"job"])
    assert stage.client.lrange("queue", 0, -1) == []


def test_locks_work(stage: Stage) -> None:
    lock = stage.client.lock("l", timeout=5)
    assert lock.acquire(blocking=False)
    assert stage.client.get("l") is not None
    lock.release()
    assert stage.client.get("l") is None


def test_scripts_work(stage: Stage) -> None:
    stage.warm("k", "1")
    script = stage.client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    wrapped = getattr(script, "registered_client", None)
    assert wrapped is not None
    if stage.flavour.endswith("asyncio"):
        result = stage.clients.loop.run(_call(script))
    else:
        result = script(keys=["k"], args=[4])
    assert result == 5
    assert stage.client.get("k") == b"5"


async def _call(script) -> object:
    return await script(keys=["k"], args=[4])
