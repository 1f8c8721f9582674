"""The proxy's settings: from every source alike, apart from the L1's, limits that fit together."""

from pathlib import Path

import pytest

from cachee import Settings, SettingsError
from cachee._proxy_settings import LIMITS, SECTION, TABLE, ProxySettings
from cachee._settings import TABLE as L1_TABLE
from cachee._settings import Override
from cachee._sources import load_proxy_settings, load_settings, settings_environment
from cachee.proxy.server import native_settings

EVERY_SETTING = {
    "listen": "tcp://127.0.0.1:0, unix:/run/cachee.sock, tls://[::1]:6390",
    "upstream": "rediss://app:p%2Fw@cache.example.org/2",
    "admin": "9091",
    "threads": "3",
    "connect_timeout": "2s",
    "drain_timeout": "0",
    "tls_cert": "/etc/cachee/cert.pem",
    "tls_key": "/etc/cachee/key.pem",
    "tls_client_ca": "/etc/cachee/clients.pem",
    "upstream_ca": "/etc/cachee/ca.pem",
    "upstream_cert": "/etc/cachee/our.pem",
    "upstream_key": "/etc/cachee/our.key",
    "upstream_verify": "chain",
    "max_clients": "500",
    "query_buffer": "2mb",
    "query_buffer_unauthenticated": "4kb",
    "output_buffer": "1mb",
    "pipeline": "100",
    "max_bulk": "1mb",
    "max_bulk_unauthenticated": "2kb",
    "max_args": "1000",
    "max_args_unauthenticated": "5",
    "idle_timeout": "5m",
    "write_timeout": "30s",
}
EXPECTED = ProxySettings(
    listen=("tcp://127.0.0.1:0", "unix:/run/cachee.sock", "tls://[::1]:6390"),
    upstream="rediss://app:p%2Fw@cache.example.org:6379/2",
    admin="127.0.0.1:9091",
    threads=3,
    connect_timeout_ms=2_000,
    drain_timeout_ms=0,
    tls_cert="/etc/cachee/cert.pem",
    tls_key="/etc/cachee/key.pem",
    tls_client_ca="/etc/cachee/clients.pem",
    upstream_ca="/etc/cachee/ca.pem",
    upstream_cert="/etc/cachee/our.pem",
    upstream_key="/etc/cachee/our.key",
    upstream_verify="chain",
    max_clients=500,
    query_buffer_bytes=2 * 1024**2,
    query_buffer_unauthenticated_bytes=4 * 1024,
    output_buffer_bytes=1024**2,
    pipeline=100,
    max_bulk_bytes=1024**2,
    max_bulk_unauthenticated_bytes=2 * 1024,
    max_args=1_000,
    max_args_unauthenticated=5,
    idle_timeout_ms=300_000,
    write_timeout_ms=30_000,
)


def load(arguments=None, environment=None, directory=Path("/")) -> ProxySettings:
    return load_proxy_settings(arguments, environment=environment or {}, directory=directory)


def test_the_table_has_every_setting_once():
    assert set(EVERY_SETTING) == set(TABLE)
    assert {row.field_name for row in TABLE.values()} == set(ProxySettings.__dataclass_fields__)
    assert not set(TABLE) & set(L1_TABLE)
    assert set(LIMITS) < set(TABLE)


def test_every_source_says_the_same(tmp_path):
    assert load(EVERY_SETTING) == EXPECTED
    assert load(environment=settings_environment(EVERY_SETTING)) == EXPECTED
    lines = [f"{name} = '{value}'" for name, value in EVERY_SETTING.items()]
    (tmp_path / "cachee.toml").write_text("\n".join(lines))
    assert load(directory=tmp_path) == EXPECTED


def test_a_file_may_use_the_types_of_toml(tmp_path):
    (tmp_path / "cachee.toml").write_text(
        "listen = ['tcp://h:1']\nadmin = 9091\nthreads = 2\nmax_clients = 5\nidle_timeout = 60\n"
    )
    settings = load(directory=tmp_path)
    assert (settings.listen, settings.admin) == (("tcp://h:1",), "127.0.0.1:9091")
    assert (settings.threads, settings.max_clients, settings.idle_timeout_ms) == (2, 5, 60_000)


def test_what_is_printed_can_be_read_again():
    rendered = {row.name: row.render(getattr(EXPECTED, row.field_name)) for row in TABLE.values()}
    assert load(rendered) == EXPECTED
    SECTION.check(EXPECTED)
    SECTION.check(ProxySettings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", []),
        ("listen", ""),
        ("listen", 6380),
        ("listen", "tcp://h:1,tcp://h:1"),
        ("listen", [f"tcp://h:{port}" for port in range(1, 20)]),
        ("upstream", 6379),
        ("upstream", ["redis://h"]),
        ("admin", True),
        ("admin", "no port"),
        ("threads", 65),
        ("threads", "many"),
        ("threads", True),
        ("threads", 1.5),
        ("max_clients", 0),
        ("max_clients", "10k"),
        ("query_buffer", "1b"),
        ("pipeline", 0),
        ("max_args", -1),
        ("idle_timeout", "500ms"),
        ("write_timeout", "0s"),
        ("drain_timeout", "2h"),
        ("upstream_verify", "maybe"),
        ("upstream_key", 5),
    ],
)
def test_a_wrong_value_names_setting_value_and_what_is_allowed(name, value):
    with pytest.raises(SettingsError) as caught:
        load({name: value})
    error = caught.value
    assert (error.setting, error.source) == (name, "argument")
    assert error.allowed


@pytest.mark.parametrize(
    ("given", "named", "says"),
    [
        ({"listen": "tls://h:1"}, "tls_cert", "since listen has tls://"),
        ({"tls_key": "/k"}, "tls_key", "empty without tls_cert"),
        ({"upstream_ca": "/ca", "upstream": "redis://h"}, "upstream_ca", "rediss://"),
        ({"upstream_key": "/k"}, "upstream_key", "empty without upstream_cert"),
        ({"query_buffer": "32kb"}, "query_buffer_unauthenticated", "at most query_buffer"),
        ({"max_args": 9}, "max_args_unauthenticated", "at most max_args, which is 9"),
        ({"max_bulk": "8kb"}, "max_bulk_unauthenticated", "which is 8kb"),
    ],
)
def test_settings_that_contradict_each_other(given, named, says):
    with pytest.raises(SettingsError, match=says) as caught:
        load(given)
    assert caught.value.setting == named


def test_one_file_serves_both_and_each_takes_its_own(tmp_path):
    (tmp_path / "cachee.toml").write_text("max_age = '5s'\nlisten = 'tcp://h:1'\n")
    environment = {"CACHEE_UPSTREAM": "redis://h", "CACHEE_MODE": "observe"}
    own = load(environment=environment, directory=tmp_path)
    settings = load_settings(environment=environment, directory=tmp_path)
    assert own == ProxySettings(listen=("tcp://h:1",), upstream="redis://h:6379")
    assert settings == Settings(mode="observe", max_age_ms=5_000)


def test_an_argument_of_the_other_section_is_refused():
    with pytest.raises(SettingsError, match="a setting of cachee proxy"):
        load_settings({"upstream": "redis://:secret@h"}, environment={}, directory=Path("/"))
    with pytest.raises(SettingsError, match="a setting of the L1"):
        load({"max_age": "5s"})


def test_a_misspelt_name_suggests_one_of_any_section():
    with pytest.raises(SettingsError, match=r"did you mean upstream\?") as caught:
        load_settings(environment={"CACHEE_UPSTREEM": "redis://:secret@h"}, directory=Path("/"))
    assert "secret" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"did you mean max_age\?"):
        load(environment={"CACHEE_MAX_AEG": "5s"})


def test_nothing_shown_has_a_password():
    settings = ProxySettings(upstream="redis://app:secret@h:1")
    shown = [row.show(settings) for row in TABLE.values()]
    assert "redis://app:***@h:1" in shown
    assert "secret" not in f"{shown} {settings!r}"


def test_the_native_half_is_given_bytes_and_milliseconds():
    settings = Settings(
        tracking="bcast",
        prefixes=("user:",),
        exclude=("tmp:*",),
        overrides=(Override("session:", "off"),),
        record="/var/tmp/trace",
        record_sample=16,
    )
    given = native_settings(settings, EXPECTED)
    assert given == {
        "threads": 3,
        "mode": "on",
        "max_memory": 256 * 1024**2,
        "max_age_ms": 60_000,
        "max_staleness_ms": 1_000,
        "reply_timeout_ms": 500,
        "connect_timeout_ms": 2_000,
        "tracking": "broadcast",
        "prefixes": [b"user:"],
        "learn_ttl": False,
        "prefetch": "on",
        "prefetch_reads": 1,
        "include": [b"*"],
        "exclude": [b"tmp:*"],
        "overrides": [(b"session:", False)],
        "record": "/var/tmp/trace",
        "record_sample": 16,
        "record_keys": "hashed",
        "tls_cert": "/etc/cachee/cert.pem",
        "tls_key": "/etc/cachee/key.pem",
        "tls_client_ca": "/etc/cachee/clients.pem",
        "upstream_ca": "/etc/cachee/ca.pem",
        "upstream_cert": "/etc/cachee/our.pem",
        "upstream_key": "/etc/cachee/our.key",
        "upstream_verify": "chain",
        "max_clients": 500,
        "query_buffer": 2 * 1024**2,
        "query_buffer_unauthenticated": 4 * 1024,
        "output_buffer": 1024**2,
        "pipeline": 100,
        "max_bulk": 1024**2,
        "max_bulk_unauthenticated": 2 * 1024,
        "max_args": 1_000,
        "max_args_unauthenticated": 5,
        "idle_timeout_ms": 300_000,
        "write_timeout_ms": 30_000,
    }
    assert native_settings(Settings(), ProxySettings())["threads"] >= 1
