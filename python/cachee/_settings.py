"""Every setting of cachee: its name, default, unit, meaning and limits, in one table.

A setting has the same name everywhere: `max_age` in cachee.toml or [tool.cachee], CACHEE_MAX_AGE,
`--max-age`, `install(max_age=…)`. Each value passes one parser that knows what is allowed; a wrong
one is a `SettingsError` that names setting, value and limits. Reading files and the environment is
`_sources.py`; this module knows neither.

Limits are here because a value beyond them breaks a promise rather than being a matter of taste: a
`max_staleness` under 100 ms could not be proven alive over an ordinary network, one over a minute
would make the staleness bound meaningless.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from cachee import _globs, _units
from cachee._errors import SettingsError

Mode = Literal["on", "observe", "off"]
Tracking = Literal["default", "optin", "bcast"]

__all__ = ["TABLE", "Override", "Setting", "Settings", "build_settings", "check_settings"]

MAX_MEMORY_LIMITS_BYTES = (1024**2, 1024**4)
MAX_AGE_LIMITS_MS = (10, 86_400_000)
MAX_STALENESS_LIMITS_MS = (100, 60_000)
REPLY_TIMEOUT_LIMITS_MS = (10, 60_000)
PREFIXES_MAX = 256

NOT_YET = {
    "admin": "the admin address",
    "listen": "the proxy",
    "prefetch": "prefetching",
    "snapshot": "the warm restart",
    "upstream": "the proxy",
}
"""Settings of the design that this version does not have, with the part they belong to."""


@dataclass(frozen=True)
class Override:
    """What differs for keys that start with `prefix`.

    `mode` is "on" or "off". A prefix that starts with another one wins over it.

    >>> Override("session:", "off").mode
    'off'
    """

    prefix: str
    mode: Mode


@dataclass(frozen=True)
class Settings:
    """All settings, for `install`, which checks them; immutable, so threads and forks may share it.

    `max_memory` is in bytes here, the durations in milliseconds; what people write ("64mb", "5s")
    goes to the keywords of `install` instead.

    >>> Settings().mode, Settings().max_memory_bytes, Settings().max_age_ms
    ('on', 268435456, 60000)
    """

    mode: Mode = "on"
    max_memory_bytes: int = 256 * 1024**2
    max_age_ms: int = 60_000
    max_staleness_ms: int = 1_000
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    tracking: Tracking = "default"
    prefixes: tuple[str, ...] = ()
    learn_ttl: bool = False
    reply_timeout_ms: int = 500
    stats_socket: bool = False

    def admits(self) -> Callable[[bytes], bool] | None:
        """Which keys may be cached, as a function; None when every key may.

        >>> Settings(exclude=("tmp:*",)).admits()(b"tmp:1")
        False
        """
        if self.include == ("*",) and not self.exclude and not self.overrides:
            return None
        included, excluded = _globs.compile_globs(self.include), _globs.compile_globs(self.exclude)
        modes = sorted(
            (
                (item.prefix.encode("utf-8", "surrogateescape"), item.mode)
                for item in self.overrides
            ),
            key=lambda pair: -len(pair[0]),
        )

        def admitted(key: bytes) -> bool:
            for prefix, mode in modes:
                if key.startswith(prefix):
                    return mode == "on"
            return included(key) and not excluded(key)

        return admitted


@dataclass(frozen=True)
class Setting:
    """One row of the table: what `cachee config` prints and how a value is read."""

    name: str
    field_name: str
    unit: str
    meaning: str
    allowed: str
    parse: Callable[[object], object] = field(repr=False)
    render: Callable[[object], object] = field(repr=False)

    @property
    def flag(self) -> str:
        """The command line flag: --max-age."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable: CACHEE_MAX_AGE."""
        return "CACHEE_" + self.name.upper()


def build_settings(
    values: Iterable[tuple[str, object, str]], base: Settings | None = None
) -> Settings:
    """Settings from (name, value, source) in rising precedence; SettingsError for a wrong one.

    >>> build_settings([("max_age", "5s", "argument")]).max_age_ms
    5000
    """
    settings = base or Settings()
    for name, value, source in values:
        row = _find(name, value, source)
        try:
            parsed = row.parse(value)
        except SettingsError as error:
            raise SettingsError(error.setting, error.value, error.allowed, source) from None
        except (ValueError, TypeError):
            raise SettingsError(row.name, value, row.allowed, source) from None
        settings = replace(settings, **{row.field_name: parsed})  # type: ignore[arg-type]  # by name
    _check_together(settings)
    return settings


def check_settings(settings: Settings) -> None:
    """SettingsError unless every value is one that `build_settings` could have made.

    >>> check_settings(Settings())
    """
    for row in TABLE.values():
        value = getattr(settings, row.field_name)
        try:
            right = row.parse(row.render(value)) == value
        except (ValueError, TypeError, AttributeError):
            right = False
        if not right:
            raise SettingsError(row.name, value, row.allowed, "settings")
    _check_together(settings)


def _check_together(settings: Settings) -> None:
    if settings.tracking == "bcast" and not settings.prefixes:
        raise SettingsError(
            "prefixes", "", "at least one prefix when tracking is bcast", "settings"
        )
    if settings.tracking != "bcast" and settings.prefixes:
        given = ", ".join(settings.prefixes)
        raise SettingsError("prefixes", given, "empty unless tracking is bcast", "settings")
    ordered = sorted(settings.prefixes)
    for shorter, longer in itertools.pairwise(ordered):
        if longer.startswith(shorter):
            allowed = f"prefixes of which none starts with another ({shorter!r} covers it)"
            raise SettingsError("prefixes", longer, allowed, "settings")


def _find(name: str, value: object, source: str) -> Setting:
    row = TABLE.get(name)
    if row is not None:
        return row
    if name in NOT_YET:
        raise SettingsError(name, value, f"nothing yet: {NOT_YET[name]} is not available", source)
    close = difflib.get_close_matches(name, TABLE, n=1)
    hint = f"a known name, did you mean {close[0]}?" if close else f"one of {', '.join(TABLE)}"
    raise SettingsError(name, value, hint, source)


def _choice(*words: str) -> Callable[[object], object]:
    def parse(value: object) -> object:
        text = str(value).strip().lower()
        if text not in words:
            raise ValueError(value)
        return text

    return parse


def _size(limits: tuple[int, int]) -> Callable[[object], object]:
    return _between(_units.parse_size, limits)


def _duration(limits: tuple[int, int]) -> Callable[[object], object]:
    return _between(_units.parse_duration_ms, limits)


def _between(parse: Callable[[object], int], limits: tuple[int, int]) -> Callable[[object], object]:
    def parse_within(value: object) -> object:
        number = parse(value)
        if not limits[0] <= number <= limits[1]:
            raise ValueError(value)
        return number

    return parse_within


def _switch(value: object) -> object:
    if isinstance(value, bool):
        return value
    words = {"on": True, "true": True, "yes": True, "1": True}
    words |= {"off": False, "false": False, "no": False, "0": False}
    try:
        return words[str(value).strip().lower()]
    except KeyError:
        raise ValueError(value) from None


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, Sequence) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise ValueError(value)


def _glob_list(value: object) -> object:
    patterns = _texts(value)
    try:
        _globs.compile_globs([*patterns, ""])
    except re.error:
        raise ValueError(value) from None
    return patterns


def _prefix_list(value: object) -> object:
    prefixes = _texts(value)
    if len(prefixes) > PREFIXES_MAX:
        raise ValueError(value)
    return prefixes


def _override_list(value: object) -> object:
    """From a table {prefix: {name: value}}, or from text: "session: mode=off; tmp: mode=off"."""
    if isinstance(value, str):
        table: dict[str, dict[str, object]] = {}
        for entry in filter(None, (part.strip() for part in value.split(";"))):
            prefix, _, assignments = entry.rpartition(" ")
            if not prefix:
                raise ValueError(value)
            table[prefix.strip()] = _assignments(assignments)
        return _override_list(table)
    if isinstance(value, tuple) and all(isinstance(item, Override) for item in value):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(value)
    return tuple(_override(str(prefix), content) for prefix, content in value.items())


def _assignments(text: str) -> dict[str, object]:
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not equals for _, equals, _ in pairs):
        raise ValueError(text)
    return {name.strip(): content.strip() for name, _, content in pairs}


def _override(prefix: str, content: object) -> Override:
    if not prefix or not isinstance(content, Mapping):
        raise ValueError(content)
    for name, value in content.items():
        where = f"overrides.{prefix}"
        if name != "mode":
            if name in TABLE:
                allowed = f"mode only: {name} for a prefix is not available yet"
            else:
                allowed = "mode"
            raise SettingsError(f"{where}.{name}", value, allowed)
        if value not in ("on", "off"):
            raise SettingsError(f"{where}.mode", value, "on or off")
    if "mode" not in content:
        raise ValueError(content)
    return Override(prefix, cast(Mode, content["mode"]))


def _same(value: object) -> object:
    return value


def _render_list(value: object) -> object:
    return list(cast("tuple[str, ...]", value))


def _render_overrides(value: object) -> object:
    return {item.prefix: {"mode": item.mode} for item in cast("tuple[Override, ...]", value)}


def _render_size(value: object) -> object:
    return _units.format_size(cast(int, value))


def _render_duration(value: object) -> object:
    return _units.format_duration_ms(cast(int, value))


def _size_row(name: str, limits: tuple[int, int], meaning: str) -> Setting:
    span = (
        f"{_units.SIZE_SYNTAX}, {_units.format_size(limits[0])} to {_units.format_size(limits[1])}"
    )
    return Setting(name, name + "_bytes", "size", meaning, span, _size(limits), _render_size)


def _duration_row(name: str, limits: tuple[int, int], meaning: str) -> Setting:
    low, high = map(_units.format_duration_ms, limits)
    span = f"{_units.DURATION_SYNTAX}, {low} to {high}"
    return Setting(
        name, name + "_ms", "duration", meaning, span, _duration(limits), _render_duration
    )


_ROWS = (
    Setting(
        "mode",
        "mode",
        "word",
        "on serves from the L1; observe fetches and scores as if, but always asks the store; "
        "off does nothing",
        "on, observe or off",
        _choice("on", "observe", "off"),
        _same,
    ),
    _size_row(
        "max_memory",
        MAX_MEMORY_LIMITS_BYTES,
        "what the L1 of one process may hold, overhead included",
    ),
    _duration_row(
        "max_age",
        MAX_AGE_LIMITS_MS,
        "no entry is served longer than this after it was read, whatever its TTL",
    ),
    _duration_row(
        "max_staleness",
        MAX_STALENESS_LIMITS_MS,
        "no entry is served unless its server was heard of within this time",
    ),
    Setting(
        "include",
        "include",
        "list of globs",
        "keys that may be cached, in Redis' glob syntax",
        "a list of key patterns such as user:*",
        _glob_list,
        _render_list,
    ),
    Setting(
        "exclude",
        "exclude",
        "list of globs",
        "keys that are never cached; wins over include",
        "a list of key patterns such as tmp:*",
        _glob_list,
        _render_list,
    ),
    Setting(
        "overrides",
        "overrides",
        "table of prefixes",
        "settings for keys with a prefix (mode on or off); the longest prefix wins, also over "
        "include and exclude",
        'a table of prefixes, or text such as "session: mode=off; user: mode=on"',
        _override_list,
        _render_overrides,
    ),
    Setting(
        "tracking",
        "tracking",
        "word",
        "how the server is asked to track: default (what was read), optin (the same, asked read by "
        "read) or bcast (every key of the prefixes, no memory on the server)",
        "default, optin or bcast",
        _choice("default", "optin", "bcast"),
        _same,
    ),
    Setting(
        "prefixes",
        "prefixes",
        "list of prefixes",
        "the key prefixes of tracking = bcast; only these keys are cached then",
        f"a list of up to {PREFIXES_MAX} key prefixes such as user:",
        _prefix_list,
        _render_list,
    ),
    Setting(
        "learn_ttl",
        "learn_ttl",
        "switch",
        "stop asking for TTLs under prefixes where no key was seen to have one",
        "on or off",
        _switch,
        _same,
    ),
    _duration_row(
        "reply_timeout",
        REPLY_TIMEOUT_LIMITS_MS,
        "how long a read waits for the link before the client's own connection is asked",
    ),
    Setting(
        "stats_socket",
        "stats_socket",
        "switch",
        "answer `cachee stats` from a thread of this process; `cachee run` switches it on",
        "on or off",
        _switch,
        _same,
    ),
)

TABLE: Mapping[str, Setting] = {row.name: row for row in _ROWS}
"""Every setting by name, in the order in which they are shown."""
