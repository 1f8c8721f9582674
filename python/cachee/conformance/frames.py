"""RESP as a relay needs it: where a frame ends, a command's words, what is an invalidation."""

from __future__ import annotations

_ELEMENTS_PER_ITEM = {b"*"[0]: 1, b"~"[0]: 1, b">"[0]: 1, b"%"[0]: 2, b"|"[0]: 2}
_LINES = frozenset(b"+-:_,#(")
_BULKS = frozenset(b"$=!")
INVALIDATE_CHANNEL = b"__redis__:invalidate"


def frame_end(buffer: bytes | bytearray, start: int = 0) -> int | None:
    """Index behind the frame that begins at `start`, None while it is incomplete.

    Bytes that are no RESP at all count as one frame of everything there is.
    """
    pending = 1
    position = start
    while pending:
        line = buffer.find(b"\r\n", position)
        if line < 0:
            known = position < len(buffer) and _is_type(buffer[position])
            return None if known or position >= len(buffer) else len(buffer)
        kind = buffer[position]
        if kind in _BULKS:
            size = int(buffer[position + 1 : line])
            position = line + 2 if size < 0 else line + 2 + size + 2
            if position > len(buffer):
                return None
            pending -= 1
        elif kind in _ELEMENTS_PER_ITEM:
            pending += max(int(buffer[position + 1 : line]), 0) * _ELEMENTS_PER_ITEM[kind]
            position = line + 2
            pending -= kind != ord("|")
        elif kind in _LINES:
            position = line + 2
            pending -= 1
        else:
            return len(buffer)
    return position


def _is_type(byte: int) -> bool:
    return byte in _BULKS or byte in _LINES or byte in _ELEMENTS_PER_ITEM


def is_push(frame: bytes) -> bool:
    """Whether a frame of the server is an out-of-band push."""
    return frame[:1] == b">"


def is_invalidation(frame: bytes) -> bool:
    """Whether a frame tells of changed keys: RESP3's push, or the message RESP2 is redirected."""
    if frame.startswith((b">2\r\n$10\r\ninvalidate\r\n", b">3\r\n$7\r\nmessage\r\n")):
        return True
    head = b"*3\r\n$7\r\nmessage\r\n$20\r\n"
    return frame.startswith(head) and frame[len(head) :].startswith(INVALIDATE_CHANNEL)


def command_of(frame: bytes) -> list[bytes]:
    """The words of a command frame, an empty list when it is none."""
    if frame[:1] != b"*":
        return []
    words, position = [], frame.find(b"\r\n") + 2
    while position < len(frame):
        line = frame.find(b"\r\n", position)
        if frame[position : position + 1] != b"$" or line < 0:
            return []
        size = int(frame[position + 1 : line])
        words.append(frame[line + 2 : line + 2 + size])
        position = line + 2 + size + 2
    return words
