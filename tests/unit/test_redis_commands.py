"""What a command is, by its name: no write may ever be taken for a read."""

import pytest

from cachee.integrations.redis import commands
from cachee.integrations.redis.commands import Kind, keys_of, kind_of, split_name


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (("GET", "k"), Kind.CACHEABLE),
        (("get", "k"), Kind.CACHEABLE),
        ((b"GET", "k"), Kind.CACHEABLE),
        (("SET", "k", 1), Kind.EFFECT),
        (("set", "k", 1), Kind.EFFECT),
        (("GETEX", "k"), Kind.EFFECT),
        (("GETDEL", "k"), Kind.EFFECT),
        (("GEORADIUS", "k"), Kind.EFFECT),
        (("SORT", "k"), Kind.EFFECT),
        (("EVAL", "return 1", 0), Kind.EFFECT),
        (("FCALL", "f", 0), Kind.EFFECT),
        (("NOT.KNOWN", "k"), Kind.EFFECT),
        (("TTL", "k"), Kind.HARMLESS),
        (("SCRIPT LOAD", "return 1"), Kind.HARMLESS),
        (("CLIENT LIST",), Kind.HARMLESS),
        (("CLIENT", "TRACKING", "on"), Kind.STATE),
        (("client reply", "off"), Kind.STATE),
        (("SELECT", 1), Kind.STATE),
        ((b"auth", "p"), Kind.STATE),
        (("WATCH", "k"), Kind.STATE),
        ((), Kind.EFFECT),
        ((None,), Kind.EFFECT),
        ((bytearray(b"GET"), "k"), Kind.CACHEABLE),
    ],
)
def test_kinds(args, kind):
    assert kind_of(args) is kind
    assert kind_of(args) is kind, "the same again from the table of spellings"


def test_a_spelling_table_that_is_full_stays_right(monkeypatch):
    monkeypatch.setattr(commands, "KINDS_BY_SPELLING_MAX", 0)
    assert kind_of(("sEt", "k", 1)) is Kind.EFFECT
    assert "sEt" not in commands.KINDS_BY_SPELLING


def test_cacheable_spellings_are_those_the_libraries_send():
    cacheable = [name for name, kind in commands.KINDS_BY_SPELLING.items() if kind == 0]
    assert all(isinstance(name, str) and name == name.upper() for name in cacheable)


def test_no_server_write_is_called_harmless(server):
    """Every command the server flags as a write is an effect here."""
    for entry in server.call("COMMAND"):
        name, flags = entry[0].decode(), entry[2]
        writes = any(bytes(flag) in (b"write", b"+write") for flag in flags)
        if writes and name.upper() not in ("SORT", "GEORADIUS"):
            assert kind_of((name,)) is Kind.EFFECT, name


def test_names_of_two_words_are_sent_as_two():
    assert split_name(("SCRIPT LOAD", "x")) == ("SCRIPT", "LOAD", "x")
    assert split_name((b"XGROUP CREATE", "k")) == (b"XGROUP", b"CREATE", "k")
    assert split_name(("GET", "a key")) == ("GET", "a key")


def test_keys():
    assert keys_of(("mget", "a", "b")) == ("a", "b")
    assert keys_of(("EXISTS", "a", "b")) == ("a", "b")
    assert keys_of(("HGETALL", "h")) == ("h",)
