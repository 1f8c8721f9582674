"""Sizes and durations as people write them, to the integers the engine works with.

Sizes are bytes; kb, mb and gb are powers of 1024, as in Redis' own maxmemory. Durations have a unit
(ms, s, m, h, d); a bare number is seconds, as in every Python API that takes a ttl.
"""

from __future__ import annotations

import math
import re

SIZE_UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
DURATION_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SIZE_SYNTAX = "a number with b, kb, mb or gb, as in 256mb"
DURATION_SYNTAX = "a number with ms, s, m, h or d, as in 500ms or 60s"

_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", re.ASCII | re.IGNORECASE)


def parse_size(value: object) -> int:
    """Bytes of "64mb", "1.5gb" or a plain int; ValueError for anything else.

    >>> parse_size("64mb"), parse_size(4096)
    (67108864, 4096)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    amount, unit = _split(value)
    return round(amount * _known(SIZE_UNITS, (unit or "b").replace("ib", "b")))


def parse_duration_ms(value: object) -> int:
    """Milliseconds of "500ms", "2m" or a number of seconds; ValueError for anything else.

    >>> parse_duration_ms("1s"), parse_duration_ms(0.25), parse_duration_ms("2m")
    (1000, 250, 120000)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(value)
        return round(value * 1000)
    amount, unit = _split(value)
    return round(amount * _known(DURATION_UNITS_MS, unit or "s"))


def format_size(value_bytes: int) -> str:
    """The shortest exact text: 268435456 is "256mb".

    >>> format_size(268435456), format_size(1500)
    ('256mb', '1500b')
    """
    for unit in ("gb", "mb", "kb"):
        if value_bytes and value_bytes % SIZE_UNITS[unit] == 0:
            return f"{value_bytes // SIZE_UNITS[unit]}{unit}"
    return f"{value_bytes}b"


def format_duration_ms(value_ms: int) -> str:
    """The shortest exact text, in seconds or milliseconds: 60000 is "60s".

    >>> format_duration_ms(60000), format_duration_ms(1500)
    ('60s', '1500ms')
    """
    if value_ms % 1000 == 0:
        return f"{value_ms // 1000}s"
    return f"{value_ms}ms"


def approximate_size(value_bytes: float) -> str:
    """One decimal and a unit, for people: 1536 is "1.5 KB".

    >>> approximate_size(1536), approximate_size(12)
    ('1.5 KB', '12 B')
    """
    if value_bytes < 1024:
        return f"{value_bytes:.0f} B"
    for unit in ("KB", "MB"):
        value_bytes /= 1024
        if value_bytes < 1024:
            return f"{value_bytes:.1f} {unit}"
    return f"{value_bytes / 1024:.1f} GB"


def _split(value: object) -> tuple[float, str]:
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(value)
    return float(match[1]), match[2].lower()


def _known(units: dict[str, int], unit: str) -> int:
    if unit not in units:
        raise ValueError(unit)
    return units[unit]
