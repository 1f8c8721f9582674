"""Bytes that are no commands: both sides say the same and close the same connections.

A stream is followed by a PING. What happens then is one of three things: the PING is answered (the
parser found back), the connection is closed (a protocol error, or a command that is one of HTTP),
or nothing (the parser waits for bytes that were announced); then this side ends its half, and
whatever was said until the end of the stream is compared.
"""

import contextlib
import random
import re
import socket
import struct
from collections.abc import Iterator

from tests.differential.steps import encode_words

ANSWER_S = 10.0
_QUIET_S = 0.004
_NONCE = b"still-there"
_PROBE = encode_words([b"PING", _NONCE])
_ANSWER = b"$%d\r\n%s\r\n" % (len(_NONCE), _NONCE)
_RESET = struct.pack("ii", 1, 0)
_VALID = [
    [b"GET", b"k"],
    [b"SET", b"k", b"v"],
    [b"MGET", b"k", b"l", b"k"],
    [b"PING"],
    [b"ECHO", b"a\r\nb"],
    [b"SET", b"l", b"0123456789" * 30],
    [b"GET", b"l"],
    [b"HGETALL", b"h"],
    [b"HSET", b"h", b"f", b"v"],
    [b"INCR", b"n"],
    [b"MULTI"],
    [b"EXEC"],
    [b"SELECT", b"1"],
    [b"EXISTS", b"k", b"n"],
    [b"TYPE", b"k"],
]
_ODD_SHORT = rb"""
*1\r\n$0\r\n\r\n
*0\r\n
*-1\r\n
*-5\r\n
\r\n
\n
*\r\n
$4\r\nPING\r\n
*1\r\n$-1\r\n
*1\r\n:4\r\nPING\r\n
*2147483647\r\n
*1048577\r\n
*99999999999\r\n
*1\r\n$536870913\r\n
*1\r\n$99999999999999\r\n
*1\r\n$4\nPING\r\n
*1\n$4\r\nPING\r\n
*1\r\n$4\r\nPINGxx
*1\r\n$ 4\r\nPING\r\n
*01\r\n$4\r\nPING\r\n
*1\r\n$04\r\nPING\r\n
*+1\r\n$4\r\nPING\r\n
POST / HTTP/1.1\r\n
Host: there\r\n
GET / HTTP/1.1\r\n
*1\r\n$4\r\nPOST\r\n
PING "unbalanced\r\n
PING "a"b\r\n
PING 'a\\'b'\r\n
PING\n
PING "\\x41\\n"\r\n
PING\0\r\n
 PING \r\n
\tPING\r\n
%1\r\n+a\r\n+b\r\n
PING\r
*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n
*1\r\n\r\n
*1\r\n$\r\n
*x\r\n
*1\r\n$x\r\n
quit\r\n
"""
"""What a parser may take otherwise than the server does, one a line, with escapes."""

_SHORT = [
    line.decode("unicode_escape").encode("latin-1") for line in _ODD_SHORT.split(b"\n") if line
]
_LONG = [b"Z" * 70000, b"\r\n" * 2000]
_HTTP = re.compile(rb"post|host:", re.IGNORECASE)
_BLANK_LINE = re.compile(rb"(?:^|\n)(?!\r?\n)[ \t\v\f\r]+\n")
"""Behind a line of nothing but blanks the server takes arrays of commands for inline ones, until
the first inline command: a quirk that no proxy should have."""


def streams(seed: int, count: int) -> Iterator[bytes]:
    """So many streams: random bytes, mutated valid ones, and odd ones amid valid ones."""
    choice, odd = random.Random(seed), _SHORT + _LONG
    for at in range(count):
        stream = odd[at] if at < len(odd) else _random(choice)
        yield stream.replace(b"\xff", b"\xfe")


def _random(choice: random.Random) -> bytes:
    luck = choice.random()
    if luck < 0.2:
        return choice.randbytes(choice.randrange(1, 200))
    if luck < 0.35:
        alphabet = b"*$:+-\r\n0123456789 \"'\\xPINGSETab\0"
        return bytes(choice.choices(alphabet, k=choice.randrange(1, 120)))
    if luck < 0.55:
        return _some(choice) + choice.choice(_SHORT) + _some(choice)
    return _mutated(choice, _some(choice) or encode_words([b"PING"]))


def _some(choice: random.Random) -> bytes:
    parts = choice.choices(_VALID, k=choice.randrange(0, 5))
    return b"".join(
        encode_words(each) if choice.random() < 0.8 else b" ".join(each) + b"\r\n" for each in parts
    )


def _mutated(choice: random.Random, stream: bytes) -> bytes:
    changed = bytearray(stream)
    for _ in range(choice.choice((1, 1, 1, 2, 3, 8))):
        at, what = choice.randrange(len(changed) + 1), choice.randrange(5)
        if what == 0 and at < len(changed):
            changed[at] ^= 1 << choice.randrange(8)
        elif what == 1:
            changed[at:at] = choice.choice(
                (b"\r\n", b"\n", b"\0", b"*1\r\n", b"$5\r\n", b"9", b"-", b" ")
            )
        elif what == 2:
            del changed[at : at + choice.choice((1, 1, 2, 5))]
        elif what == 3:
            changed[at : at + 1] = bytes([choice.choice(b"0123456789*$-\r\n")])
        elif at:
            changed += changed[choice.randrange(at) : at]
    return bytes(changed)


class _Half:
    """One side of the comparison."""

    def __init__(self, address: tuple[str, int], stream: bytes):
        self._socket = socket.create_connection(address, timeout=ANSWER_S)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.said, self.ended = b"", False
        with contextlib.suppress(OSError):
            self._socket.sendall(stream + _PROBE)

    def read(self, patience_s: float = ANSWER_S) -> str:
        """Reads until the PING is answered, the stream ends or nothing comes any more."""
        self._socket.settimeout(patience_s)
        while not self.said.endswith(_ANSWER):
            try:
                data = self._socket.recv(1 << 18)
            except TimeoutError:
                return "waits"
            except OSError:
                data = b""
            if not data:
                return "closed"
            self.said += data
        return "answers"

    def finish(self) -> None:
        """Ends our half; what is still said until the other half ends is read."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self.read()

    def close(self) -> None:
        self._socket.close()


def compare(addresses: tuple[tuple[str, int], tuple[str, int]], stream: bytes) -> str | None:
    """None if both sides said the same and ended the same way."""
    direct = _Half(addresses[0], stream)
    through = _Half(addresses[1], stream)
    try:
        ours = direct.read(_QUIET_S)
        if ours == "waits":
            direct.finish()
            through.finish()
            theirs = "waits"
        else:
            theirs = through.read()
        if (ours, direct.said) == (theirs, through.said):
            return None
        if ours == theirs == "closed" and not direct.said and _HTTP.search(stream):
            return None
        if _BLANK_LINE.search(stream):
            return None
        return (
            f"garbage {stream[:400]!r}\n    direct   {ours} {direct.said[-300:]!r}"
            f"\n    through  {theirs} {through.said[-300:]!r}"
        )
    finally:
        direct.close()
        through.close()
