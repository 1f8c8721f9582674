"""Objects remembered weakly and by identity."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

__all__ = ["Holders"]


class Holders:
    """Clients and pools for as long as they live: they may be unhashable, or equal to one another.

    Iteration works on a copy, so any thread may add meanwhile.
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[Any]] = {}

    def add(self, holder: Any) -> None:
        """Remember it; once more is harmless."""
        references, identity = self._references, id(holder)
        references[identity] = weakref.ref(holder, lambda _: references.pop(identity, None))

    def __iter__(self) -> Iterator[Any]:
        for reference in self._references.copy().values():
            holder = reference()
            if holder is not None:
                yield holder
