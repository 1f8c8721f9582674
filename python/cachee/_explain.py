"""Why a key was or was not served: the answer of `cachee.explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from cachee._units import approximate_size

__all__ = ["Explanation"]


@dataclass(frozen=True)
class Explanation:
    """Why one key is or is not served from the L1 of this process, as of now.

    `served` says whether at least one entry of the key would be served; `reasons` are sentences,
    the most general first; `entries` holds one mapping for each entry, lease or bypass of the key
    (its command, time left in ms, hits, weight in bytes, state). `str()` gives a text for people.

    >>> print(Explanation(b"user:1", False, ("cachee is not installed in this process",), ()))
    user:1: not served
      - cachee is not installed in this process
    """

    key: bytes
    served: bool
    reasons: tuple[str, ...]
    entries: tuple[Mapping[str, object], ...]

    def __str__(self) -> str:
        name = self.key.decode("utf-8", "backslashreplace")
        lines = [f"{name}: {'served from the L1' if self.served else 'not served'}"]
        lines += [f"  - {reason}" for reason in self.reasons]
        lines += ["  * " + _entry_line(entry) for entry in self.entries]
        return "\n".join(lines)


def _entry_line(entry: Mapping[str, object]) -> str:
    """As in "GET: held, 59.9 s left, 1 hit, 168 B"; what does not apply is left out.

    >>> _entry_line({"state": "held", "command": "HGET", "args": [b"f"], "ttl_ms": 900, "hits": 1})
    'HGET f: held, 0.9 s left, 1 hit'
    """
    args = [_shown(each) for each in cast("list[object]", entry.get("args") or [])]
    command = " ".join([str(entry.get("command") or "any command"), *args])
    parts = [str(entry.get("state"))]
    if ttl_ms := cast(int, entry.get("ttl_ms", 0)):
        parts.append(f"{ttl_ms / 1000:.1f} s left")
    if entry.get("state") == "held":
        hits = cast(int, entry.get("hits", 0))
        parts.append(f"{hits} hit{'' if hits == 1 else 's'}")
    if weight := cast(int, entry.get("weight_bytes", 0)):
        parts.append(approximate_size(weight))
    return f"{command}: {', '.join(parts)}"


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
