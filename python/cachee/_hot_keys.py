"""The names of hot keys in a file, so that a restarted process or proxy is warm: never values.

The problem: a new process starts with an empty L1 and sends every first read to the server, just
when all of them come. The idea: what was hot is written down as the commands that would load it
again, soon after the start, every minute and at the end; the next process asks the server for them,
at a bounded rate, and so serves only what the server says now. A value in a file would be a value
nobody invalidates.

    {"format": "cachee hot keys", "version": 1, "upstream": …, "count": N, "crc32": …}
    ["default", 0, ["GET", "user:42"]]
    …

The first line is the header, every other one owner (a user of the proxy; in a process also server
and decoding), database and the words of a read, bytes as Latin-1. What was learned of which key
leads to which stands there too, as words that begin with `RULE` or `THEN`. A file of another
upstream, of another version or with a wrong checksum is left unused, with a warning. It is replaced
as a whole, and only its owner may read it: names can be secrets too.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FORMAT = "cachee hot keys"
VERSION = 1
NAMES_MAX = 10_000
NAME_BYTES_MAX = 64 * 1024
FILE_BYTES_MAX = 16 * 1024**2
DATABASES_MAX = 2**31

HotKey = tuple[str, int, list[bytes]]
"""Owner, database and the words of the read that loads it."""

__all__ = ["FORMAT", "NAMES_MAX", "VERSION", "HotKey", "SnapshotError", "read", "write"]


class SnapshotError(ValueError):
    """A file that is none of ours, damaged, or of another upstream."""


def write(path: Path, upstream: str, names: Sequence[HotKey]) -> int:
    """Replace the file by these names, the first `NAMES_MAX` of them; how many were written.

    `upstream` is where they come from, without its password.
    OSError when that cannot be done; the file that was there is then still whole.
    """
    lines: list[bytes] = []
    size = 0
    for owner, database, words in names[:NAMES_MAX]:
        line = json.dumps([owner, database, [word.decode("latin-1") for word in words]]).encode()
        if len(line) > NAME_BYTES_MAX or size + len(line) > FILE_BYTES_MAX // 2:
            continue
        size += len(line) + 1
        lines.append(line + b"\n")
    body = b"".join(lines)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "upstream": upstream,
        "count": len(lines),
        "crc32": zlib.crc32(body),
    }
    _replace(path, json.dumps(header).encode() + b"\n" + body)
    return len(lines)


def read(path: Path, upstream: str) -> list[HotKey]:
    """The names in the file, none when there is no file; SnapshotError when it is not usable.

    A restarted upstream is fine: the names are asked for again, and what is gone is a nil.
    """
    try:
        # Whoever writes a pipe may never come.
        with open(path, "rb", opener=_without_waiting) as stream:  # for the opener
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise SnapshotError("it is not a file")
            if found.st_uid not in (os.geteuid(), 0):
                raise SnapshotError("it belongs to another user")
            content = stream.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SnapshotError(error.strerror or str(error)) from None
    first, _, body = content.partition(b"\n")
    header = _json(first)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise SnapshotError("it is not a file of hot keys")
    if header.get("version") != VERSION:
        raise SnapshotError(f"its version is {header.get('version')!r}, not {VERSION}")
    if header.get("upstream") != upstream:
        raise SnapshotError(f"its upstream is {header.get('upstream')!r}")
    lines = body.splitlines()
    if header.get("crc32") != zlib.crc32(body) or header.get("count") != len(lines):
        raise SnapshotError("it is damaged")
    return [_hot_key(_json(line)) for line in lines[:NAMES_MAX]]


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _replace(path: Path, content: bytes) -> None:
    # Of several processes with one file each writes its own, and the last one stands.
    descriptor, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".new", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _hot_key(entry: object) -> HotKey:
    match entry:
        case [str(owner), int(database), list(words)] if words and 0 <= database < DATABASES_MAX:
            with contextlib.suppress(AttributeError, UnicodeEncodeError):
                owner.encode()
                return owner, database, [word.encode("latin-1") for word in words]
    raise SnapshotError("it holds something that is not a name")
