"""What one setting is: how its value is read, shown and refused; and a section of settings.

A setting has the same name everywhere: `max_age` in cachee.toml or [tool.cachee], CACHEE_MAX_AGE,
`--max-age`, `install(max_age=…)`. Each value passes one parser that knows what is allowed; a wrong
one is a `SettingsError` that names setting, value and limits. Which settings there are is in
`_settings.py` (the L1) and `_proxy_settings.py` (the proxy), one frozen section each; files and the
environment are read in `_sources.py`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

from cachee import _units
from cachee._errors import SettingsError

Values = Iterable[tuple[str, object, str]]
"""(name, value, source), the later one wins."""

SectionT = TypeVar("SectionT")


def same(value: object) -> object:
    """The value as it is: what `render` is where nothing needs a unit."""
    return value


@dataclass(frozen=True)
class Setting:
    """One row of a table: what `cachee config` prints and how a value is read.

    What `render` gives, `parse` reads back. `show` is what may be seen by anyone.
    """

    name: str
    field_name: str
    unit: str
    meaning: str
    allowed: str
    parse: Callable[[object], object] = field(repr=False)
    render: Callable[[object], object] = field(default=same, repr=False)
    hide: Callable[[object], object] = field(default=same, repr=False)

    @property
    def flag(self) -> str:
        """The command line flag: --max-age."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable: CACHEE_MAX_AGE."""
        return "CACHEE_" + self.name.upper()

    def show(self, settings: object) -> object:
        """Its value in `settings` as people write it, without anything secret."""
        return self.hide(self.render(getattr(settings, self.field_name)))


@dataclass(frozen=True)
class Section(Generic[SectionT]):
    """The settings of one subject: their table, their defaults and how they must fit together."""

    title: str
    defaults: SectionT
    table: Mapping[str, Setting]
    check_together: Callable[[SectionT], None]

    def build(self, values: Values, base: SectionT | None = None) -> SectionT:
        """Settings from values in rising precedence; SettingsError for a wrong one."""
        changed: dict[str, object] = {}
        for name, value, source in values:
            if name not in self.table:
                raise unknown_setting(name, value, source, self.table)
            row = self.table[name]
            try:
                changed[row.field_name] = row.parse(value)
            except SettingsError as error:
                raise SettingsError(error.setting, error.value, error.allowed, source) from None
            except (ValueError, TypeError):
                raise SettingsError(row.name, row.hide(value), row.allowed, source) from None
        settings = self._with(self.defaults if base is None else base, changed)
        self.check_together(settings)
        return settings

    def check(self, settings: SectionT) -> None:
        """SettingsError unless every value is one that `build` could have made."""
        for row in self.table.values():
            value = getattr(settings, row.field_name)
            try:
                right = row.parse(row.render(value)) == value
            except (ValueError, TypeError, AttributeError):
                right = False
            if not right:
                raise SettingsError(row.name, row.hide(value), row.allowed, "settings")
        self.check_together(settings)

    def _with(self, settings: SectionT, changed: Mapping[str, object]) -> SectionT:
        return cast(SectionT, replace(cast(Any, settings), **changed))


def unknown_setting(name: str, value: object, source: str, known: Iterable[str]) -> SettingsError:
    """The error for a name that is none of the known ones."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"a known name, did you mean {close[0]}?" if close else f"one of {', '.join(names)}"
    return SettingsError(name, value, hint, source)


def as_table(*rows: Setting) -> Mapping[str, Setting]:
    """Rows by name, in the order in which they are shown."""
    return {row.name: row for row in rows}


def word_row(name: str, words: Sequence[str], meaning: str) -> Setting:
    """A setting that is one of a few words."""

    def parse(value: object) -> object:
        text = str(value).strip().lower()
        if text not in words:
            raise ValueError(value)
        return text

    allowed = f"{', '.join(words[:-1])} or {words[-1]}"
    return Setting(name, name, "word", meaning, allowed, parse)


def switch_row(name: str, meaning: str) -> Setting:
    """A setting that is on or off."""
    words = {"on": True, "true": True, "yes": True, "1": True}
    words |= {"off": False, "false": False, "no": False, "0": False}

    def parse(value: object) -> object:
        if isinstance(value, bool):
            return value
        try:
            return words[str(value).strip().lower()]
        except KeyError:
            raise ValueError(value) from None

    return Setting(name, name, "switch", meaning, "on or off", parse)


def size_row(name: str, limits: tuple[int, int], meaning: str) -> Setting:
    """A setting in bytes; its field is `name`_bytes."""
    low, high = map(_units.format_size, limits)
    allowed = f"{_units.SIZE_SYNTAX}, {low} to {high}"
    parse = _between(_units.parse_size, limits)
    return Setting(name, name + "_bytes", "size", meaning, allowed, parse, _render_size)


def duration_row(
    name: str, limits: tuple[int, int], meaning: str, *, zero: str | None = None
) -> Setting:
    """A setting in time; its field is `name`_ms. `zero` says what 0 means, where it is allowed."""
    low, high = map(_units.format_duration_ms, limits)
    allowed = f"{_units.DURATION_SYNTAX}, {low} to {high}" + (f", or 0 {zero}" if zero else "")
    parse = _between(_units.parse_duration_ms, limits, or_zero=zero is not None)
    return Setting(name, name + "_ms", "duration", meaning, allowed, parse, _render_duration)


def count_row(
    name: str, limits: tuple[int, int], meaning: str, *, zero: str | None = None
) -> Setting:
    """A setting that is a whole number. `zero` says what 0 means, where it is allowed."""
    allowed = f"a whole number, {limits[0]} to {limits[1]}" + (f", or 0 {zero}" if zero else "")
    parse = _between(_parse_count, limits, or_zero=zero is not None)
    return Setting(name, name, "number", meaning, allowed, parse)


def path_row(name: str, meaning: str, what: str) -> Setting:
    """A setting that is the path of a file, or empty."""
    return Setting(name, name, "path", meaning, f"the path of {what}, or empty", _parse_path)


def optional(parse: Callable[[str], str]) -> Callable[[object], object]:
    """What parses a text that may be empty."""

    def parse_text(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(value)
        return parse(value) if value.strip() else ""

    return parse_text


def texts(value: object) -> tuple[str, ...]:
    """The texts of a list, or of one text with commas; ValueError for anything else.

    >>> texts("user:*, flag:*")
    ('user:*', 'flag:*')
    """
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, Sequence) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise ValueError(value)


def render_list(value: object) -> object:
    """A tuple as TOML and JSON know it."""
    return list(cast("tuple[str, ...]", value))


def _parse_path(value: object) -> object:
    path = os.fspath(cast("str | os.PathLike[str]", value))
    if not isinstance(path, str) or "\0" in path:
        raise ValueError(value)
    return os.path.expanduser(path.strip())  # noqa: PTH111  # a Path would change "./x" and "x/"


def _parse_count(value: object) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(value)


def _between(
    parse: Callable[[object], int], limits: tuple[int, int], *, or_zero: bool = False
) -> Callable[[object], object]:
    def parse_within(value: object) -> object:
        number = parse(value)
        if not limits[0] <= number <= limits[1] and not (or_zero and number == 0):
            raise ValueError(value)
        return number

    return parse_within


def _render_size(value: object) -> object:
    return _units.format_size(cast(int, value))


def _render_duration(value: object) -> object:
    return _units.format_duration_ms(cast(int, value))
