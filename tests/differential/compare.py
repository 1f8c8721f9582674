"""Two streams of replies, equal but for what `exclusions.py` lists."""

from dataclasses import dataclass
from typing import Any

from tests.differential.exclusions import (
    CLOSE,
    LENGTH_ONLY,
    NUMBERS_ARE_CLOSE,
    ORDER_IS_FREE,
)
from tests.harness.resp import frame_end

_AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
_BULKS = (b"$", b"=", b"!")
_INVALIDATION = b">2\r\n$10\r\ninvalidate\r\n"


@dataclass(frozen=True)
class Difference:
    """What the server said and what came through the proxy."""

    command: list[bytes] | None
    direct: bytes
    through: bytes
    why: str

    def __str__(self) -> str:
        return (
            f"{self.why}\n    command  {spelled(self.command)}"
            f"\n    direct   {self.direct[:300]!r}\n    through  {self.through[:300]!r}"
        )


def spelled(words: list[bytes] | None) -> str:
    """A command as a person would type it."""
    if words is None:
        return "?"
    return " ".join(
        word.decode() if word.isascii() and word.isalnum() else repr(word)[1:] for word in words
    )


def split(stream: bytes) -> list[bytes]:
    """The frames of a stream; an incomplete one comes last."""
    frames, at = [], 0
    while at < len(stream):
        end = frame_end(stream, at) or len(stream)
        frames.append(stream[at:end])
        at = end
    return frames


def _without_invalidations(stream: bytes) -> list[bytes]:
    """The frames but for what a client has asked for by CLIENT TRACKING.

    The server sends those when it gets round to it: their place differs from run to run.
    """
    return [frame for frame in split(stream) if not frame.startswith(_INVALIDATION)]


def difference(commands: list[list[bytes]], direct: bytes, through: bytes) -> Difference | None:
    """None if the replies to these commands are as equal as they can be."""
    if direct == through:
        return None
    ours, theirs = _without_invalidations(direct), _without_invalidations(through)
    if len(ours) != len(theirs):
        return _first(commands, ours, theirs, f"{len(ours)} frames, {len(theirs)} through")
    if len(ours) < len(commands) or any(frame[:1] == b">" for frame in ours):
        return _unordered(commands, ours, theirs)
    queued: list[list[bytes]] = []
    words: list[bytes] | None
    for at, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        words = commands[at] if at < len(commands) else None
        if not (our == their or _equal(words, queued, our, their)):
            return Difference(words, our, their, f"reply {at + 1} of {len(ours)} differs")
        if our == b"+QUEUED\r\n" and words is not None:
            queued.append(words)
        elif words is not None and words[0].upper() in (b"EXEC", b"DISCARD", b"RESET"):
            queued = []
    return None


def _first(
    commands: list[list[bytes]], ours: list[bytes], theirs: list[bytes], why: str
) -> Difference:
    for at, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if our != their:
            words = commands[at] if at < len(commands) else None
            return Difference(words, our, their, f"{why}, first other one {at + 1}")
    shorter = min(len(ours), len(theirs))
    rest = [(b"".join(each[shorter:])) for each in (ours, theirs)]
    words = commands[shorter] if shorter < len(commands) else None
    return Difference(words, rest[0], rest[1], why)


def _unordered(
    commands: list[list[bytes]], ours: list[bytes], theirs: list[bytes]
) -> Difference | None:
    """More replies than commands, or pushes: those of UNSUBSCRIBE come in any order."""
    if sorted(ours) == sorted(theirs):
        return None
    rules = _rules([words for words in commands if words])
    left = sorted(_canonical(rules, parse(each)[0]) for each in ours)
    right = sorted(_canonical(rules, parse(each)[0]) for each in theirs)
    return None if left == right else _first(commands, ours, theirs, "frames differ")


def _equal(words: list[bytes] | None, queued: list[list[bytes]], our: bytes, their: bytes) -> bool:
    if words is None:
        return False
    left, right = parse(our)[0], parse(their)[0]
    if words[0].upper() == b"EXEC" and left[0] == right[0] == b"*":
        return len(left[1]) == len(right[1]) and all(
            a == b or _alike(_rules([each]), a, b)
            for each, a, b in zip(queued, left[1], right[1], strict=False)
        )
    return _alike(_rules([words]), left, right)


def _rules(commands: list[list[bytes]]) -> set[str]:
    names = set()
    for words in commands:
        first = words[0].decode(errors="replace").lower()
        names |= (
            {first, f"{first}|{words[1].decode(errors='replace').lower()}"}
            if words[1:]
            else {first}
        )
    found = {"order"} if names & ORDER_IS_FREE.keys() else set()
    found |= {"close"} if names & NUMBERS_ARE_CLOSE.keys() else set()
    return found | ({"length"} if names & LENGTH_ONLY.keys() else set())


def _alike(rules: set[str], left: Any, right: Any) -> bool:
    if "length" in rules:
        return left[0] == right[0] and len(left[1] or b"") == len(right[1] or b"")
    if "order" in rules and _canonical(rules, left) == _canonical(rules, right):
        return True
    return "close" in rules and _close(left, right)


def _close(left: Any, right: Any) -> bool:
    if left[0] != right[0]:
        return False
    if isinstance(left[1], list) and isinstance(right[1], list):
        return len(left[1]) == len(right[1]) and all(map(_close, left[1], right[1]))
    if left[0] == b":":
        one, two = int(left[1]), int(right[1])
        return one == two or (min(one, two) >= 0 and abs(one - two) <= CLOSE)
    return bool(left[1] == right[1])


def _canonical(rules: set[str], node: Any) -> str:
    kind, value = node
    if isinstance(value, list):
        parts = [_canonical(rules, each) for each in value]
        return f"{kind}[{','.join(sorted(parts) if 'order' in rules else parts)}]"
    if kind in _BULKS and value and "order" in rules:
        return f"{kind}{sorted(value.split())}"
    if kind == b":" and "close" in rules:
        return ":number"
    return f"{kind}{value!r}"


def parse(frame: bytes, at: int = 0) -> tuple[Any, int]:
    """The node (type, value or nodes) that begins at `at`, and the index behind it."""
    line = frame.find(b"\r\n", at)
    if line < 0:
        return (b"?", frame[at:]), len(frame)
    kind, text = frame[at : at + 1], frame[at + 1 : line]
    if kind in _AGGREGATES:
        nodes = []
        count, at = int(text) * _AGGREGATES[kind], line + 2
        if count < 0:
            return (kind, None), at
        for _ in range(count):
            node, at = parse(frame, at)
            nodes.append(node)
        return (kind, nodes), at
    if kind in _BULKS:
        size = int(text)
        if size < 0:
            return (kind, None), line + 2
        return (kind, frame[line + 2 : line + 2 + size]), line + 4 + size
    return (kind, text), line + 2
