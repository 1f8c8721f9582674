"""The values commands are made of: few, so that commands meet, and of every kind.

Members and fields are so few and so short that no set or hash ever becomes a hash table, whose
order would differ between the twins.
"""

from typing import Any

COUNT_FOLLOWS = b"\0count"
"""Stands where the number of the keys that follow has to be."""

_PER_KIND = 3


def _keys(*kinds: str) -> list[bytes]:
    return [b"%s:%d" % (kind.encode(), at) for kind in kinds for at in range(_PER_KIND)]


MISSING = _keys("none")
KEYS_OF = {
    "string": _keys("str", "num") + MISSING[:1],
    "bitmap": _keys("str", "bits"),
    "list": _keys("list") + MISSING[:1],
    "set": _keys("set", "ints") + MISSING[:1],
    "sorted-set": _keys("zset") + MISSING[:1],
    "hash": _keys("hash") + MISSING[:1],
    "stream": _keys("stream") + MISSING[:1],
    "geo": _keys("geo") + MISSING[:1],
    "hyperloglog": _keys("hll") + MISSING[:1],
}
KEYS = sorted({key for keys in KEYS_OF.values() for key in keys} | set(MISSING))

MEMBERS = [b"m%d" % at for at in range(12)] + [b"%d" % at for at in range(-2, 12)] + [b"", b"\r\n"]
VALUES = [
    *MEMBERS,
    b"3.25",
    b"-17",
    b"9223372036854775807",
    b"hello world",
    b"\x00\xff\r\n$3\r\nbar",
    b"*1\r\n",
    b"caf\xc3\xa9",
    b"v" * 100,
]
BIG = [b"w" * 3000, b"x" * 20000, b"\r\n" * 40000]
"""For keys of their own: LCS of two of them would take minutes."""
NUMBERS = [b"0", b"1", b"-1", b"2", b"3", b"5", b"10", b"-5", b"100", b"1000"]
DOUBLES = [b"0", b"1", b"2.5", b"-3.75", b"1e3", b"inf", b"-inf", b"10", b"13.361389"]
PATTERNS = [b"*", b"str:*", b"s?t:*", b"[h-n]*:1", b"none", b"m*", b"", b"*:2"]
STREAM_IDS = [b"1-1", b"2-0", b"3-5", b"7", b"9-9", b"0-0", b"12-1", b"100-1", b"0"]
NEW_IDS = [b"%d-%d" % (at, at % 3) for at in range(1, 400, 7)] + [b"5-*", b"900-*"]
CHANNELS = [b"ch:0", b"ch:1", b"ch:2"]
JUNK = [b"", b"abc", b"-1", b"0", b"99999999999999999999", b"nan", b"1e400", b"\r\n", b"1.5", b"(1"]
OPTIONS = [
    b"NX",
    b"XX",
    b"GET",
    b"WITHSCORES",
    b"COUNT",
    b"LIMIT",
    b"STORE",
    b"BY",
    b"KEEPTTL",
    b"x",
]

_BY_NAME = {
    "count": [b"0", b"1", b"2", b"3", b"10", b"-1", b"-2"],
    "numreplicas": [b"0"],
    "db": [b"0", b"1", b"2", b"3", b"99"],
    "destination-db": [b"0", b"1", b"2", b"3"],
    "index": [b"0", b"1", b"2", b"3", b"99"],
    "index1": [b"0", b"1", b"2", b"99"],
    "index2": [b"0", b"1", b"2", b"3"],
    "cursor": [b"0", b"0", b"0", b"7"],
    "bit": [b"0", b"1", b"1", b"2"],
    "encoding": [b"u8", b"i5", b"u1", b"i64", b"u63", b"u64"],
    "group": [b"g1", b"g1", b"g2", b"nogroup"],
    "consumer": [b"c1", b"c2"],
    "channel": CHANNELS,
    "shardchannel": CHANNELS,
    "last-id": [*STREAM_IDS, b"$"],
    "lastid": STREAM_IDS,
    "max-deleted-id": [b"0-0", b"1-1"],
    "min-idle-time": [b"0", b"0", b"99999999999"],
    "precision": [b"u8"],
    "longitude": [b"13.361389", b"15.087269", b"2.35", b"-200"],
    "latitude": [b"38.115556", b"37.502669", b"48.85", b"91"],
    "radius": [b"100", b"200", b"20000", b"0", b"-1"],
    "width": [b"400", b"1000"],
    "height": [b"400", b"1000"],
    "serialized-value": [b"", b"\x00\x01a"],
    "password": [b"secret", b"wrong"],
    "username": [b"u1", b"u2", b"nobody"],
    "replacement": [b"r"],
    "message": VALUES,
    "element": MEMBERS,
    "member": MEMBERS,
    "field": MEMBERS,
    "pivot": MEMBERS,
    "offset": [b"0", b"1", b"5", b"7", b"64", b"1000", b"-1"],
}
_LEX = [b"-", b"+", b"[m1", b"(m3", b"[m9", b"m", b"[5"]
_SCORES = [b"-inf", b"+inf", b"0", b"(1", b"5", b"2.5", b"10", b"(inf"]


def pool_of(command: Any, kind: str, name: str) -> list[bytes]:
    """The values that fit an argument."""
    if command.group == "stream" and name in ("id", "start", "end", "start-id", "threshold"):
        return _stream_ids(command, name)
    if name in ("min", "max", "start", "stop") and command.group == "sorted-set":
        return _bounds(command.name, name)
    if name == "timeout":
        return [b"0.001"]
    if command.group == "list" and name == "element":
        return VALUES
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name == "value" and command.group in ("hash", "set", "sorted-set", "stream"):
        return MEMBERS
    return {"integer": NUMBERS, "double": DOUBLES, "pattern": PATTERNS}.get(kind, VALUES)


def _stream_ids(command: Any, name: str) -> list[bytes]:
    if command.name == "xadd":
        return NEW_IDS
    if name in ("start", "end"):
        return [*STREAM_IDS, b"-", b"+", b"(3-5"]
    return STREAM_IDS if name != "threshold" else [b"0", b"1", b"5", b"3-0"]


def _bounds(command: str, name: str) -> list[bytes]:
    if "lex" in command:
        return _LEX
    if "score" in command or command == "zcount":
        return _SCORES
    if command in ("zrange", "zrangestore"):
        return [b"0", b"1", b"-1", b"2", *_SCORES[:3], *_LEX[2:4]]
    return NUMBERS
