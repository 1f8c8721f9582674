"""Recorded access traces, as files.

Two forms, told apart by the name. `….csv` and `….txt` are text: one key a line, or comma-separated
values with a header that has a column `key`. Anything else is the compact form: one little-endian
8-byte code a request, plain or compressed with zstd. What the setting `record` writes are
such files; the name of one tells of which sample of the keys it is: trace-1in16-4242.u64.

Keys of text become codes in the order of their first appearance. Nothing here counts with codes, so
that order tells the simulation nothing.
"""

from __future__ import annotations

import array
import csv
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from cachee._core import Trace
from cachee._errors import CacheeError

TEXT_SUFFIXES = (".csv", ".txt")
KEY_COLUMN = "key"
_SAMPLE = re.compile(r"-1in([1-9][0-9]*)-[0-9]+(?:-[0-9]+)?\.(?:csv|u64(?:\.zst)?)")


def recorded_sample(path: Path) -> int:
    """Of how many keys one was recorded, by the name that `record` has given the file.

    >>> recorded_sample(Path("trace-1in16-4242.u64")), recorded_sample(Path("trace.u64"))
    (16, 1)
    """
    found = _SAMPLE.search(path.name)
    return int(found[1]) if found is not None and found.end() == len(path.name) else 1


def read(path: Path) -> Trace:
    """Read a trace; CacheeError when there is none in the file."""
    try:
        data = _codes(path) if path.suffix in TEXT_SUFFIXES else path.read_bytes()
        trace = Trace(data)
    except OSError as error:
        raise CacheeError(f"{path}: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:
        raise CacheeError(f"{path}: {error}") from None
    if not len(trace):
        raise CacheeError(f"{path}: no request in it")
    return trace


def _codes(path: Path) -> bytes:
    numbers: dict[str, int] = {}
    codes = array.array("Q")
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        for key in _keys(lines):
            codes.append(numbers.setdefault(key, len(numbers)))
    if sys.byteorder == "big":
        codes.byteswap()
    return codes.tobytes()


def _keys(lines: Iterable[str]) -> Iterator[str]:
    rows = csv.reader(lines)
    first = next(rows, None)
    if first is None:
        return
    if len(first) == 1 and first[0] != KEY_COLUMN:
        yield first[0]
        at = 0
    elif KEY_COLUMN in first:
        at = first.index(KEY_COLUMN)
    else:
        raise ValueError(f"no column {KEY_COLUMN!r} in its first line, but {', '.join(first)}")
    for row in rows:
        if not row:
            continue
        if len(row) <= at:
            raise ValueError(f"line {rows.line_num} has {len(row)} values, no key")
        yield row[at]
