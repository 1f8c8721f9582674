"""Settings: one name everywhere, one clear error for a wrong one."""

import itertools
from pathlib import Path

import pytest

import cachee
from cachee import Settings, SettingsError
from cachee._core import Admission
from cachee._settings import TABLE, Override, build_settings
from cachee._sources import load_settings, settings_environment
from cachee._units import format_duration_ms, format_size, parse_duration_ms, parse_size
from tests.harness.servers import Server

EVERY_SETTING = {
    "mode": "observe",
    "max_memory": "64mb",
    "max_age": "30s",
    "max_staleness": "500ms",
    "include": "user:*,flag:*",
    "exclude": "tmp:*",
    "overrides": "session: mode=off; user:vip: mode=on",
    "tracking": "bcast",
    "prefixes": "user:,flag:",
    "learn_ttl": "on",
    "reply_timeout": "250ms",
    "prefetch": "observe",
    "prefetch_reads": "2",
    "snapshot": "/var/lib/cachee/hot",
    "record": "/var/tmp/trace.csv",
    "record_sample": "16",
    "record_keys": "plain",
    "stats_socket": "yes",
}
EXPECTED = Settings(
    mode="observe",
    max_memory_bytes=64 * 1024**2,
    max_age_ms=30_000,
    max_staleness_ms=500,
    include=("user:*", "flag:*"),
    exclude=("tmp:*",),
    overrides=(Override("session:", "off"), Override("user:vip:", "on")),
    tracking="bcast",
    prefixes=("user:", "flag:"),
    learn_ttl=True,
    reply_timeout_ms=250,
    prefetch="observe",
    prefetch_reads=2,
    snapshot="/var/lib/cachee/hot",
    record="/var/tmp/trace.csv",
    record_sample=16,
    record_keys="plain",
    stats_socket=True,
)
TOML = """
mode = "observe"
max_memory = "64mb"
max_age = 30
max_staleness = 0.5
include = ["user:*", "flag:*"]
exclude = ["tmp:*"]
tracking = "bcast"
prefixes = ["user:", "flag:"]
learn_ttl = true
reply_timeout = "250ms"
prefetch = "observe"
prefetch_reads = 2
snapshot = "/var/lib/cachee/hot"
record = "/var/tmp/trace.csv"
record_sample = 16
record_keys = "plain"
stats_socket = true
[{table}overrides."session:"]
mode = "off"
[{table}overrides."user:vip:"]
mode = "on"
"""


def load(arguments=None, environment=None, directory=Path("/")) -> Settings:
    return load_settings(arguments, environment=environment or {}, directory=directory)


def test_the_table_has_every_setting_once():
    assert set(EVERY_SETTING) == set(TABLE)
    assert {row.field_name for row in TABLE.values()} == set(Settings.__dataclass_fields__)


def test_arguments_and_environment_say_the_same():
    assert load(EVERY_SETTING) == EXPECTED
    assert load(environment=settings_environment(EVERY_SETTING)) == EXPECTED


def test_a_file_says_the_same(tmp_path):
    (tmp_path / "cachee.toml").write_text(TOML.format(table=""))
    assert load(directory=tmp_path) == EXPECTED


def test_a_pyproject_says_the_same(tmp_path):
    text = "[tool.cachee]" + TOML.format(table="tool.cachee.")
    (tmp_path / "pyproject.toml").write_text(text)
    assert load(directory=tmp_path) == EXPECTED


def test_cachee_toml_hides_pyproject(tmp_path):
    (tmp_path / "cachee.toml").write_text("max_age = '5s'\n")
    (tmp_path / "pyproject.toml").write_text("[tool.cachee]\nmax_age = 'wrong'\n")
    assert load(directory=tmp_path).max_age_ms == 5_000


def test_a_named_file_hides_both(tmp_path):
    (tmp_path / "cachee.toml").write_text("max_age = 'wrong'\n")
    named = tmp_path / "production.toml"
    named.write_text("max_age = '5s'\n")
    settings = load(environment={"CACHEE_CONFIG": str(named)}, directory=tmp_path)
    assert settings.max_age_ms == 5_000


def test_the_later_source_wins(tmp_path):
    (tmp_path / "cachee.toml").write_text("max_age = '1s'\nmax_memory = '2mb'\nmode = 'observe'\n")
    environment = {"CACHEE_MAX_AGE": "2s", "CACHEE_MAX_MEMORY": "3mb"}
    settings = load({"max_age": "3s", "exclude": None}, environment, tmp_path)
    assert (settings.max_age_ms, settings.max_memory_bytes) == (3_000, 3 * 1024**2)
    assert settings.mode == "observe"


def test_what_is_printed_can_be_read_again():
    rendered = {row.name: row.render(getattr(EXPECTED, row.field_name)) for row in TABLE.values()}
    assert load(rendered) == EXPECTED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "maybe"),
        ("max_memory", "1kb"),
        ("max_memory", "many"),
        ("max_memory", "2tb"),
        ("max_age", "0s"),
        ("max_age", "-1s"),
        ("max_age", "25h"),
        ("max_age", float("nan")),
        ("max_age", True),
        ("max_staleness", "99ms"),
        ("max_staleness", "5 parsecs"),
        ("tracking", "redirect"),
        ("learn_ttl", "perhaps"),
        ("record", 7),
        ("record", b"trace"),
        ("record", "a\0b"),
        ("record_sample", "0"),
        ("record_sample", 1_000_001),
        ("record_keys", "base64"),
        ("include", 7),
        ("include", ["a", 7]),
        ("prefixes", [f"{number}:" for number in range(300)]),
        ("overrides", "session:"),
        ("overrides", "session: mode"),
        ("overrides", {"session:": {}}),
        ("overrides", {"": {"mode": "off"}}),
        ("overrides", 3),
    ],
)
def test_a_wrong_value_names_setting_value_and_what_is_allowed(name, value):
    with pytest.raises(SettingsError) as caught:
        load({name: value})
    error = caught.value
    assert (error.setting, error.value, error.source) == (name, str(value), "argument")
    assert error.allowed
    assert str(error).startswith(f"{name} = ")


@pytest.mark.parametrize(
    ("overrides", "setting", "says"),
    [
        ("session: max_age=5s", "overrides.session:.max_age", "not available yet"),
        ("session: mode=observe", "overrides.session:.mode", "on or off"),
        ("session: nothing=5", "overrides.session:.nothing", "mode"),
    ],
)
def test_an_override_that_is_not_available_says_so(overrides, setting, says):
    with pytest.raises(SettingsError, match=says) as caught:
        load({"overrides": overrides})
    assert caught.value.setting == setting


def test_an_unknown_name_suggests_the_close_one(tmp_path):
    with pytest.raises(SettingsError, match="did you mean max_memory"):
        load({"max_memroy": "1mb"})
    with pytest.raises(SettingsError, match=r"from CACHEE_MAX_AGES.*did you mean max_age\?"):
        load(environment={"CACHEE_MAX_AGES": "1s"})
    (tmp_path / "cachee.toml").write_text("colour = 'blue'\n")
    with pytest.raises(SettingsError, match="one of mode, max_memory"):
        load(directory=tmp_path)


def test_variables_of_our_own_programs_are_left_alone():
    assert load(environment={"CACHEE_TEST_VALKEY": "/x", "CACHEE_DEMO_URL": "y"}) == Settings()


@pytest.mark.parametrize("text", ["mode = [", "\xff"], ids=["not TOML", "not UTF-8"])
def test_an_unreadable_file_is_one_error(tmp_path, text):
    (tmp_path / "cachee.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match="TOML"):
        load(directory=tmp_path)


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        load(environment={"CACHEE_CONFIG": str(tmp_path / "absent.toml")})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tracking": "bcast"}, "at least one prefix"),
        ({"prefixes": "a:"}, "tracking is bcast"),
        ({"tracking": "bcast", "prefixes": "a:,a:b:"}, "covers it"),
        ({"record": "trace.csv"}, "ends in .u64, or record_keys = plain"),
        ({"record": "trace.u64", "record_keys": "plain"}, "ends in .csv, or record_keys = hashed"),
        ({"record": "traces/"}, "the path of a file, or empty"),
    ],
)
def test_settings_that_contradict_each_other(given, says):
    with pytest.raises(SettingsError, match=says):
        load(given)


def test_a_path_may_be_one_of_pathlib_and_of_the_home():
    assert load({"record": Path("/var/tmp/trace")}).record == "/var/tmp/trace"
    assert load({"record": "~/trace"}).record == str(Path.home() / "trace")


def test_the_error_survives_pickling():
    import pickle

    error = SettingsError("mode", "x", "on", "a flag")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("text", ["256mb", "1gb", "1500b", "64kb"])
def test_sizes_round_trip(text):
    assert format_size(parse_size(text)) == text


@pytest.mark.parametrize("text", ["60s", "1500ms"])
def test_durations_round_trip(text):
    assert format_duration_ms(parse_duration_ms(text)) == text


def test_units_are_forgiving_where_it_is_clear():
    assert parse_size(" 1.5 MiB ") == 1_572_864
    assert parse_duration_ms("2H") == 7_200_000
    assert parse_duration_ms("3") == 3_000


def test_globs_are_those_of_the_server(server: Server) -> None:
    letters = [b"a", b"b", b"-", b"]", b"[", b"^", b"!", b"\\", b"*", b"?", b"\n", b"\xff", b"m"]
    keys = [one + two for one in letters for two in (b"", *letters)]
    for key in keys:
        server.call("SET", key, "1")
    pieces = ["a", "b", "m", "[", "[^", "[a-", "[z-a", "]", "-", "^", "!", "\\", "*", "?", "x"]
    patterns = [
        "".join(each) for count in (1, 2, 3) for each in itertools.product(pieces, repeat=count)
    ]
    for pattern in [*patterns, "schl\u00fcssel:*", "\udcff*", ""]:
        text = pattern.encode("utf-8", "surrogateescape")
        ours = Admission([text], [], [])
        theirs = server.call("KEYS", text)
        assert sorted(filter(ours, keys)) == sorted(theirs), pattern


def test_admission_exclude_wins_over_include_and_a_prefix_over_both():
    settings = build_settings(
        [
            ("include", ["a:*", "b:*"], "test"),
            ("exclude", ["a:x*"], "test"),
            ("overrides", {"a:x:keep": {"mode": "on"}, "b:": {"mode": "off"}}, "test"),
        ]
    )
    admits = settings.admits()
    assert admits is not None
    assert [admits(key) for key in (b"a:1", b"a:x", b"a:x:keep:1", b"b:1", b"c:1")] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert Settings().admits() is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"max_memory_bytes": -4}, "max_memory"),
        ({"max_age_ms": 1}, "max_age"),
        ({"mode": "zz"}, "mode"),
        ({"overrides": ("session:",)}, "overrides"),
        ({"prefixes": ("user:",)}, "prefixes"),
        ({"max_staleness_ms": "1s"}, "max_staleness"),
    ],
)
def test_install_checks_settings_made_by_hand(wrong, named):
    with pytest.raises(SettingsError) as caught:
        cachee.install(Settings(**wrong))
    assert caught.value.setting == named
    assert cachee.stats().mode == "off"


def test_install_takes_the_settings_of_every_source():
    settings = build_settings([(name, value, "test") for name, value in EVERY_SETTING.items()])
    cachee.install(Settings(max_memory_bytes=2**20, overrides=settings.overrides))
    cachee.uninstall()
    cachee.install(Settings(tracking="bcast", prefixes=settings.prefixes))
    cachee.uninstall()


def test_install_takes_settings_or_keywords():
    with pytest.raises(TypeError, match="settings must be a Settings, not str"):
        cachee.install("1mb")
    with pytest.raises(TypeError, match="settings or max_age, not both"):
        cachee.install(Settings(), max_age="5s")
    assert cachee.stats().mode == "off"


@pytest.mark.parametrize("key", [None, 5, ["a"], bytearray(b"a")])
def test_explain_takes_str_or_bytes(key):
    with pytest.raises(TypeError, match="key must be str or bytes, not "):
        cachee.explain(key)


def test_what_is_off_has_empty_tables():
    assert cachee.stats().bypasses == cachee.stats().pass_through == {}
