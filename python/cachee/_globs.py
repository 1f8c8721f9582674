"""Key patterns of `include` and `exclude`: Redis' own glob syntax, one compiled expression a list.

`*` any bytes, `?` one byte, `[abc]` and `[a-z]` one of, `[^a]` none of, `\\` takes the next
character as it is. Keys are matched as bytes, in full, case included, as KEYS and ACL patterns are.

A `*` takes the nearest place where what follows it fits, for good: the next `*` can make up for
anything, so going back never helps, and a pattern of many stars stays linear in each of them. The
look-ahead with a back reference is how `re` says so (as `fnmatch` does; atomic groups are 3.11).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence

KeyMatcher = Callable[[bytes], bool]


def compile_globs(patterns: Sequence[str]) -> KeyMatcher:
    """A function that says whether a key (bytes) matches one of the patterns.

    >>> matches = compile_globs(["user:*", "flag:[ab]"])
    >>> matches(b"user:42"), matches(b"flag:c")
    (True, False)
    """
    if "*" in patterns:
        return lambda _key: True
    if not patterns:
        return lambda _key: False
    groups = itertools.count()
    alternatives = (b"(?:" + _translate(text, groups) + b")" for text in patterns)
    expression = re.compile(b"|".join(alternatives), re.S)
    return lambda key: expression.fullmatch(key) is not None


def _translate(pattern: str, groups: Iterator[int]) -> bytes:
    first, *rest = _between_stars(pattern.encode("utf-8", "surrogateescape"))
    if not rest:
        return first
    out = bytearray(first)
    for piece in filter(None, rest[:-1]):
        group = b"g%d" % next(groups)
        out += b"(?=(?P<" + group + b">.*?" + piece + b"))(?P=" + group + b")"
    return bytes(out + b".*" + rest[-1])


def _between_stars(source: bytes) -> list[bytes]:
    pieces, piece, position = [], bytearray(), 0
    while position < len(source):
        char = source[position : position + 1]
        position += 1
        if char == b"*":
            pieces.append(bytes(piece))
            piece.clear()
        elif char == b"?":
            piece += b"."
        elif char == b"\\" and position < len(source):
            piece += re.escape(source[position : position + 1])
            position += 1
        elif char == b"[" and (end := source.find(b"]", position + 1)) >= 0:
            piece += _translate_class(source[position:end])
            position = end + 1
        else:
            piece += re.escape(char)
    return [*pieces, bytes(piece)]


def _translate_class(body: bytes) -> bytes:
    negated = body[:1] in (b"^", b"!")
    members = re.sub(rb"([\\\[\]^&~|])", rb"\\\1", body[1:] if negated else body)
    return b"[" + (b"^" if negated else b"") + members + b"]"
