"""Key patterns: what they match, by a plain recursive definition, and at what cost."""

import hypothesis.strategies as st
from hypothesis import given

from cachee._globs import compile_globs


def matches_plainly(pattern: str, key: str) -> bool:
    if not pattern:
        return not key
    if pattern[0] == "*":
        return any(matches_plainly(pattern[1:], key[cut:]) for cut in range(len(key) + 1))
    return bool(key) and pattern[0] in ("?", key[0]) and matches_plainly(pattern[1:], key[1:])


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_stars_and_question_marks(pattern: str, key: str) -> None:
    assert compile_globs([pattern])(key.encode()) == matches_plainly(pattern, key)


@given(st.lists(st.text("ab*", min_size=1, max_size=5), max_size=4), st.text("ab", max_size=6))
def test_one_of_many(patterns: list[str], key: str) -> None:
    expected = any(matches_plainly(pattern, key) for pattern in patterns)
    assert compile_globs(patterns)(key.encode()) == expected


def test_classes_and_escapes() -> None:
    matches = compile_globs(["flag:[ab]", "n[^0-9]", r"star\*", "open[x"])
    keys = [b"flag:a", b"flag:c", b"nx", b"n1", b"star*", b"starx", b"open[x"]
    assert [matches(key) for key in keys] == [True, False, True, False, True, False, True]


def test_many_stars_end() -> None:
    """With backtracking this would not end before the sun does."""
    assert not compile_globs(["a*" * 50 + "b"])(b"a" * 5_000)
