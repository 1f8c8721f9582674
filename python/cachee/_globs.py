"""Key patterns of `include` and `exclude`: Redis' own glob syntax, one compiled expression a list.

`*` any bytes, `?` one byte, `[abc]` and `[a-z]` one of, `[^a]` none of, `\\` takes the next
character as it is. Keys are matched as bytes, in full, case included, as KEYS and ACL patterns are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

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
    expression = re.compile(b"|".join(b"(?:" + _translate(text) + b")" for text in patterns), re.S)
    return lambda key: expression.fullmatch(key) is not None


def _translate(pattern: str) -> bytes:
    source = pattern.encode("utf-8", "surrogateescape")
    out = bytearray()
    position = 0
    while position < len(source):
        char = source[position : position + 1]
        position += 1
        if char == b"*":
            out += b".*"
        elif char == b"?":
            out += b"."
        elif char == b"\\" and position < len(source):
            out += re.escape(source[position : position + 1])
            position += 1
        elif char == b"[":
            end = source.find(b"]", position + 1)
            if end < 0:
                out += re.escape(char)
                continue
            out += _translate_class(source[position:end])
            position = end + 1
        else:
            out += re.escape(char)
    return bytes(out)


def _translate_class(body: bytes) -> bytes:
    negated = body[:1] in (b"^", b"!")
    members = re.sub(rb"([\\\[\]^&~|])", rb"\\\1", body[1:] if negated else body)
    return b"[" + (b"^" if negated else b"") + members + b"]"
