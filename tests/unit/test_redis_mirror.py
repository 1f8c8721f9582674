"""How a pool connects, as arguments for a link: mirrored, or a reason to pass through."""

import importlib

import pytest

from cachee.integrations.redis.library import flavours
from cachee.integrations.redis.mirror import Refusal, mirror_pool


def all_flavours():
    found = []
    for library in ("redis", "valkey"):
        importlib.import_module(library)
        found += flavours(library)
    return found


@pytest.fixture(params=all_flavours(), ids=lambda flavour: flavour.name)
def flavour(request):
    return request.param


def pool_of(flavour, **options):
    return flavour.client(**options).connection_pool


def mirrored(flavour, **options):
    return mirror_pool(flavour, pool_of(flavour, **options))


def test_defaults(flavour):
    mirror = mirrored(flavour)
    assert mirror.link == {
        "host": "localhost",
        "port": 6379,
        "path": None,
        "db": 0,
        "username": None,
        "password": None,
        "credentials": None,
        "tls": None,
        "client_name": "cachee",
    }
    assert (mirror.decode, mirror.encoding, mirror.errors) == (False, "utf-8", "strict")


def test_what_a_client_is_given(flavour):
    mirror = mirrored(
        flavour,
        host="h",
        port=1,
        db=3,
        username="u",
        password="p",
        decode_responses=True,
        encoding="latin-1",
        encoding_errors="ignore",
        protocol=3,
        socket_timeout=1,
        health_check_interval=3,
        client_name="x",
        max_connections=5,
    )
    link = mirror.link
    assert (link["host"], link["port"], link["db"]) == ("h", 1, 3)
    assert (link["username"], link["password"]) == ("u", "p")
    assert (mirror.decode, mirror.encoding, mirror.errors) == (True, "latin-1", "ignore")
    assert mirror.resp2 is False
    assert mirrored(flavour, protocol=2).resp2 is True


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("{}://u:p%40@h:7/4", {"host": "h", "port": 7, "db": 4, "username": "u", "password": "p@"}),
        ("{}://h?db=5", {"host": "h", "db": 5}),
        ("unix:///run/a.sock?db=2", {"host": None, "path": "/run/a.sock", "db": 2}),
    ],
)
def test_urls(flavour, url, expected):
    client = flavour.client.from_url(url.format(flavour.library))
    link = mirror_pool(flavour, client.connection_pool).link
    assert {name: link[name] for name in expected} == expected


def test_unix_socket(flavour):
    link = mirrored(flavour, unix_socket_path="/run/a.sock").link
    assert (link["host"], link["port"], link["path"]) == (None, 0, "/run/a.sock")


@pytest.mark.parametrize(
    ("options", "verify"),
    [
        ({"ssl_check_hostname": True}, "full"),
        ({"ssl_check_hostname": False}, "no-hostname"),
        ({"ssl_cert_reqs": "none"}, "none"),
        ({"ssl_cert_reqs": None}, "none"),
        ({"ssl_cert_reqs": "optional", "ssl_check_hostname": True}, "full"),
    ],
)
def test_tls(flavour, options, verify):
    tls = mirrored(flavour, ssl=True, ssl_ca_certs="/ca.pem", **options).link["tls"]
    assert tls == {
        "verify": verify,
        "server_name": None,
        "ca_file": "/ca.pem",
        "ca_data": None,
        "cert_file": None,
        "key_file": None,
    }


def test_a_default_of_the_library_is_kept(flavour):
    default = flavour.tls_defaults["ssl_check_hostname"]
    expected = "full" if default else "no-hostname"
    pool = pool_of(flavour, ssl=True)
    pool.connection_kwargs.pop("ssl_check_hostname")
    assert mirror_pool(flavour, pool).link["tls"]["verify"] == expected


def test_credential_providers_are_asked_by_the_link(flavour):
    credentials = importlib.import_module(f"{flavour.library}.credentials")
    provider = credentials.UsernamePasswordCredentialProvider("u", "p")
    link = mirrored(flavour, credential_provider=provider).link
    assert (link["username"], link["password"]) == (None, None)
    assert link["credentials"]() == ("u", "p")
    again = mirrored(flavour, credential_provider=provider).link
    assert again["credentials"] is link["credentials"], "one link for one provider"
    only = credentials.UsernamePasswordCredentialProvider(password="p")
    assert mirrored(flavour, credential_provider=only).link["credentials"]() == (None, "p")


def refusal(flavour, pool):
    found = mirror_pool(flavour, pool)
    assert isinstance(found, Refusal)
    assert found.reason.startswith(flavour.name + ": ")
    return found.reason


def test_classes_that_are_not_the_librarys_own_pass_through(flavour):
    class Connection(flavour.tcp_class):
        pass

    pool = pool_of(flavour)
    pool.connection_class = Connection
    assert "connection class Connection" in refusal(flavour, pool)

    pool_class = type(pool_of(flavour))

    class Pool(pool_class):
        def make_connection(self):
            return super().make_connection()

    assert "pool class Pool" in refusal(flavour, Pool())

    class Parser:
        pass

    pool = pool_of(flavour)
    pool.connection_kwargs["parser_class"] = Parser
    assert "parser class Parser" in refusal(flavour, pool)


@pytest.mark.parametrize(
    "option",
    [
        {"ssl_ciphers": "DEFAULT"},
        {"ssl_ca_path": "/etc/ssl"},
        {"ssl_min_version": 772},
        {"ssl_ca_data": b"der"},
        {"ssl_password": "x"},
    ],
)
def test_tls_options_without_a_mirror_pass_through(flavour, option):
    pool = pool_of(flavour, ssl=True)
    pool.connection_kwargs.update(option)
    assert next(iter(option)) in refusal(flavour, pool)


def test_connect_functions_pass_through(flavour):
    pool = pool_of(flavour)
    pool.connection_kwargs["redis_connect_func"] = lambda connection: None
    assert "redis_connect_func" in refusal(flavour, pool)


def test_the_clients_own_cache_passes_through():
    import redis
    import valkey

    cache = pytest.importorskip("redis.cache", reason="redis-py before 5.1 has no cache")
    found = {flavour.name: flavour for flavour in all_flavours()}
    client = redis.Redis(protocol=3, cache_config=cache.CacheConfig())
    assert "own cache" in refusal(found["redis.Redis"], client.connection_pool)
    other = valkey.Valkey(cache_enabled=True)
    assert "own cache" in refusal(found["valkey.Valkey"], other.connection_pool)


def test_sentinel_passes_through(flavour):
    sentinels = importlib.import_module(
        f"{flavour.library}{'.asyncio' if flavour.asynchronous else ''}.sentinel"
    )
    sentinel = sentinels.Sentinel([("localhost", 1)])
    client = sentinel.master_for("mymaster")
    assert "Sentinel" in refusal(flavour, client.connection_pool)
