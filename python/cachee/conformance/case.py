"""A case: a named rule, and a function that plays it out on a stage.

The function's docstring is what `--list` shows: a sentence, then `Rule:`, `Source:`, `Forced:` and
`Checked:`. It returns its evidence; what ends otherwise is raised (`verdict.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from cachee.conformance.stage import Stage

DEADLINE_S = 30.0
PARTS = ("Rule", "Source", "Forced", "Checked")

Play = Callable[[Stage], str]


@dataclass(frozen=True)
class Case:
    """One rule, its sentence and its source."""

    name: str
    play: Play
    deadline_s: float
    sentence: str
    parts: dict[str, str]


_CASES: dict[str, Case] = {}


def case(name: str, deadline_s: float = DEADLINE_S) -> Callable[[Play], Play]:
    """Registers a function as a case."""

    def register(play: Play) -> Play:
        if name in _CASES:
            raise ValueError(f"two cases are called {name}")
        sentence, _, rest = inspect.cleandoc(play.__doc__ or "").partition("\n\n")
        _CASES[name] = Case(name, play, deadline_s, " ".join(sentence.split()), _parts(rest))
        return play

    return register


def _parts(text: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        head, colon, rest = line.partition(":")
        if colon and head in PARTS:
            current = found.setdefault(head, [])
            line = rest
        current.append(line.strip())
    return {head: " ".join(lines).strip() for head, lines in found.items()}


def all_cases() -> dict[str, Case]:
    """Every case by its name, in the order of the files."""
    from cachee.conformance import cases

    cases.import_all()
    return dict(_CASES)
