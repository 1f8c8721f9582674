"""Clients used in ways their authors never thought of must go on working, and never be wrong."""

import copy
import threading
import uuid

import pytest
import redis

import cachee
from tests.harness.clients import Clients
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server


class EqualToAll(redis.Redis):
    """Equal to every other, and therefore unhashable."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EqualToAll)


@pytest.fixture
def key(server: Server) -> str:
    server.call("FLUSHALL")
    server.call("SET", "k", "v")
    return "k"


def test_a_bound_method_outlives_uninstall(server: Server, key: str) -> None:
    client = redis.Redis(port=server.port)
    with installed():
        assert warm(server, lambda: client.get(key), "get") == b"v"
        bound = client.execute_command
    assert bound("GET", key) == b"v"


def test_an_unhashable_client_is_served_and_withdrawn(server: Server, key: str) -> None:
    pool = redis.ConnectionPool(port=server.port)
    one, two = EqualToAll(connection_pool=pool), EqualToAll(connection_pool=pool)
    with installed():
        assert warm(server, lambda: one.get(key), "get") == b"v"
        assert warm(server, lambda: two.get(key), "get") == b"v"
        one.execute_command("SELECT", 3)
        assert two.get(key) is None
        assert one.get(key) is None


def test_a_pool_that_left_its_database_stays_left_over_a_second_install(
    server: Server, key: str
) -> None:
    client = redis.Redis(port=server.port)
    with installed():
        assert warm(server, lambda: client.get(key), "get") == b"v"
        client.execute_command("SELECT", 3)
    with installed():
        assert client.get(key) is None
        assert client.get(key) is None


def test_a_key_no_codec_of_the_client_can_write(server: Server) -> None:
    client = redis.Redis(port=server.port, encoding="ascii")
    server.call("SET", "ключ", "v")

    def read() -> object:
        try:
            return client.get("ключ")
        except UnicodeEncodeError as error:
            return type(error)

    plain = read()
    with installed():
        assert [read() for _ in range(3)] == [plain] * 3


def test_a_copied_client_has_its_callbacks_heard(server: Server, key: str) -> None:
    client = redis.Redis(port=server.port)
    with installed():
        assert warm(server, lambda: client.get(key), "get") == b"v"
        other = copy.copy(client)
        assert warm(server, lambda: other.get(key), "get") == b"v"
        other.set_response_callback("GET", lambda reply: b"changed " + reply)
        assert client.get(key) == other.get(key) == b"changed v"


def test_install_and_uninstall_while_threads_read(server: Server, key: str) -> None:
    client, errors, stop = redis.Redis(port=server.port), [], threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                assert client.get(key) == b"v"
                client.pipeline(transaction=False).get(key).execute()
                redis.Redis(connection_pool=client.connection_pool).execute_command("GET", key)
            except Exception as error:  # noqa: BLE001, PERF203  # whatever it is
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        cachee.install()
        client.get(key)
        cachee.uninstall()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_read_is_still_answered_from_the_l1_after_all_this(server: Server, key: str) -> None:
    client = redis.Redis(port=server.port)
    with installed():
        assert warm(server, lambda: client.get(key), "get") == b"v"
        spy = Spy(server, "get")
        assert client.get(key) == b"v"
        assert spy.asked == 0


def test_an_error_of_the_client_carries_nothing_of_cachee(
    server: Server, clients: Clients, flavour: str
) -> None:
    """Also where cachee had never seen the command's spelling; such a table is filled but once."""
    client = clients.make(flavour, server.port)

    def chain(*args: object) -> list[type[BaseException]]:
        with pytest.raises(Exception) as caught:
            client.execute_command(*args)
        found: list[BaseException] = []
        error: BaseException | None = caught.value
        while error is not None:
            found.append(error)
            error = error.__context__
        return [type(each) for each in found]

    for args in ((f"MADE.{uuid.uuid4().hex}", "k"), (b"set", "k"), (memoryview(b"GET"),)):
        plain = chain(*args)
        with installed():
            assert chain(*args) == plain
            assert chain(*args) == plain
