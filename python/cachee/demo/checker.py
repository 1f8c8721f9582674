"""Whether each answer was fresh enough, judged by what had been committed to the stores.

The rule (P1): a request started at `t` must not show a revision older than the newest one committed
at or before `t - bound`. An answer may also not show what nobody had sent yet by the time it ended:
that would be a fault of the demo or something worse, and is counted apart. Between the two lies
what is allowed; there, answers that were not the newest are counted for information.

A deleted value has a revision too, so a session that was still accepted more than the bound after
its logout is a stale answer, and so is a refused one long after the next login.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from cachee.demo.history import Commit, Subject
from cachee.demo.load import Answer

_committed_ns = attrgetter("committed_ns")


@dataclass
class Verdict:
    """How many answers and values were checked, and what was found."""

    answers_checked: int = 0
    values_checked: int = 0
    stale_answers: int = 0
    impossible_answers: int = 0
    behind_within_bound_answers: int = 0
    behind_ms_max: float = 0.0
    commits: int = 0


def check(
    history: Mapping[Subject, list[Commit]], answers: Iterable[Answer], bound_ms: float
) -> Verdict:
    """Judge every value of every answer; O(log commits of the subject) each."""
    verdict = Verdict()
    bound_ns = int(bound_ms * 1e6)
    for answer in answers:
        verdict.answers_checked += 1
        stale = impossible = behind = False
        for subject, revision in answer.shown.items():
            verdict.values_checked += 1
            commits = history[subject]
            shown = _index(commits, revision, answer.ended_ns)
            if shown is None:
                impossible = True
                continue
            stale |= shown < _newest(commits, answer.started_ns - bound_ns)
            if shown < _newest(commits, answer.started_ns):
                behind = True
                behind_ms = (answer.started_ns - commits[shown + 1].committed_ns) / 1e6
                verdict.behind_ms_max = max(verdict.behind_ms_max, behind_ms)
        verdict.stale_answers += stale
        verdict.impossible_answers += impossible
        verdict.behind_within_bound_answers += behind and not stale
    verdict.commits = sum(len(commits) - 1 for commits in history.values())
    return verdict


def _newest(commits: list[Commit], at_ns: int) -> int:
    """The index of the newest commit that was confirmed at this moment; -1 before the first."""
    return bisect_right(commits, at_ns, key=_committed_ns) - 1


def _index(commits: list[Commit], revision: int | None, ended_ns: int) -> int | None:
    """Which commit an answer shows that ended at this moment; None when there was no such commit.

    Revisions count up by one without a gap. An absent value shows no revision: it counts as the
    newest deletion there was.
    """
    if revision is None:
        absent = (i for i, c in enumerate(commits) if not c.present and c.sent_ns <= ended_ns)
        return max(absent, default=None)
    index = revision - commits[0].revision
    known = 0 <= index < len(commits)
    return (
        index if known and commits[index].present and commits[index].sent_ns <= ended_ns else None
    )
