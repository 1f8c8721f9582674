"""The log of what was committed when, and the file that carries it between processes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

KINDS = ("session", "permissions", "flags", "cached_query")


class Subject(NamedTuple):
    """What a value is about: one of KINDS, and whose it is."""

    kind: str
    account: int


class Commit(NamedTuple):
    """One revision: the store took it over after `sent_ns` and no later than `committed_ns`.

    Times are CLOCK_MONOTONIC of this machine; `present` is False where the value was deleted.
    """

    revision: int
    sent_ns: int
    committed_ns: int
    present: bool


History = dict[Subject, list[Commit]]


def line(subject: Subject, commit: Commit) -> str:
    """The commit as one line of the log."""
    return f"{subject.kind} {subject.account} {' '.join(str(int(part)) for part in commit)}\n"


def read(log: Path, first: Commit) -> defaultdict[Subject, list[Commit]]:
    """The history in the log, with `first` before everything, for every subject."""
    history: defaultdict[Subject, list[Commit]] = defaultdict(lambda: [first])
    for text in log.read_text().splitlines():
        kind, *numbers = text.split()
        account, revision, sent_ns, committed_ns, present = map(int, numbers)
        commit = Commit(revision, sent_ns, committed_ns, bool(present))
        history[Subject(kind, account)].append(commit)
    return history
