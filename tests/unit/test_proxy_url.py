"""Addresses of the proxy: one canonical form, one clear error, no password in either."""

import pytest

from cachee import SettingsError
from cachee.proxy.url import Upstream, parse_admin, parse_listen, parse_upstream, redact


@pytest.mark.parametrize(
    ("text", "canonical", "local"),
    [
        ("tcp://127.0.0.1:6380", "tcp://127.0.0.1:6380", True),
        ("tcp://0.0.0.0:0", "tcp://0.0.0.0:0", False),
        (" tls://cache.example.org:6380/ ", "tls://cache.example.org:6380", False),
        ("tcp://[::1]:6380", "tcp://[::1]:6380", True),
        ("tcp://LOCALHOST:1", "tcp://LOCALHOST:1", True),
        ("unix:/run/cachee.sock", "unix:/run/cachee.sock", True),
        ("unix:///run/cachee.sock", "unix:/run/cachee.sock", True),
    ],
)
def test_a_listener(text, canonical, local):
    listener = parse_listen(text)
    assert (listener.url, listener.is_local) == (canonical, local)
    assert parse_listen(listener.url) == listener


def test_a_relative_socket_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert parse_listen("unix:x.sock").url == f"unix:{tmp_path}/x.sock"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "tcp://HOST:PORT"),
        ("127.0.0.1:6380", "tcp://HOST:PORT, tls://HOST:PORT or unix:PATH"),
        ("redis://127.0.0.1:6380", "tcp://HOST:PORT"),
        ("tcp://127.0.0.1", "a host and a port"),
        ("tcp://:6380", "a host and a port"),
        ("tcp://::1:6380", "a host and a port"),
        ("tcp://h:65536", "at most 65535"),
        ("tcp://h:-1", "a host and a port"),
        ("tcp://h:٣", "a host and a port"),
        ("tcp://h:6380/0", "a host and a port"),
        ("tcp://user:secret@h:6380", "a host and a port"),
        ("unix:", "a path"),
        ("unix:/run/", "a path"),
        ("unix:/run/a b.sock", "without spaces"),
        ("unix:/" + "x" * 110, "at most 103 bytes"),
    ],
)
def test_what_is_no_listener(text, says):
    with pytest.raises(SettingsError) as caught:
        parse_listen(text)
    assert says in caught.value.allowed
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("redis://h", "redis://h:6379"),
        ("redis://h:1/2", "redis://h:1/2"),
        ("redis://h:1/0", "redis://h:1"),
        ("rediss://u:p@[::1]:7/", "rediss://u:p@[::1]:7"),
        ("valkeys://:p@h", "rediss://:p@h:6379"),
        ("redis://u%40x:p%2F%3a@h", "redis://u%40x:p%2F%3A@h:6379"),
        ("redis://u:a@b@h", "redis://u:a%40b@h:6379"),
        ("unix:///run/v.sock", "unix:///run/v.sock"),
        ("unix://:p@/run/my%20v.sock?db=3", "unix://:p@/run/my%20v.sock?db=3"),
        ("redis+cluster://a,b:2,[::1]", "redis+cluster://a:6379,b:2,[::1]:6379"),
        ("redis+sentinel://:p@a,b:1/main/4", "redis+sentinel://:p@a:26379,b:1/main/4"),
    ],
)
def test_an_upstream(text, canonical):
    upstream = parse_upstream(text)
    assert upstream.url == canonical
    assert parse_upstream(canonical) == upstream


def test_the_parts_of_an_upstream():
    assert parse_upstream("redis://us%25er:pa%2Fss%C3%A4@h/2") == Upstream(
        "redis", (("h", 6379),), "", "us%er", "pa/ssä", 2, ""
    )
    assert parse_upstream("redis://:%FF@h").url == "redis://:%FF@h:6379"
    assert parse_upstream("redis+sentinel://a/ma%2Fin").master == "ma/in"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "redis://"),
        ("127.0.0.1:6379", "redis://"),
        ("http://h", "redis://"),
        ("redis://", "a host and a port"),
        ("redis://:secret@", "a host and a port"),
        ("redis://secret@h", "USER:PASSWORD@"),
        ("redis://u:sec/ret@h", "a host and a port"),
        ("redis://u:sec#ret@h", "%23"),
        ("redis://u:secret%@h", "%25"),
        ("redis://u:secret%zz@h", "%25"),
        ("redis://h:0", "1 to 65535"),
        ("redis://h:99999", "at most 65535"),
        ("redis://h/one", "a database is a number"),
        ("redis://h/-1", "a database is a number"),
        ("redis://h/99999999999999999999", "a database is a number"),
        ("redis://h?password=secret", "nothing after a ?"),
        ("redis://a,b", "one host"),
        ("redis+cluster://a,,b", "a host and a port"),
        ("redis+cluster://a/1", "only database 0"),
        ("redis+sentinel://a", "the name of the primary"),
        ("unix://run/v.sock", "a path begins with /"),
        ("unix://:secret@run/v.sock", "a path begins with /"),
        ("unix:///v.sock?password=secret", "nothing but db=N"),
        ("unix:///v.sock?db=", "nothing but db=N"),
        ("unix:///v%00.sock", "zero byte"),
    ],
)
def test_what_is_no_upstream(text, says):
    with pytest.raises(SettingsError) as caught:
        parse_upstream(text)
    assert caught.value.setting == "upstream"
    assert says in caught.value.allowed
    if "secret" in text.partition("@")[0].partition(":")[2] or "password=" in text:
        assert "secret" not in str(caught.value).replace("redis://secret@", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://u:p@h:1", "redis://u:***@h:1"),
        ("redis://:p/w@x@h", "redis://:***@h"),
        ("redis://p/w@h", "redis://***@h"),
        ("u:p@h", "u:***@h"),
        ("redis://h", "redis://h"),
        ("unix:///a@b", "unix://***@b"),
        ("unix:///a?db=1&password=p", "unix:///a?db=1&password=***"),
        ("256mb", "256mb"),
    ],
)
def test_what_is_shown_of_any_text(text, shown):
    assert redact(text) == shown


def test_an_upstream_shows_no_password():
    upstream = parse_upstream("redis+sentinel://app:secret@a/main")
    assert upstream.shown == "redis+sentinel://app:***@a:26379/main"
    assert "secret" not in f"{upstream!r} {upstream}"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("127.0.0.1:9091", "127.0.0.1:9091"),
        ("9091", "127.0.0.1:9091"),
        (":0", "127.0.0.1:0"),
        ("http://[::1]:9091/", "[::1]:9091"),
    ],
)
def test_an_admin_address(text, canonical):
    assert parse_admin(text).address == canonical


@pytest.mark.parametrize("text", ["", "localhost", "h:99999", "https://h:1", "unix:/x"])
def test_what_is_no_admin_address(text):
    with pytest.raises(SettingsError, match="admin = "):
        parse_admin(text)
