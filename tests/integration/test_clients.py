"""Clients of every make: what is mirrored is cached, what is not passes through untouched."""

import contextlib
import pickle
import warnings
from importlib import import_module

import pytest

import cachee
from tests.harness.clients import Clients, class_of, module_of
from tests.harness.drop_in import Spy, installed, warm
from tests.harness.servers import Server, free_port, running
from tests.harness.tls import Certificates, TlsFront
from tests.harness.waiting import until


def _is_cached(server: Server, client, value: object = b"v") -> None:
    server.call("SET", "k", "v")
    assert warm(server, lambda: client.get("k"), "get") == value
    client.set("k", "own")
    assert client.get("k") in (b"own", "own")
    client.set("k", "v")


def _passes_through(server: Server, client, value: object = b"v") -> None:
    server.call("SET", "k", "v")
    spy = Spy(server, "get")
    assert [client.get("k") for _ in range(3)] == [value] * 3
    assert spy.asked == 3


def test_clients_made_before_and_after(server: Server, clients: Clients, flavour: str) -> None:
    before = clients.make(flavour, server.port)
    assert before.get("k") is None
    with installed():
        after = clients.make(flavour, server.port)
        _is_cached(server, before)
        _is_cached(server, after)
    _passes_through(server, before)
    _passes_through(server, after)
    with installed():
        _is_cached(server, before)


def test_uninstall_leaves_the_classes_as_they_were(flavour: str) -> None:
    kind = class_of(flavour)
    names = ["get", "mget", "hget", "hgetall", "exists", "execute_command", "pipeline", "__init__"]
    before = {name: getattr(kind, name) for name in names}
    own = set(vars(kind))
    with installed():
        pass
    assert {name: getattr(kind, name) for name in names} == before
    # The one trace: a hook that somebody took before still reads this attribute.
    assert set(vars(kind)) - own <= {"_cachee_view"}


def test_installing_twice_is_one_installation(server: Server, clients, flavour: str) -> None:
    client = clients.make(flavour, server.port)
    with installed():
        cachee.install()
        _is_cached(server, client)
        assert len(server.trackers()) == 1
    _passes_through(server, client)
    cachee.uninstall()
    assert cachee.stats().hits == 0 or cachee.stats().mode == "off"


def test_other_methods_keep_name_and_text(flavour: str) -> None:
    kind = class_of(flavour)
    before = {name: (getattr(kind, name).__doc__) for name in ("get", "hget", "execute_command")}
    with installed():
        for name, text in before.items():
            method = getattr(kind, name)
            assert method.__name__ == name
            assert method.__doc__ == text


def test_from_url(server: Server, clients: Clients, flavour: str) -> None:
    scheme = flavour.partition(".")[0]
    with installed():
        url = f"{scheme}://127.0.0.1:{server.port}/0?decode_responses=True"
        client = clients.adopt(flavour, lambda: class_of(flavour).from_url(url))
        _is_cached(server, client, "v")
        socket_url = f"unix://{server.path}?db=0"
        client = clients.adopt(flavour, lambda: class_of(flavour).from_url(socket_url))
        _is_cached(server, client)


def test_a_unix_socket(server: Server, clients: Clients, flavour: str) -> None:
    with installed():
        client = clients.adopt(flavour, lambda: class_of(flavour)(unix_socket_path=server.path))
        _is_cached(server, client)
        (link,) = server.trackers()
        assert f"laddr={server.path}" in link


def test_a_shared_pool_and_a_blocking_pool(server: Server, clients, flavour: str) -> None:
    module, kind = module_of(flavour), class_of(flavour)
    with installed():
        for pool_class in (module.ConnectionPool, module.BlockingConnectionPool):
            pool = pool_class(host="127.0.0.1", port=server.port, max_connections=3)
            one = clients.adopt(flavour, lambda p=pool: kind(connection_pool=p))
            two = clients.adopt(flavour, lambda p=pool: kind(connection_pool=p))
            _is_cached(server, one)
            _is_cached(server, two)
        assert len(server.trackers()) == 1


@pytest.mark.parametrize("ask_client", [False, True])
def test_tls(
    server: Server, clients, flavour: str, certificates: Certificates, ask_client: bool
) -> None:
    options = {"ssl": True, "ssl_ca_certs": str(certificates.ca), "host": "localhost"}
    if ask_client:
        options["ssl_certfile"] = str(certificates.client)
        options["ssl_keyfile"] = str(certificates.client_key)
    with TlsFront(server.address, certificates, ask_client=ask_client) as front, installed():
        client = clients.make(flavour, front.port, **options)
        _is_cached(server, client)
        clients.close()


def test_tls_that_does_not_verify(
    server: Server, clients, flavour: str, certificates: Certificates
) -> None:
    options = {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}
    with TlsFront(server.address, certificates) as front, installed():
        _is_cached(server, clients.make(flavour, front.port, **options))
        clients.close()


def test_tls_with_an_unknown_authority_fails_as_before(
    server: Server, clients, flavour: str, certificates: Certificates
) -> None:
    errors = import_module(f"{flavour.partition('.')[0]}.exceptions")
    with TlsFront(server.address, certificates) as front, installed():
        client = clients.make(flavour, front.port, ssl=True, host="localhost", retry=None)
        for _ in range(3):
            with pytest.raises(errors.ConnectionError, match="certificate"):
                client.get("k")
        clients.close()


def test_passwords_and_users(clients, flavour: str) -> None:
    with running(requirepass="secret-word") as server, installed():
        wire = server.fresh_wire()
        server.call("AUTH", "secret-word")
        server.call("ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all")
        for options in (
            {"password": "secret-word"},
            {"username": "app", "password": "p"},
            {"credential_provider": _provider(flavour, "app", "p")},
        ):
            _is_cached(server, clients.make(flavour, server.port, **options))
        assert len(server.trackers()) in (2, 3)
        wire.close()
        clients.close()


def _provider(flavour: str, username: str, password: str):
    module = import_module(f"{flavour.partition('.')[0]}.credentials")
    return module.UsernamePasswordCredentialProvider(username, password)


def test_credentials_that_change(clients, flavour: str) -> None:
    """The provider is asked at each connect, also by the link."""
    module = import_module(f"{flavour.partition('.')[0]}.credentials")
    password = ["first"]

    class Rotating(module.CredentialProvider):
        def get_credentials(self):
            return "app", password[0]

    with running() as server, installed():
        server.call("ACL", "SETUSER", "app", "on", ">first", "~*", "&*", "+@all")
        client = clients.make(flavour, server.port, credential_provider=Rotating())
        _is_cached(server, client)
        server.call("ACL", "SETUSER", "app", "<first", ">second")
        password[0] = "second"
        server.call("CLIENT", "KILL", "USER", "app")
        until(lambda: _still_answers(client), "the client has the new password")
        _is_cached(server, client)
        clients.close()


def _still_answers(client) -> bool:
    try:
        return client.get("k") == b"v"
    except OSError:
        return False
    except Exception as problem:
        if "onnection" not in str(problem):
            raise
        return False


def test_a_subclass_that_overrides_nothing(server: Server, clients, flavour: str) -> None:
    class Named(class_of(flavour)):
        pass

    with installed():
        _is_cached(server, clients.make(flavour, server.port, Named))


def test_a_subclass_with_its_own_get(server: Server, clients: Clients, flavour: str) -> None:
    base = class_of(flavour)

    class Loud(base):
        def get(self, name):
            calls.append(name)
            return super().get(name)

    calls: list[str] = []
    with installed():
        client = clients.make(flavour, server.port, Loud)
        _is_cached(server, client)
        calls.clear()
        assert client.get("k") == b"v"
        assert calls == ["k"]


def test_a_subclass_with_its_own_execute_command(
    server: Server, clients: Clients, flavour: str
) -> None:
    """It sees every command, hit or not, as it would without cachee."""
    base = class_of(flavour)

    class Audited(base):
        def execute_command(self, *args, **options):
            seen.append(args[0])
            return super().execute_command(*args, **options)

    seen: list[str] = []
    with installed():
        client = clients.make(flavour, server.port, Audited)
        server.call("SET", "k", "v")
        assert [client.get("k") for _ in range(5)] == [b"v"] * 5
        assert client.hgetall("none") == {}
        assert seen == ["GET"] * 5 + ["HGETALL"]
        client.set("k", "own")
        assert client.get("k") == b"own"


def test_response_callbacks_of_the_user(server: Server, clients, flavour: str) -> None:
    client = clients.make(flavour, server.port)
    with installed():
        _is_cached(server, client)
        client.set_response_callback("GET", lambda reply, **_: ("mine", reply))
        assert [client.get("k") for _ in range(3)] == [("mine", b"v")] * 3
        client.set_response_callback("HGETALL", lambda reply, **_: len(reply))
        server.call("HSET", "h", "a", "1")
        plain = client.hgetall("h")
        assert [client.hgetall("h") for _ in range(3)] == [plain] * 3
        other = clients.make(flavour, server.port)
        assert [other.get("k") for _ in range(3)] == [b"v"] * 3


def test_a_single_connection_client(server: Server, clients, flavour: str) -> None:
    client = clients.make(flavour, server.port, single_connection_client=True)
    with installed():
        server.call("SET", "k", "v")
        assert [client.get("k") for _ in range(3)] == [b"v"] * 3
        client.set("k", "own")
        assert [client.get("k") for _ in range(3)] == [b"own"] * 3


def test_a_connection_class_of_the_user(
    server: Server, clients, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What that class does is unknown, so it is left alone, and cachee says so."""
    module, kind = module_of(flavour), class_of(flavour)

    class Odd(module.Connection):
        pass

    with installed():
        for _ in range(2):
            pool = module.ConnectionPool(Odd, host="127.0.0.1", port=server.port)
            client = clients.adopt(flavour, lambda p=pool: kind(connection_pool=p))
            _passes_through(server, client)
        assert sum(cachee.stats().pass_through.values()) == 2
        assert any("Odd" in reason for reason in cachee.explain("k").reasons)
    (warned,) = [each for each in caplog.records if each.name.startswith("cachee")]
    assert warned.getMessage().startswith("cachee: not cached, passed through: ")


def test_a_function_called_on_connect(server: Server, clients, flavour: str) -> None:
    """It may do anything to the connection (READONLY, SELECT): not mirrored, passed through."""
    seen = []

    def on_connect(connection):
        seen.append(connection)
        return connection.on_connect()

    async def on_connect_async(connection):
        await on_connect(connection)

    option = f"{flavour.partition('.')[0]}_connect_func"
    if flavour == "valkey.asyncio":
        option = "valkey_connect_func"
    with installed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function = on_connect_async if flavour.endswith("asyncio") else on_connect
        client = clients.make(flavour, server.port, **{option: function})
        _passes_through(server, client)
    assert seen


def test_the_librarys_own_cache_is_left_alone(own_server: Server, clients: Clients) -> None:
    redis_cache = import_module("redis.cache")
    with installed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):
            client = clients.make(
                "redis", own_server.port, protocol=3, cache_config=redis_cache.CacheConfig()
            )
            own_server.call("SET", "k", "v")
            assert client.get("k") == b"v"
        other = clients.make("redis", own_server.port)
        _is_cached(own_server, other)


def test_a_client_used_after_close(server: Server, clients, flavour: str) -> None:
    client = clients.make(flavour, server.port)
    with installed():
        _is_cached(server, client)
        client.close() if not flavour.endswith("asyncio") else client.aclose()
        server.call("SET", "k", "v2")
        assert client.get("k") in (b"v", b"v2")
        client.set("k", "own")
        assert client.get("k") == b"own"


def test_clients_that_come_and_go(server: Server, clients, flavour: str) -> None:
    """Two hundred short-lived clients: one link, no growth of connections."""
    with installed():
        _is_cached(server, clients.make(flavour, server.port))
        for _ in range(200):
            short = Clients()
            assert short.make("redis", server.port).get("k") == b"v"
            short.close()
        assert len(server.trackers()) == 1


def test_weak_references_and_copies(server: Server, clients: Clients) -> None:
    client = clients.make("redis", server.port)
    with installed():
        _is_cached(server, client)
        assert client.get_connection_kwargs()["port"] == server.port
        assert repr(client).startswith("<redis.client.Redis")
        snapshot = cachee.stats()
        assert pickle.loads(pickle.dumps(snapshot)) == snapshot


def test_monitor_passes(server: Server, clients: Clients) -> None:
    client = clients.make("redis", server.port)
    with installed():
        _is_cached(server, client)
        with client.monitor() as monitor:
            server.call("SET", "seen", "1")
            commands = (entry["command"] for entry in monitor.listen())
            assert any("SET seen 1" in command for command in commands)


@pytest.mark.parametrize("library", ["redis", "valkey"])
def test_a_cluster_client_is_untouched(clients: Clients, library: str) -> None:
    module = import_module(f"{library}.cluster")
    kind = module.RedisCluster if library == "redis" else module.ValkeyCluster
    with running(cluster_enabled="yes", cluster_port=str(free_port())) as server:
        server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        ready = b"cluster_state:ok"
        until(lambda: ready in server.call("CLUSTER", "INFO"), "the cluster is up")
        with installed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = kind(host="127.0.0.1", port=server.port)
            try:
                server.call("SET", "k", "v")
                spy = Spy(server, "get")
                assert [client.get("k") for _ in range(3)] == [b"v"] * 3
                client.set("k", "own")
                assert client.get("k") == b"own"
                pipe = client.pipeline()
                pipe.set("k", "1").get("k")
                assert pipe.execute() == [True, b"1"]
                assert spy.asked == 5
                assert server.trackers() == []
            finally:
                client.close()


@pytest.mark.parametrize("library", ["redis", "valkey"])
def test_a_sentinel_client_is_untouched(own_server: Server, library: str) -> None:
    module = import_module(f"{library}.sentinel")
    sentinel = _sentinel(Server(), own_server)
    try:
        with installed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = module.Sentinel([("127.0.0.1", sentinel.port)], socket_timeout=2)
            client = directory.master_for("main", socket_timeout=2)
            own_server.call("SET", "k", "v")
            spy = Spy(own_server, "get")
            assert [client.get("k") for _ in range(3)] == [b"v"] * 3
            assert spy.asked == 3
            client.set("k", "own")
            assert client.get("k") == b"own"
            client.close()
            for each in directory.sentinels:
                each.close()
    finally:
        sentinel.close()


def _sentinel(process: Server, upstream: Server) -> Server:
    """Turns a server that was not started into a sentinel that watches another."""
    config = process.directory / "sentinel.conf"
    config.write_text(
        f"port {process.port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {upstream.port} 1\n"
    )
    process.start_as_sentinel(config)
    return process


def test_a_dataset_of_objects_is_not_shared_between_decodings(
    server: Server, clients: Clients, flavour: str
) -> None:
    text = clients.make(flavour, server.port, decode_responses=True)
    raw = clients.make(flavour, server.port)
    server.call("HSET", "h", "a", "1")
    with installed():
        for _ in range(3):
            assert text.hgetall("h") == {"a": "1"}
            assert raw.hgetall("h") == {b"a": b"1"}
            assert text.hmget("h", "a") == ["1"]
            assert raw.hmget("h", "a") == [b"1"]


def test_include_exclude_and_overrides(server: Server, clients, flavour: str) -> None:
    client = clients.make(flavour, server.port)
    server.fill([("SET", key, "v") for key in ("user:1", "tmp:1", "user:tmp")])
    settings = {"include": ["user:*"], "exclude": ["*:tmp"]}
    with installed(**settings):
        warm(server, lambda: client.get("user:1"), "get")
        spy = Spy(server, "get")
        for key in ("tmp:1", "user:tmp"):
            assert [client.get(key) for _ in range(3)] == [b"v"] * 3
        assert spy.asked == 6
        assert client.get("user:1") == b"v"
        assert spy.asked == 6


def test_mode_off_does_nothing(server: Server, clients, flavour: str) -> None:
    client = clients.make(flavour, server.port)
    with installed(mode="off"):
        _passes_through(server, client)
        assert server.trackers() == []


def test_mode_observe_always_asks(server: Server, clients, flavour: str) -> None:
    client = clients.make(flavour, server.port)
    server.call("SET", "k", "v")
    with installed(mode="observe"):
        for _ in range(3):
            spy = Spy(server, "get")
            assert client.get("k") == b"v"
            assert spy.asked >= 1


@pytest.mark.parametrize("tracking", ["optin", "bcast"])
def test_other_ways_of_tracking(server: Server, clients, flavour: str, tracking: str) -> None:
    settings = {"tracking": tracking, **({"prefixes": ["user:"]} if tracking == "bcast" else {})}
    client = clients.make(flavour, server.port)
    server.fill([("SET", "user:1", "old"), ("SET", "else", "v")])
    with installed(**settings):
        warm(server, lambda: client.get("user:1"), "get")
        server.call("SET", "user:1", "new")
        until(lambda: client.get("user:1") == b"new", "the foreign write", patience_s=1.0)
        client.set("user:1", "own")
        assert client.get("user:1") == b"own"
        spy = Spy(server, "get")
        assert [client.get("else") for _ in range(3)] == [b"v"] * 3
        assert spy.asked == (3 if tracking == "bcast" else 1)


def test_reads_that_are_not_asked_of_the_l1_are_counted(server: Server, clients, flavour) -> None:
    with installed(exclude="no:*"):
        client = clients.make(flavour, server.port)
        single = clients.make(flavour, server.port, single_connection_client=True)
        _is_cached(server, client)
        for _ in range(3):
            client.get("no:1")
            single.get("k")
        client.pipeline(transaction=False).get("no:1").get("k").execute()
        counted = cachee.stats()
        assert counted.bypasses["not_admitted"] == 4
        assert counted.bypasses["single_connection"] == 3
        assert counted.reads >= counted.hits + counted.misses + 7
        assert "single_connection 3" in str(cachee.explain("k"))
    with installed():
        assert cachee.stats().bypasses == {}
