"""Native methods and bindings without a server: what is no hit is as if we were not there."""

import asyncio
import copy
import gc
import inspect
import os
import pickle
import weakref

import pytest

from cachee import _core

NOBODY = {"port": 1, "path": None, "username": None, "password": None}


@pytest.fixture
def engine():
    engine = _core.Engine(max_memory=1 << 20, max_age_ms=60_000, max_staleness_ms=1_000)
    yield engine
    engine.close()


@pytest.fixture
def link(engine):
    return engine.link(
        host="127.0.0.1", db=0, credentials=None, tls=None, client_name="t", **NOBODY
    )


@pytest.fixture
def binding(engine, link):
    return _core.Binding(engine, link, decode=False, encoding="utf-8", errors="strict", resp2=False)


@pytest.fixture
def client_class():
    class Client:
        def get(self, name, *rest, default="other"):
            """Get it."""
            return "original", name, rest, default

        def mget(self, keys, *args):
            raise LookupError(keys)

    original = Client.get
    _core.install_method(Client, "get", original, asynchronous=False)
    _core.install_method(Client, "mget", Client.mget, asynchronous=False)
    yield Client
    _core.withdraw_all()


def test_anything_but_a_hit_reaches_the_original_untouched(client_class, binding):
    client = client_class()
    for hot in [None, frozenset(), frozenset({"get", "mget"})]:
        if hot is not None:
            _core.enroll(client, binding, hot)
        assert client.get("k") == ("original", "k", (), "other")
        assert client.get("k", 1, 2, default=3) == ("original", "k", (1, 2), 3)
        assert client.get(name="k") == ("original", "k", (), "other")
        assert client.get(object)[1] is object
        assert client_class.get(client, "k")[1] == "k"
        with pytest.raises(TypeError):
            client.get()
        with pytest.raises(LookupError, match="a"):
            client.mget(["a", "b"])
    assert client.get("\ud800")[1] == "\ud800"


def test_the_method_looks_like_the_one_it_stands_for(client_class):
    assert inspect.getdoc(client_class.get) == "Get it."
    assert list(inspect.signature(client_class.get).parameters) == [
        "self", "name", "rest", "default",
    ]  # fmt: skip
    assert client_class.get.__name__ == "get"
    with pytest.raises(TypeError):
        client_class.get(object(), "k")


def test_subclasses_and_asynchronous_originals(binding):
    class Base:
        async def get(self, name):
            return "base", name

    class Derived(Base):
        async def get(self, name):
            return "derived", await super().get(name)

    _core.install_method(Base, "get", Base.get, asynchronous=True)
    for client in (Base(), Derived()):
        _core.enroll(client, binding, frozenset({"get"}))
    assert asyncio.run(Base().get("k")) == ("base", "k")
    assert asyncio.run(Derived().get("k")) == ("derived", ("base", "k"))
    _core.withdraw_all()


def test_enrolling_keeps_no_client_alive_and_no_address_is_mistaken(client_class, binding):
    hot = frozenset({"get"})
    clients = [client_class() for _ in range(1_000)]
    for client in clients:
        _core.enroll(client, binding, hot)
        _core.enroll(client, binding, hot)
    assert all(_core.enrolled(client) is binding for client in clients)
    gone = [weakref.ref(client) for client in clients[::2]]
    kept = clients[1::2]
    del clients, client
    gc.collect()
    assert not any(reference() for reference in gone)
    assert all(_core.enrolled(client) is binding for client in kept)
    assert not any(_core.enrolled(client_class()) for _ in range(2_000))
    _core.withdraw(kept[0])
    _core.withdraw(kept[0])
    assert _core.enrolled(kept[0]) is None
    _core.withdraw_all()
    assert _core.enrolled(kept[1]) is None


def test_bad_arguments_of_the_hooks(client_class, binding):
    with pytest.raises(ValueError, match='no native method "set"'):
        _core.install_method(client_class, "set", print, asynchronous=False)
    with pytest.raises(ValueError, match="no native method"):
        _core.enroll(client_class(), binding, frozenset({"set"}))
    with pytest.raises(TypeError):
        _core.enroll(1, binding, frozenset())


def test_without_a_server_everything_is_a_miss(engine, link, binding):
    assert link.wait_settled(5)[0] == "down"
    for command in [("GET", "k"), ("MGET", "a", "b"), ("SET", "k", 1), ("GET", object()), ()]:
        assert binding.read(command) is _core.MISS
        assert binding.peek(command) is _core.MISS
    assert binding.read_many([("GET", "k"), ("HGETALL", b"h")]) == [_core.MISS] * 2
    assert binding.bypasses()["link_down"] > 0
    completions = _core.Completions()
    assert binding.submit(("GET", "k"), completions, 1) is _core.MISS
    assert binding.submit_many([("GET", "k"), ("SET", "k", 1)], completions, 2) == [_core.MISS] * 2
    assert completions.drain() == []
    completions.close()
    completions.close()
    with pytest.raises(OSError, match="closed"):
        completions.fileno()
    ticket = engine.begin_write([("SET", "k", "v"), ("EVAL", "x", 0)])
    engine.end_write(ticket)
    engine.end_write(ticket)
    engine.end_write(0)
    engine.close()
    assert link.status()[0] == "closed"
    assert binding.read(("GET", "k")) is _core.MISS
    with pytest.raises(RuntimeError):
        engine.link(host="127.0.0.1", db=1, credentials=None, tls=None, client_name="t", **NOBODY)


@pytest.mark.parametrize(
    ("command", "cacheable"),
    [
        (("GET", "k"), True),
        (("get", b"k"), True),
        (("GET", 5), True),
        (("GET", 1.5), True),
        (("GET", True), False),
        (("GET", None), False),
        (("GET", bytearray(b"k")), False),
        (("GET", "\ud800"), False),
        (("GET",), False),
        (("GET", "a", "b"), False),
        (("MGET", "a", "b"), True),
        (("MGET",), False),
        (("HMGET", "h", "f"), True),
        (("EXISTS", "a", "b"), True),
        (("TTL", "k"), False),
        (("CONFIG GET", "x"), False),
        (("SRANDMEMBER", "s"), False),
        ((), False),
    ],
)
def test_what_is_cacheable(binding, command, cacheable):
    assert binding.cacheable(command) is cacheable


@pytest.mark.parametrize(
    ("encoding", "errors", "text", "cacheable"),
    [
        ("utf-8", "strict", "ключ", True),
        ("UTF8", "strict", "ключ", True),
        ("utf-8", "replace", "ключ", False),
        ("utf-8", "replace", "key", True),
        ("latin-1", "strict", "é", False),
        ("latin-1", "strict", "key", True),
        ("utf-16", "strict", "key", False),
        ("no such codec", "strict", "key", False),
    ],
)
def test_a_str_key_counts_where_every_packer_agrees(
    engine, link, encoding, errors, text, cacheable
):
    binding = _core.Binding(
        engine, link, decode=False, encoding=encoding, errors=errors, resp2=False
    )
    assert binding.cacheable(("GET", text)) is cacheable
    assert binding.cacheable((b"GET", text.encode())) is True


def test_links_are_one_for_each_identity(engine, link):
    def other(**changed):
        arguments = {"host": "127.0.0.1", "db": 0, "credentials": None, "tls": None, **NOBODY}
        return engine.link(client_name="t", **{**arguments, **changed})

    assert other() is link
    different = [{"db": 1}, {"port": 2}, {"password": "x"}, {"username": "u"}, {"tls": {}}]
    links = [other(**changed) for changed in different]
    assert len({id(each) for each in [link, *links]}) == 6
    assert [other(**changed) for changed in different] == links
    assert engine.links() == [link, *links]
    with pytest.raises(ValueError, match="either host or path"):
        other(path="/tmp/socket")
    with pytest.raises(TypeError, match="unknown key of tls"):
        other(tls={"certificate": "x"})
    with pytest.raises(ValueError, match="verify must be full"):
        other(tls={"verify": "maybe"})


def test_bad_settings_of_the_engine():
    for bad in ({"tracking": "loose"}, {"max_age_ms": 0}, {"max_staleness_ms": 0}):
        settings = {"max_memory": 1 << 20, "max_age_ms": 1, "max_staleness_ms": 1, **bad}
        with pytest.raises(ValueError, match=next(iter(bad))):
            _core.Engine(**settings)


def test_sentinels_keep_their_identity():
    for sentinel in (_core.MISS, _core.PENDING):
        assert copy.deepcopy(sentinel) is sentinel
        assert pickle.loads(pickle.dumps(sentinel)) is sentinel
    assert (repr(_core.MISS), repr(_core.PENDING)) == ("MISS", "PENDING")


def test_a_forked_child_starts_empty(engine, link, binding):
    child = os.fork()
    if child == 0:
        good = (
            binding.read(("GET", "k")) is _core.MISS
            and link.status()[0] == "closed"
            and engine.links() == []
            and engine.begin_write([("SET", "k", 1)]) == 0
        )
        engine.after_fork_in_child()
        good = good and engine.links() == [] and engine.stats()["entries"] == 0
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert engine.links() == [link]
