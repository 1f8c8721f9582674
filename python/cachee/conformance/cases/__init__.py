"""The cases, one file a subject; importing a file registers what is in it."""

from __future__ import annotations

import importlib

SUBJECTS = (
    "hits",
    "stream",
    "threads",
    "lost_link",
    "flush",
    "identity",
    "expiry",
    "own_writes",
    "transactions",
    "replies",
    "commands",
    "load",
)


def import_all() -> None:
    """Registers all cases, in this order."""
    for subject in SUBJECTS:
        importlib.import_module(f"{__name__}.{subject}")
