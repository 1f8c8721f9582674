"""One step of an episode: what is sent at once, and when its replies are all in."""

import random
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """Commands sent at once on one connection.

    The replies are all in after `frames` of them, or after the reply to a PING that is sent behind,
    or, with `closes`, at the end of the stream; the connection is then a new one.
    """

    at: int
    commands: list[list[bytes]] = field(default_factory=list)
    frames: int | None = None
    closes: bool = False
    inline: bool = False
    fragments: int = 0

    def payload(self) -> bytes:
        """The bytes to send."""
        one = _inline if self.inline else encode_words
        return b"".join(one(words) for words in self.commands)

    def pieces(self, payload: bytes) -> list[bytes]:
        """The payload in the pieces it is sent in."""
        if not self.fragments or len(payload) < 2:
            return [payload]
        choice = random.Random(self.fragments)
        cuts = sorted({choice.randrange(1, len(payload)) for _ in range(choice.randrange(1, 12))})
        return [payload[begin:end] for begin, end in zip([0, *cuts], [*cuts, None], strict=True)]


def encode_words(words: list[bytes]) -> bytes:
    """A command as an array of bulks; `harness.resp.encode` for words that are bytes already."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


_BARE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.*?[]()+#>")
_INLINE_LIMIT = 8000


def _inline(words: list[bytes]) -> bytes:
    if sum(map(len, words)) > _INLINE_LIMIT or not words[0] or words[0][:1] == b"*":
        return encode_words(words)
    return b" ".join(map(_quoted, words)) + b"\r\n"


def _quoted(word: bytes) -> bytes:
    if word and _BARE.issuperset(word):
        return word
    return b'"' + b"".join(b"\\x%02x" % byte for byte in word) + b'"'
