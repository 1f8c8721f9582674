"""`cachee config`: every setting with default, unit and meaning, and what is in force here."""

from __future__ import annotations

import argparse
import json
import textwrap

from cachee._settings import TABLE, Setting, Settings
from cachee._sources import load_settings
from cachee.cli.output import print_json

SUMMARY = "show every setting with its default, its meaning and what is in force here"
EPILOG = """\
examples:
  cachee config                    a cachee.toml with every setting explained
  cachee config > cachee.toml      the same as a starting point
  cachee config max_age            one setting
  cachee config --json             for programs: name, default, value, unit, allowed, meaning

exit codes: 0 done, 2 a setting that does not exist or is wrong here
"""

WIDTH = 96


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", nargs="*", help="only these settings")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print them; SettingsError for an unknown name or a wrong value in force."""
    settings = load_settings()
    names = list(arguments.name) or list(TABLE)
    rows = [_row(name) for name in names]
    if arguments.json:
        print_json([_as_dict(row, settings) for row in rows])
        return 0
    if not arguments.name:
        print("# cachee.toml, or the table [tool.cachee] of pyproject.toml.")
        print("# The environment (CACHEE_…) wins over this file, flags and arguments over both.\n")
    print("\n\n".join(_as_toml(row, settings) for row in rows))
    return 0


def _row(name: str) -> Setting:
    if name not in TABLE:
        load_settings({name: ""}, source="argument")
    return TABLE[name]


def _default(row: Setting) -> object:
    return row.render(getattr(Settings(), row.field_name))


def _in_force(row: Setting, settings: Settings) -> object:
    return row.render(getattr(settings, row.field_name))


def _as_dict(row: Setting, settings: Settings) -> dict[str, object]:
    return {
        "name": row.name,
        "default": _default(row),
        "value": _in_force(row, settings),
        "unit": row.unit,
        "allowed": row.allowed,
        "meaning": row.meaning,
        "environment": row.variable,
        "flag": row.flag,
    }


def _as_toml(row: Setting, settings: Settings) -> str:
    default, value = _default(row), _in_force(row, settings)
    text = f"{row.meaning}. Allowed: {row.allowed}. Environment: {row.variable}."
    lines = [f"# {line}" for line in textwrap.wrap(text[0].upper() + text[1:], WIDTH - 2)]
    if value != default:
        lines.append(f"# Default: {_toml(default)}")
    lines.append(f"{row.name} = {_toml(value)}")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        items = ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items())
        return f"{{ {items} }}" if items else "{}"
    return json.dumps(value, ensure_ascii=False)
