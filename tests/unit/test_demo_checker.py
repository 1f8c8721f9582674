"""The demo's checker on doctored histories: it must find what is wrong, and only that."""

import pytest

from cachee.demo.checker import Verdict, check
from cachee.demo.history import Commit, History, Subject, line, read
from cachee.demo.load import Answer, LoadError, parse

BOUND_MS = 1000
SESSION = Subject("session", 7)
FLAGS = Subject("flags", -1)


def ms(value: float) -> int:
    return int(value * 1e6)


def history() -> History:
    """Revision 1 from the beginning, 2 at 5 s, a logout (3) at 8 s, a login (4) at 12 s."""
    return {
        SESSION: [
            Commit(1, 0, 0, present=True),
            Commit(2, ms(4999), ms(5000), present=True),
            Commit(3, ms(7999), ms(8000), present=False),
            Commit(4, ms(11_999), ms(12_000), present=True),
        ],
        FLAGS: [Commit(1, 0, 0, present=True), Commit(2, ms(4999), ms(5000), present=True)],
    }


def judged(revision: int | None, started_ms: float, ended_ms: float | None = None) -> Verdict:
    ended_ns = ms(started_ms + 3 if ended_ms is None else ended_ms)
    return check(history(), [Answer(ms(started_ms), ended_ns, {SESSION: revision}, {})], BOUND_MS)


@pytest.mark.parametrize(
    ("revision", "started_ms"),
    [
        (1, 4000),  # the newest there is
        (2, 5001),
        (1, 5999),  # replaced less than the bound ago
        (2, 4998),  # committed while the request ran
        (None, 8500),  # logged out
        (2, 8999),  # logged out less than the bound ago
        (None, 12_999),  # logged in again less than the bound ago
        (4, 20_000),
    ],
)
def test_allowed(revision: int | None, started_ms: float) -> None:
    verdict = judged(revision, started_ms)
    assert (verdict.stale_answers, verdict.impossible_answers) == (0, 0)


@pytest.mark.parametrize(
    ("revision", "started_ms"),
    [
        (1, 6000),  # replaced exactly the bound ago
        (1, 60_000),
        (2, 9001),  # still accepted long after the logout
        (None, 13_001),  # still refused long after the login
    ],
)
def test_stale(revision: int | None, started_ms: float) -> None:
    verdict = judged(revision, started_ms)
    assert (verdict.stale_answers, verdict.impossible_answers) == (1, 0)


@pytest.mark.parametrize(
    ("revision", "started_ms"),
    [
        (2, 4000),  # before anybody had sent it
        (None, 6000),  # refused without a logout
        (3, 8500),  # the deleted value itself cannot be shown
        (9, 20_000),
        (0, 20_000),
    ],
)
def test_impossible(revision: int | None, started_ms: float) -> None:
    verdict = judged(revision, started_ms)
    assert (verdict.stale_answers, verdict.impossible_answers) == (0, 1)


def test_behind_within_the_bound_is_told() -> None:
    verdict = judged(1, 5400)
    assert verdict.behind_within_bound_answers == 1
    assert verdict.behind_ms_max == pytest.approx(400)
    assert judged(2, 5400).behind_within_bound_answers == 0


def test_one_stale_value_among_fresh_ones_makes_one_stale_answer() -> None:
    answers = [Answer(ms(7000), ms(7003), {SESSION: 2, FLAGS: flags}, {}) for flags in (2, 1, 2, 1)]
    verdict = check(history(), answers, BOUND_MS)
    assert verdict.answers_checked == 4
    assert verdict.values_checked == 8
    assert verdict.stale_answers == 2
    assert verdict.commits == 4


def test_log_survives_the_file(tmp_path) -> None:
    log = tmp_path / "commits"
    first = history()[SESSION][0]
    log.write_text("".join(line(SESSION, commit) for commit in history()[SESSION][1:]))
    assert read(log, first)[SESSION] == history()[SESSION]
    assert read(log, first)[FLAGS] == [first]


def test_answer_is_taken_apart() -> None:
    body = (
        b'{"session":{"revision":3},"permissions":["dashboard:read","revision:4"],'
        b'"flags":{"revision":"5"},"summary":{"revision":6},"orders":[]}'
    )
    head = b"HTTP/1.1 200 OK\r\nServer-Timing: session;dur=0.001500, flags;dur=2.5"
    answer = parse(7, 1, head + b"\r\n\r\n" + body, 2)
    assert answer.shown == {
        SESSION: 3,
        Subject("permissions", 7): 4,
        FLAGS: 5,
        Subject("cached_query", 7): 6,
    }
    assert answer.stages_ns == {"session": 1500, "flags": 2_500_000}
    assert parse(7, 1, b"HTTP/1.1 401 Unauthorized\r\n\r\n{}", 2).shown == {SESSION: None}
    with pytest.raises(LoadError, match="status 500"):
        parse(7, 1, b"HTTP/1.1 500 Internal Server Error\r\n\r\noops", 2)
