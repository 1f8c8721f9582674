"""Why a key was or was not served: the answer of `cachee.explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Explanation"]


@dataclass(frozen=True)
class Explanation:
    """Why one key is or is not served from the L1 of this process, as of now.

    `served` says whether at least one entry of the key would be served; `reasons` are sentences,
    the most general first; `entries` holds one mapping for each entry, lease or bypass of the key
    (its command, its age and time left in ms, hits, weight in bytes, state). `str()` gives a text
    for people.

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
    return ", ".join(f"{name} {_shown(value)}" for name, value in entry.items())


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
