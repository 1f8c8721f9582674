"""How commands print: JSON for programs, aligned plain text and a progress bar for people."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from cachee._errors import CacheeError

BAR_COLUMNS = 30
BAR_INTERVAL_S = 0.1


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


def check_writable(flag: str, file: Path) -> None:
    """Find out before a minute is spent, not after."""
    try:
        file.open("a").close()
    except OSError as error:
        raise CacheeError(f"{flag} {file}: {error.strerror}") from error


class ProgressBar:
    """A progress bar on standard error, when that is a terminal."""

    def __init__(self) -> None:
        self._visible = sys.stderr.isatty()
        self._next_s = 0.0

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self, what: str, done: int, of: int) -> None:
        """Draw the bar, at most ten times a second."""
        now_s = time.monotonic()
        if not self._visible or now_s < self._next_s:
            return
        self._next_s = now_s + BAR_INTERVAL_S
        filled = BAR_COLUMNS * done // max(1, of)
        bar = "#" * filled + "." * (BAR_COLUMNS - filled)
        sys.stderr.write(f"\r\x1b[K{what:<30} [{bar}] {done}/{of}" if of else f"\r\x1b[K{what} …")
        sys.stderr.flush()
