"""Commands made from the grammar that the server publishes of them.

`COMMAND DOCS` describes every command as a tree of arguments. Each tree is compiled once into
closures that append plausible arguments to a list, because making commands must not be what a long
run waits for. Values come from small pools, so that commands meet each other's keys.
"""

import random
from collections.abc import Callable
from typing import Any

from tests.differential import pools

Make = Callable[[random.Random, list[bytes]], None]

_OPTIONAL = 0.3
_COUNTED = frozenset({"numkeys", "numlocal"})
_FAR_S, _FAR_MS = 4_000_000_000, 4_000_000_000_000


def fields(pairs: Any) -> dict[str, Any]:
    """A map of the server as RESP2 gives it."""
    return {pairs[at].decode(): pairs[at + 1] for at in range(0, len(pairs), 2)}


class Command:
    """One command (or sub-command) that can be made any number of times."""

    def __init__(self, name: str, doc: dict[str, Any], readonly: bool):
        self.name, self.readonly = name, readonly
        self.group = doc["group"].decode()
        self._words = [word.encode() for word in name.upper().split("|")]
        self._make = [_argument(fields(each), self) for each in doc.get("arguments", [])]
        self.keyed = _has_key(doc.get("arguments", []))

    def make(self, choice: random.Random) -> list[bytes]:
        """The command with plausible arguments."""
        words = list(self._words)
        for make in self._make:
            make(choice, words)
        return words


def _has_key(arguments: Any) -> bool:
    return any(
        each["type"] == b"key" or _has_key(each.get("arguments", []))
        for each in map(fields, arguments)
    )


def _argument(argument: dict[str, Any], command: Command) -> Make:
    flags = {flag.decode() for flag in argument.get("flags", [])}
    token = argument.get("token")
    once = _once(argument, command)
    if token is not None and argument["type"] != b"pure-token":
        once = _with_token(token, once)
    if "multiple" in flags:
        once = _repeated(once, token if "multiple_token" not in flags else None)
    return _maybe(once) if "optional" in flags else once


def _with_token(token: bytes, make: Make) -> Make:
    def with_token(choice: random.Random, words: list[bytes]) -> None:
        words.append(token)
        make(choice, words)

    return with_token


def _repeated(make: Make, token: bytes | None) -> Make:
    def repeated(choice: random.Random, words: list[bytes]) -> None:
        counted = words[-1] == pools.COUNT_FOLLOWS
        at, times = len(words) - 1, choice.choice((1, 1, 2, 2, 3, 4))
        make(choice, words)
        for _ in range(times - 1):
            begin = len(words)
            make(choice, words)
            if token is not None and words[begin] == token:
                del words[begin]
        if counted:
            wrong = choice.random() < 0.03
            words[at] = b"%d" % (choice.choice((0, -1, 9)) if wrong else times)

    return repeated


def _maybe(make: Make) -> Make:
    def maybe(choice: random.Random, words: list[bytes]) -> None:
        if choice.random() < _OPTIONAL:
            make(choice, words)

    return maybe


def _once(argument: dict[str, Any], command: Command) -> Make:
    kind = argument["type"].decode()
    if kind == "pure-token" and argument.get("token") == b"*" and command.name == "xadd":
        return lambda choice, words: words.append(choice.choice(pools.NEW_IDS))
    if kind == "pure-token":
        token = argument.get("token", b"")
        return lambda choice, words: words.append(token)
    if kind in ("oneof", "block"):
        parts = [_argument(fields(each), command) for each in argument["arguments"]]
        return _one_of(parts) if kind == "oneof" else _all_of(parts)
    if kind == "key":
        return _key(command.group)
    return _value(kind, argument["name"].decode(), command)


def _one_of(parts: list[Make]) -> Make:
    return lambda choice, words: choice.choice(parts)(choice, words)


def _all_of(parts: list[Make]) -> Make:
    def all_of(choice: random.Random, words: list[bytes]) -> None:
        for part in parts:
            part(choice, words)

    return all_of


def _key(group: str) -> Make:
    own = pools.KEYS_OF.get(group, pools.KEYS)

    def key(choice: random.Random, words: list[bytes]) -> None:
        words.append(choice.choice(own if choice.random() < 0.9 else pools.KEYS))

    return key


def _value(kind: str, name: str, command: Command) -> Make:
    if name in _COUNTED:
        return lambda choice, words: words.append(pools.COUNT_FOLLOWS)
    if kind == "unix-time":
        far = _FAR_MS if "milli" in name else _FAR_S
        return lambda choice, words: words.append(b"%d" % (far + choice.randrange(10**8)))
    if kind == "integer" and name in ("seconds", "milliseconds", "ttl"):
        unit = 1000 if name != "seconds" else 1
        return lambda choice, words: words.append(
            b"%d" % (unit * (10**6 + choice.randrange(8 * 10**6)))
        )
    pool = pools.pool_of(command, kind, name)
    return lambda choice, words: words.append(choice.choice(pool))


def wrong(choice: random.Random, words: list[bytes]) -> list[bytes]:
    """The command with one mistake in it: arity, type, option, or only an odd spelling."""
    words = list(words)
    what = choice.randrange(6)
    if what == 0 and len(words) > 1:
        words.pop()
    elif what == 1:
        words.append(choice.choice(pools.JUNK))
    elif what == 2 and len(words) > 1:
        words[choice.randrange(1, len(words))] = choice.choice(pools.JUNK)
    elif what == 3 and len(words) > 1:
        words[1] = choice.choice(pools.KEYS)
    elif what == 4:
        words[0] = words[0].swapcase() if choice.random() < 0.8 else words[0] + b"X"
    else:
        words.insert(choice.randrange(1, len(words) + 1), choice.choice(pools.OPTIONS))
    return words
