"""How commands print: JSON for programs, aligned plain text for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence


def print_json(value: object) -> None:
    """One indented JSON document on stdout."""
    print(json.dumps(value, indent=2, default=str))


def print_table(rows: Iterable[Sequence[str]], indent: int = 0) -> None:
    """Rows with their columns aligned; the last column is as wide as it is."""
    table = [tuple(row) for row in rows]
    if not table:
        return
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print(" " * indent + "  ".join([*cells, row[-1]]).rstrip())
