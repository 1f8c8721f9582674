"""Where settings come from: a file, then the environment, then arguments; the later one wins.

The file is the one CACHEE_CONFIG names, else cachee.toml in the working directory, else the
[tool.cachee] table of pyproject.toml there. CACHEE_TEST_…, CACHEE_DEMO_… and CACHEE_BENCH_… belong
to the project's own programs and are left alone; any other unknown CACHEE_… is an error, because a
misspelt setting that silently does nothing is found only when it is needed. A file and an
environment may hold the settings of every section: whoever reads one section passes over the rest.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from cachee import _proxy_settings, _settings
from cachee._errors import SettingsError
from cachee._proxy_settings import ProxySettings
from cachee._setting import Section, unknown_setting
from cachee._settings import Settings
from cachee.proxy.url import redact

SECTIONS: tuple[Section[Any], ...] = (_settings.SECTION, _proxy_settings.SECTION)

CONFIG_VARIABLE = "CACHEE_CONFIG"
OWN_FILE = "cachee.toml"
RESERVED_PREFIXES = ("CACHEE_TEST_", "CACHEE_DEMO_", "CACHEE_BENCH_", "CACHEE_INTERNAL_")

_Values = Iterator[tuple[str, object, str]]
_SectionT = TypeVar("_SectionT")


def load_settings(
    arguments: Mapping[str, object] | None = None,
    *,
    base: Settings | None = None,
    source: str = "argument",
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """The L1's settings of this process: `base`, file, environment and `arguments` not None.

    Raises SettingsError for the first wrong name or value, or an unreadable file.

    >>> load_settings({"max_age": "5s"}, environment={}, directory=Path("/")).max_age_ms
    5000
    """
    section = _settings.SECTION
    return _load(section, arguments, base, source, environment=environment, directory=directory)


def load_proxy_settings(
    arguments: Mapping[str, object] | None = None,
    *,
    source: str = "argument",
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> ProxySettings:
    """The proxy's own settings, from the same places as `load_settings`.

    >>> load_proxy_settings({"admin": "9091"}, environment={}, directory=Path("/")).admin
    '127.0.0.1:9091'
    """
    section = _proxy_settings.SECTION
    return _load(section, arguments, None, source, environment=environment, directory=directory)


def settings_environment(values: Mapping[str, str]) -> dict[str, str]:
    """The variables that give a child process these settings.

    >>> settings_environment({"max_age": "5s"})
    {'CACHEE_MAX_AGE': '5s'}
    """
    return {_row_names()[name]: text for name, text in values.items()}


def _load(
    section: Section[_SectionT],
    arguments: Mapping[str, object] | None,
    base: _SectionT | None,
    source: str,
    *,
    environment: Mapping[str, str] | None,
    directory: Path | None,
) -> _SectionT:
    environ = os.environ if environment is None else environment
    place = Path() if directory is None else directory

    def values() -> _Values:
        yield from _of_section(section, _file_values(environ, place))
        yield from _of_section(section, _environment_values(environ))
        for name, value in (arguments or {}).items():
            if value is None:
                continue
            for other in SECTIONS:
                if name in other.table and other is not section:
                    allowed = f"nothing here: it is a setting of {other.title}"
                    raise SettingsError(name, other.table[name].hide(value), allowed, source)
            yield name, value, source

    return section.build(values(), base)


def _of_section(section: Section[_SectionT], values: _Values) -> _Values:
    """Those of the section; an error for a name that no section has."""
    known = _row_names()
    for name, value, source in values:
        if name in section.table:
            yield name, value, source
        elif name not in known:
            raise unknown_setting(name, redact(str(value)), source, known)


def _row_names() -> dict[str, str]:
    """The variable of every setting, by name."""
    return {row.name: row.variable for section in SECTIONS for row in section.table.values()}


def _environment_values(environ: Mapping[str, str]) -> _Values:
    by_variable = {variable: name for name, variable in _row_names().items()}
    for variable in sorted(environ):
        if not variable.startswith("CACHEE_") or variable == CONFIG_VARIABLE:
            continue
        if variable.startswith(RESERVED_PREFIXES):
            continue
        name = by_variable.get(variable, variable.removeprefix("CACHEE_").lower())
        yield name, environ[variable], variable


def settings_file(environ: Mapping[str, str], directory: Path) -> Path | None:
    """The file that is read, if there is one; the one that is named need not be there.

    >>> settings_file({"CACHEE_CONFIG": "/etc/cachee.toml"}, Path())
    PosixPath('/etc/cachee.toml')
    """
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    found = (directory / name for name in (OWN_FILE, "pyproject.toml"))
    return next((path for path in found if path.is_file()), None)


def _file_values(environ: Mapping[str, str], directory: Path) -> _Values:
    path = settings_file(environ, directory)
    if path is None:
        return
    table = _read(path)
    is_own = not environ.get(CONFIG_VARIABLE) and path.name == OWN_FILE
    yield from _table_values(table if is_own else _section(table, path), path)


def _section(table: Mapping[str, object], path: Path) -> Mapping[str, object]:
    """[tool.cachee] of a pyproject.toml, the whole of any other file."""
    if path.name != "pyproject.toml":
        return table
    section: object = table
    for name in ("tool", "cachee"):
        section = section.get(name, {}) if isinstance(section, Mapping) else {}
    return cast("Mapping[str, object]", section) if isinstance(section, Mapping) else {}


def _table_values(table: Mapping[str, object], path: Path) -> _Values:
    for name, value in table.items():
        yield name, value, str(path)


def _read(path: Path) -> Mapping[str, object]:
    # CPython 3.10 has no tomllib; tomli is the same code under its older name.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        with path.open("rb") as stream:
            return cast("Mapping[str, object]", toml.load(stream))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError("config", path, f"a readable TOML file ({reason})", str(path)) from None
