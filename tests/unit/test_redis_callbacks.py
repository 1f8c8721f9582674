"""Noticing that a client's response callbacks change."""

import gc

import pytest
import redis

from cachee.integrations.redis.callbacks import unwatch_callbacks, watch_callbacks

CHANGES = {
    "set_response_callback": lambda client: client.set_response_callback("GET", len),
    "an item": lambda client: client.response_callbacks.__setitem__("get", len),
    "deleting": lambda client: client.response_callbacks.__delitem__("hexists"),
    "update": lambda client: client.response_callbacks.update({"GET": len}),
    "pop": lambda client: client.response_callbacks.pop("HEXISTS"),
    "clear": lambda client: client.response_callbacks.clear(),
    "setdefault": lambda client: client.response_callbacks.setdefault("GET", len),
    "through a pipeline": lambda client: client.pipeline().set_response_callback("GET", len),
}


def watched(commands=frozenset({"GET", "HEXISTS"})):
    client, noticed = redis.Redis(), []
    watch_callbacks(client, commands, noticed.append)
    return client, noticed


@pytest.mark.parametrize("change", CHANGES)
def test_every_way_to_change_is_noticed(change):
    client, noticed = watched()
    CHANGES[change](client)
    assert noticed == [client]


def test_other_commands_are_not():
    client, noticed = watched()
    client.set_response_callback("SET", len)
    assert noticed == []


def test_the_dict_is_the_same_and_works_as_before():
    plain = redis.Redis()
    client, _ = watched()
    assert client.response_callbacks == plain.response_callbacks
    assert "get" not in client.response_callbacks
    assert "hexists" in client.response_callbacks
    assert type(client.response_callbacks).__name__ == type(plain.response_callbacks).__name__
    unwatch_callbacks(client)
    assert type(client.response_callbacks) is type(plain.response_callbacks)
    assert vars(client.response_callbacks) == {}


def test_watching_twice_notices_once():
    client, noticed = watched()
    watch_callbacks(client, frozenset({"GET"}), noticed.append)
    client.set_response_callback("GET", len)
    assert noticed == [client]


def test_the_client_is_not_kept_alive():
    client, noticed = watched()
    callbacks = client.response_callbacks
    del client
    gc.collect()
    callbacks["GET"] = len
    assert noticed == []
