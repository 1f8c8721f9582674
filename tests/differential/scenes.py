"""Sequences that have a state, each leaving its connections as plain as it found them."""

import random
from collections.abc import Callable, Iterator

from tests.differential import pools
from tests.differential.steps import Step

Words = list[bytes]
Scene = Callable[[random.Random, int, int, int, Callable[[], Words]], Iterator[Step]]

COMMANDS = frozenset(
    [
        "multi",
        "exec",
        "discard",
        "watch",
        "unwatch",
        "subscribe",
        "unsubscribe",
        "psubscribe",
        "punsubscribe",
        "ssubscribe",
        "sunsubscribe",
        "publish",
        "spublish",
        "quit",
        "reset",
        "monitor",
        "client|reply",
        "client|tracking",
        "client|caching",
        "blpop",
        "acl|setuser",
        "acl|deluser",
        "auth",
        "hello",
        "select",
        "flushall",
        "script|load",
        "ping",
    ]
)
"""What only scenes send, for the count of what is covered."""


def _words(line: str) -> Words:
    return [word.encode() for word in line.split()]


def _lines(text: str) -> list[Words]:
    return [_words(line) for line in text.split(" / ")]


def _single(at: int, line: str | Words) -> Step:
    return Step(at, [_words(line) if isinstance(line, str) else line], frames=1)


def transaction(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """WATCH, perhaps somebody else's write, MULTI and EXEC, pipelined or one by one."""
    key = choice.choice(pools.KEYS_OF["string"])
    inside = [one() for _ in range(choice.randrange(0, 8))]
    end = [choice.choice((b"EXEC", b"EXEC", b"EXEC", b"DISCARD"))]
    if choice.random() < 0.5:
        yield _single(at, [b"WATCH", key])
    if choice.random() < 0.5:
        yield _single(other, [b"SET", key, choice.choice(pools.VALUES)])
    whole = [[b"MULTI"], *inside, end]
    if choice.random() < 0.2:
        whole.insert(1, [choice.choice((b"MULTI", b"WATCH", b"GET", b"NOSUCH"))])
    if choice.random() < 0.5:
        yield Step(at, [*whole, [b"GET", key]])
    else:
        for words in whole:
            yield _single(at, words)


def subscriptions(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """Channels, patterns and shard channels, with messages of one's own and of somebody else."""
    yield Step(
        at, _lines("SUBSCRIBE ch:0 ch:1 / PSUBSCRIBE ch:* / SSUBSCRIBE ch:2 / PING / GET str:0")
    )
    yield _single(other, "PUBLISH ch:0 hello") if other != at else Step(at, [_words("PING a")])
    yield Step(at, _lines("UNSUBSCRIBE ch:0 / PUBLISH ch:1 own / SELECT 1 / SELECT 0"))
    yield Step(at, _lines("SUBSCRIBE / UNSUBSCRIBE nosuch / PUNSUBSCRIBE"))
    yield Step(at, _lines("UNSUBSCRIBE / SUNSUBSCRIBE / UNSUBSCRIBE / GET str:0"))


def silence(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """CLIENT REPLY, and reads that would be hits in between."""
    yield Step(at, _lines("GET str:0 / CLIENT REPLY SKIP / GET str:0 / GET str:1 / GET num:1"))
    yield Step(
        at, _lines("CLIENT REPLY OFF / GET str:0 / INCR num:0 / CLIENT REPLY ON / GET num:0")
    )
    yield Step(
        at,
        _lines("CLIENT REPLY ON / MULTI / CLIENT REPLY OFF / GET str:0 / EXEC / CLIENT REPLY ON"),
    )


def versions(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """Both RESP versions in one pipeline, the same reads in each."""
    reads = [one() for _ in range(4)] + _lines(
        "HGETALL hash:0 / ZRANGE zset:0 0 -1 WITHSCORES / SMEMBERS set:0 / GET none:1"
        " / ZSCORE zset:1 m1"
    )
    hello = [_words("HELLO 2"), _words("HELLO 3 SETNAME tester"), _words("HELLO 3 AUTH default x")]
    choice.shuffle(hello)
    yield Step(at, [*reads, hello[0], *reads, hello[1], *reads, hello[2], *reads])
    yield Step(at, [_words(f"HELLO {protocol}")])


def users(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """A user who may read some keys only, and reads what others have made hot."""
    yield Step(
        at,
        _lines(
            "GET str:0 / GET num:0 / ACL SETUSER u1 reset on >secret ~str:* +get +auth +hello +ping"
            " / AUTH u1 wrong / AUTH u1 secret / GET str:0 / GET num:0 / HGETALL hash:0 / GET str:0"
        ),
    )
    yield Step(other, _lines("GET num:0 / GET str:0")) if other != at else _single(at, "GET num:0")
    yield Step(at, _lines("MGET str:0 num:0 / SELECT 1 / SET str:0 x / AUTH default x / GET num:0"))
    yield Step(at, _lines("ACL DELUSER u1 / ACL WHOAMI"))


def databases(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """The same keys in several databases, exchanged."""
    reads = "GET str:0 / HGETALL hash:0 / SMEMBERS set:0 / EXISTS none:0"
    yield Step(at, _lines(f"SELECT 0 / {reads} / SELECT 1 / {reads} / SET str:0 one / {reads}"))
    swap = choice.choice(("SWAPDB 0 1", "SWAPDB 1 0", "MOVE str:0 2", "FLUSHDB", "SELECT 2"))
    yield Step(other, _lines(swap))
    yield Step(at, _lines(f"{reads} / SELECT 0 / {reads}"))
    yield Step(other, _lines("SELECT 0"))


def own_tracking(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """A client that does its own client-side caching."""
    how = choice.choice(("", " BCAST PREFIX str:", " OPTIN", " NOLOOP", " OPTOUT"))
    yield Step(at, _lines(f"CLIENT TRACKING ON{how} / CLIENT CACHING YES / GET str:0 / GET num:0"))
    yield _single(other, "SET str:0 new") if other != at else Step(at, [_words("SET num:1 5")])
    yield Step(at, _lines("CLIENT TRACKINGINFO / GET str:0 / CLIENT GETREDIR / SET str:0 own"))
    yield Step(at, _lines("GET str:0 / CLIENT TRACKING OFF / GET str:0"))


def waiting(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """A blocked client that somebody else serves; commands pipelined behind the blocking one."""
    yield Step(other, [_words("SELECT 0")])
    yield Step(at, _lines("SELECT 0 / DEL block:0 / GET block:0"))
    if other == at:
        yield Step(
            at, _lines("RPUSH block:0 a / BLPOP block:0 0 / GET str:0 / BLPOP block:0 0.001")
        )
        return
    yield Step(at, _lines("BLPOP block:0 0 / GET str:1 / SET str:1 behind / GET str:1"), frames=0)
    yield _single(other, "RPUSH block:0 a")
    yield Step(at, [], frames=4)


def goodbye(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """QUIT amid a pipeline: what comes behind is not answered."""
    yield Step(at, [one(), one(), [b"QUIT"], [b"SET", b"str:0", b"too late"]], closes=True)
    yield _single(at, "GET str:0")


def reset(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """RESET out of every state."""
    before = choice.choice(
        ("MULTI / GET str:0", "SUBSCRIBE ch:0", "SELECT 2", "WATCH str:0", "CLIENT REPLY OFF",
         "CLIENT TRACKING ON", "HELLO 3", "CLIENT SETNAME x", "READONLY", "GET str:0")
    )  # fmt: skip
    yield Step(at, _lines(f"{before} / RESET / GET str:0 / CLIENT GETNAME / GET str:0"))
    yield Step(at, [_words(f"HELLO {protocol}")])


def wrong_protocol(
    choice: random.Random, protocol: int, at: int, other: int, one: Callable[[], Words]
) -> Iterator[Step]:
    """The other RESP version from the start of a connection, left by its end."""
    yield Step(
        at, _lines(f"HELLO {5 - protocol} / HGETALL hash:0 / HGETALL hash:0 / QUIT"), closes=True
    )


ALL: list[Scene] = [
    transaction,
    transaction,
    subscriptions,
    silence,
    versions,
    users,
    databases,
    own_tracking,
    waiting,
    goodbye,
    reset,
    wrong_protocol,
]
