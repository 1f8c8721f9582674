"""`cachee config`: every setting with default, unit and meaning, and what is in force here."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from cachee._setting import Setting, unknown_setting
from cachee._sources import SECTIONS, load_proxy_settings, load_settings
from cachee.cli.output import print_json

SUMMARY = "show every setting with its default, its meaning and what is in force here"
EPILOG = """\
examples:
  cachee config                    a cachee.toml with every setting explained
  cachee config > cachee.toml      the same as a starting point
  cachee config max_age            one setting
  cachee config --json             for programs: name, default, value, unit, allowed, meaning

A password in upstream is shown as ***.

exit codes: 0 done, 2 a setting that does not exist or is wrong here
"""

WIDTH = 96


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", nargs="*", help="only these settings")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print them; SettingsError for an unknown name or a wrong value in force."""
    in_force = (load_settings(), load_proxy_settings())
    if arguments.name or arguments.json:
        rows = _rows(in_force)
        for name in arguments.name:
            if name not in rows:
                raise unknown_setting(name, "", "argument", rows)
        chosen = [rows[name] for name in arguments.name or rows]
        if arguments.json:
            print_json([row.as_dict() for row in chosen])
        else:
            print("\n\n".join(row.as_toml() for row in chosen))
        return 0
    print("# cachee.toml, or the table [tool.cachee] of pyproject.toml.")
    print("# The environment (CACHEE_…) wins over this file, flags and arguments over both.")
    rows = _rows(in_force)
    for section in SECTIONS:
        print(f"\n# --- {section.title} " + "-" * (WIDTH - len(section.title) - 7) + "\n")
        print("\n\n".join(rows[name].as_toml() for name in section.table))
    return 0


@dataclass(frozen=True)
class Row:
    """A setting with its default and its value here, without anything secret."""

    setting: Setting
    default: object
    value: object

    def as_dict(self) -> dict[str, object]:
        """For programs."""
        return {
            "name": self.setting.name,
            "default": self.default,
            "value": self.value,
            "unit": self.setting.unit,
            "allowed": self.setting.allowed,
            "meaning": self.setting.meaning,
            "environment": self.setting.variable,
            "flag": self.setting.flag,
        }

    def as_toml(self) -> str:
        """A line of a file that can be read again, and what it means above it."""
        row = self.setting
        text = f"{row.meaning}. Allowed: {row.allowed}. Environment: {row.variable}."
        lines = [f"# {line}" for line in textwrap.wrap(text[0].upper() + text[1:], WIDTH - 2)]
        if self.value != self.default:
            lines.append(f"# Default: {_toml(self.default)}")
        lines.append(f"{row.name} = {_toml(self.value)}")
        return "\n".join(lines)


def _rows(in_force: Sequence[object]) -> dict[str, Row]:
    return {
        row.name: Row(row, row.show(section.defaults), row.show(settings))
        for section, settings in zip(SECTIONS, in_force, strict=True)
        for row in section.table.values()
    }


def _toml(value: object) -> str:
    if isinstance(value, dict):
        items = ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items())
        return f"{{ {items} }}" if items else "{}"
    return json.dumps(value, ensure_ascii=False)
