"""The settings of the L1, which every process under cachee and the proxy have: one frozen section.

What a setting is and how a section is built from values is `_setting.py`; the proxy's own settings
are in `_proxy_settings.py`.

Limits are here because a value beyond them breaks a promise rather than being a matter of taste: a
`max_staleness` under 100 ms could not be proven alive over an ordinary network, one over a minute
would make the staleness bound meaningless.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from cachee._core import Admission
from cachee._errors import SettingsError
from cachee._setting import (
    Section,
    Setting,
    Values,
    as_table,
    count_row,
    duration_row,
    path_row,
    render_list,
    size_row,
    switch_row,
    texts,
    word_row,
)

Mode = Literal["on", "observe", "off"]
Tracking = Literal["default", "optin", "bcast"]
Prefetch = Literal["on", "observe", "off"]
RecordKeys = Literal["hashed", "plain"]

__all__ = ["SECTION", "TABLE", "Override", "Settings", "build_settings", "check_settings"]

MAX_MEMORY_LIMITS_BYTES = (1024**2, 1024**4)
MAX_AGE_LIMITS_MS = (10, 86_400_000)
MAX_STALENESS_LIMITS_MS = (100, 60_000)
REPLY_TIMEOUT_LIMITS_MS = (10, 60_000)
PREFIXES_MAX = 256
PREFETCH_READS_LIMITS = (1, 16)
RECORD_SAMPLE_LIMITS = (1, 1_000_000)
RECORD_SUFFIXES = {"hashed": ".u64", "plain": ".csv"}


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
    prefetch: Prefetch = "on"
    prefetch_reads: int = 1
    snapshot: str = ""
    record: str = ""
    record_sample: int = 1
    record_keys: RecordKeys = "hashed"
    stats_socket: bool = False

    def admits(self) -> Callable[[bytes], bool] | None:
        """Which keys may be cached, as a function; None when every key may.

        >>> Settings(exclude=("tmp:*",)).admits()(b"tmp:1")
        False
        """
        if self.include == ("*",) and not self.exclude and not self.overrides:
            return None
        return self.admission()

    def admission(self) -> Admission:
        """The same as the native half takes it.

        >>> Settings().admission()(b"tmp:1")
        True
        """
        modes = [(_bytes(item.prefix), item.mode == "on") for item in self.overrides]
        return Admission(list(map(_bytes, self.include)), list(map(_bytes, self.exclude)), modes)

    def prefetches(self) -> Prefetch:
        """What is really done ahead: where every read goes to the store anyway, nothing is sent.

        >>> Settings(mode="observe").prefetches()
        'observe'
        """
        only_scored = self.mode == "observe" and self.prefetch == "on"
        return "observe" if only_scored else self.prefetch


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def build_settings(values: Values, base: Settings | None = None) -> Settings:
    """Settings from (name, value, source) in rising precedence; SettingsError for a wrong one.

    >>> build_settings([("max_age", "5s", "argument")]).max_age_ms
    5000
    """
    return SECTION.build(values, base)


def check_settings(settings: Settings) -> None:
    """SettingsError unless every value is one that `build_settings` could have made.

    >>> check_settings(Settings())
    """
    SECTION.check(settings)


def _check_together(settings: Settings) -> None:
    if settings.tracking == "bcast" and not settings.prefixes:
        raise SettingsError(
            "prefixes", "", "at least one prefix when tracking is bcast", "settings"
        )
    if settings.tracking != "bcast" and settings.prefixes:
        given = ", ".join(settings.prefixes)
        raise SettingsError("prefixes", given, "empty unless tracking is bcast", "settings")
    _check_record(settings)
    ordered = sorted(settings.prefixes)
    for shorter, longer in itertools.pairwise(ordered):
        if longer.startswith(shorter):
            allowed = f"prefixes of which none starts with another ({shorter!r} covers it)"
            raise SettingsError("prefixes", longer, allowed, "settings")


def _check_record(settings: Settings) -> None:
    name, keys = settings.record, settings.record_keys
    if name.endswith("/"):
        raise SettingsError("record", name, TABLE["record"].allowed, "settings")
    for others, suffix in RECORD_SUFFIXES.items():
        if name.endswith(suffix) and others != keys:
            allowed = f"a name that ends in {RECORD_SUFFIXES[keys]}, or record_keys = {others}"
            raise SettingsError("record", name, allowed, "settings")


def _prefix_list(value: object) -> object:
    prefixes = texts(value)
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


def _render_overrides(value: object) -> object:
    return {item.prefix: {"mode": item.mode} for item in cast("tuple[Override, ...]", value)}


TABLE = as_table(
    word_row(
        "mode",
        ("on", "observe", "off"),
        "on serves from the L1; observe fetches and scores as if, but always asks the store; "
        "off does nothing",
    ),
    size_row(
        "max_memory",
        MAX_MEMORY_LIMITS_BYTES,
        "what the L1 of one process may hold, overhead included",
    ),
    duration_row(
        "max_age",
        MAX_AGE_LIMITS_MS,
        "no entry is served longer than this after it was read, whatever its TTL",
    ),
    duration_row(
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
        texts,
        render_list,
    ),
    Setting(
        "exclude",
        "exclude",
        "list of globs",
        "keys that are never cached; wins over include",
        "a list of key patterns such as tmp:*",
        texts,
        render_list,
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
    word_row(
        "tracking",
        ("default", "optin", "bcast"),
        "how the server is asked to track: default (what was read), optin (the same, asked read by "
        "read) or bcast (every key of the prefixes, no memory on the server)",
    ),
    Setting(
        "prefixes",
        "prefixes",
        "list of prefixes",
        "the key prefixes of tracking = bcast; only these keys are cached then",
        f"a list of up to {PREFIXES_MAX} key prefixes such as user:",
        _prefix_list,
        render_list,
    ),
    switch_row(
        "learn_ttl", "stop asking for TTLs under prefixes where no key was seen to have one"
    ),
    duration_row(
        "reply_timeout",
        REPLY_TIMEOUT_LIMITS_MS,
        "how long a read waits for the link before the client's own connection is asked",
    ),
    word_row(
        "prefetch",
        ("on", "observe", "off"),
        "on loads keys before they are asked for, where that has proven to pay; observe keeps "
        "score and loads nothing; off does nothing",
    ),
    count_row(
        "prefetch_reads",
        PREFETCH_READS_LIMITS,
        "reads sent ahead for each read that was not answered by a hit, at most",
    ),
    path_row(
        "snapshot",
        "where the names of hot keys, never values, and the rules of the prediction are kept for a "
        "warm restart",
        "a file that may be written",
    ),
    path_row(
        "record",
        "the reads that the L1 is asked for are written here, for `cachee simulate`; each process "
        "has its file: trace.u64 becomes trace-PID.u64, or trace-1in16-PID.u64 of a sample",
        "a file",
    ),
    count_row(
        "record_sample",
        RECORD_SAMPLE_LIMITS,
        "of so many keys, the reads of one are recorded; which keys is the same in every process",
    ),
    word_row(
        "record_keys",
        tuple(RECORD_SUFFIXES),
        "hashed writes a code of 8 bytes that does not give the key away (.u64), plain the key "
        "itself (.csv)",
    ),
    switch_row(
        "stats_socket",
        "answer `cachee stats` from a thread of this process; `cachee run` and `cachee proxy` "
        "switch it on",
    ),
)

SECTION = Section("the L1", Settings(), TABLE, _check_together)
