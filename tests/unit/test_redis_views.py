"""What a client's view is taken from, and that it changes with it."""

import redis

import cachee
from tests.harness.drop_in import installed, warm


def two_databases(server):
    first, second = (redis.Redis(port=server.port, db=number) for number in (0, 5))
    first.set("k", "in 0")
    second.set("k", "in 5")
    return first, second


def closed(*clients):
    for client in clients:
        client.close()


def test_a_client_that_is_given_another_pool_reads_that_one(server):
    first, second = two_databases(server)
    with installed():
        assert warm(server, lambda: first.get("k"), "get") == b"in 0"
        own, first.connection_pool = first.connection_pool, second.connection_pool
        assert first.get("k") == b"in 5"
        assert warm(server, lambda: first.get("k"), "get") == b"in 5"
        first.connection_pool = own
        assert first.get("k") == b"in 0"
    assert first.connection_pool is own
    assert "connection_pool" not in vars(redis.Redis)
    closed(first, second)


def test_a_class_that_chooses_its_pool_passes_through(server):
    first, second = two_databases(server)

    class Choosing(redis.Redis):
        chosen = first.connection_pool

        @property
        def connection_pool(self):
            return self.chosen

        @connection_pool.setter
        def connection_pool(self, pool):
            pass

    client = Choosing(port=server.port)
    with installed():
        assert client.get("k") == b"in 0"
        client.chosen = second.connection_pool
        assert client.get("k") == b"in 5"
        assert any("chooses its pool" in reason for reason in cachee.stats().pass_through)
    closed(first, second)


def test_pools_that_read_alike_share_a_binding(server):
    clients = [redis.Redis(port=server.port) for _ in range(5)]
    with installed():
        for client in clients:
            client.get("k")
        assert len({id(client._cachee_view.binding) for client in clients}) == 1
        assert len(cachee.stats().links) == 1
    assert not any("_cachee_view" in vars(client) for client in clients)
    closed(*clients)


def test_a_command_that_changes_a_pooled_connection_ends_it(server):
    client = redis.Redis(port=server.port)
    client.set("k", "v")
    with installed():
        warm(server, lambda: client.get("k"), "get")
        client.select(3)
        assert client.get("k") is None
        assert "SELECT" in str(cachee.explain("k"))
    closed(client)
