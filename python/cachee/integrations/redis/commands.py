"""What a command may do, by its name: the cheap first question of every hooked call.

The server's own COMMAND table (in the native engine) says which keys a write changes. What is
decided here, before any native call, is only in which of four ways a call goes:

    CACHEABLE   a read of one key (or of several that are kept one by one) that the L1 may answer
    HARMLESS    surely changes no key: goes to the client's own method, nothing is noted
    EFFECT      everything else, unknown names included: noted before and after
    STATE       changes what its connection is (database, user, transaction, protocol): noted, and
                the pool it came from is never answered for again

A name missing here costs speed, never correctness: it counts as EFFECT.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["Kind", "keys_of", "kind_of", "split_name", "words_of"]


class Kind(IntEnum):
    """How a call goes."""

    CACHEABLE = 0
    HARMLESS = 1
    EFFECT = 2
    STATE = 3


_CACHEABLE = """
GET MGET STRLEN GETRANGE SUBSTR GETBIT BITCOUNT BITPOS BITFIELD_RO EXISTS TYPE
HGET HMGET HGETALL HKEYS HVALS HLEN HEXISTS HSTRLEN
SMEMBERS SISMEMBER SMISMEMBER SCARD
ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZREVRANGEBYLEX
ZSCORE ZMSCORE ZRANK ZREVRANK ZCARD ZCOUNT ZLEXCOUNT
LRANGE LLEN LINDEX LPOS
GEOPOS GEODIST GEOHASH GEOSEARCH GEORADIUS_RO GEORADIUSBYMEMBER_RO
XLEN XRANGE XREVRANGE
JSON.GET JSON.TYPE JSON.STRLEN JSON.ARRLEN JSON.ARRINDEX JSON.OBJKEYS JSON.OBJLEN JSON.RESP
"""

_HARMLESS = """
TTL PTTL EXPIRETIME PEXPIRETIME HTTL HPTTL HEXPIRETIME HPEXPIRETIME DUMP OBJECT TOUCH
KEYS SCAN HSCAN SSCAN ZSCAN RANDOMKEY DBSIZE HRANDFIELD SRANDMEMBER ZRANDMEMBER
SINTER SUNION SDIFF SINTERCARD ZINTER ZUNION ZDIFF ZINTERCARD LCS SORT_RO
XREAD XINFO XPENDING JSON.MGET EVAL_RO EVALSHA_RO FCALL_RO
PING ECHO TIME INFO COMMAND CONFIG MEMORY SLOWLOG LATENCY LASTSAVE ROLE LOLWUT ACL WAIT WAITAOF
PUBLISH SPUBLISH PUBSUB SCRIPT CLUSTER SAVE BGSAVE BGREWRITEAOF
"""

_STATE = """
SELECT AUTH HELLO RESET MULTI EXEC DISCARD WATCH UNWATCH ASKING READONLY READWRITE QUIT MONITOR
SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE SYNC PSYNC
"""

_CLIENT_STATE = frozenset({"TRACKING", "REPLY", "CACHING"})
"""Subcommands of CLIENT that change the connection; the others are harmless."""

_KINDS: Final[dict[object, Kind]] = {
    **dict.fromkeys(_CACHEABLE.split(), Kind.CACHEABLE),
    **dict.fromkeys(_HARMLESS.split(), Kind.HARMLESS),
    **dict.fromkeys(_STATE.split(), Kind.STATE),
}

KINDS_BY_SPELLING_MAX = 4_096
"""Spellings remembered, so that names made up at run time cannot grow the table."""

KINDS_BY_SPELLING: Final[dict[object, Kind]] = dict(_KINDS)
"""Kinds by the command exactly as given (b"SET", "XINFO STREAM"), filled by `kind_of`.

Cacheable ones are here in capitals only, as the libraries send them: for other spellings the
response callbacks must be looked up the long way.
"""

TRANSACTION_WORDS = frozenset({"MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"})
"""STATE commands that a pipeline undoes itself before its connection goes back to the pool."""


def kind_of(args: tuple[object, ...]) -> Kind:
    """The kind of a command given as to `execute_command`; O(1), any spelling.

    >>> kind_of(("GET", "k")).name, kind_of((b"set", "k", 1)).name, kind_of(("SELECT", 3)).name
    ('CACHEABLE', 'EFFECT', 'STATE')
    """
    try:
        return KINDS_BY_SPELLING[args[0]]
    except (KeyError, IndexError, TypeError):
        pass
    words = words_of(args, 2)
    if not words:
        return Kind.EFFECT
    kind = _KINDS.get(words[0], Kind.EFFECT)
    if words[0] == "CLIENT":
        subcommand = words[1] if len(words) > 1 else ""
        return Kind.STATE if subcommand in _CLIENT_STATE else Kind.HARMLESS
    nameable = kind is not Kind.CACHEABLE and type(args[0]) in (str, bytes)
    if nameable and len(KINDS_BY_SPELLING) < KINDS_BY_SPELLING_MAX:
        KINDS_BY_SPELLING[args[0]] = kind
    return kind


def words_of(args: tuple[object, ...], count: int) -> list[str]:
    """The first words of a command in upper case, however they were spelt.

    >>> words_of(("client list", "TYPE", "normal"), 2)
    ['CLIENT', 'LIST']
    """
    words: list[str] = []
    for arg in args[:count]:
        if isinstance(arg, (bytes, bytearray, memoryview)):
            arg = bytes(arg).decode("latin-1")
        parts = str(arg).upper().split() if not words else [str(arg).upper()]
        words += parts
        if len(words) >= count:
            break
    return words[:count]


def split_name(args: tuple[object, ...]) -> tuple[object, ...]:
    """The command as it goes over the wire: the client sends "SCRIPT LOAD" as two words.

    >>> split_name(("SCRIPT LOAD", "return 1"))
    ('SCRIPT', 'LOAD', 'return 1')
    """
    name = args[0] if args else None
    if isinstance(name, str) and " " in name:
        return (*name.split(), *args[1:])
    if isinstance(name, bytes) and b" " in name:
        return (*name.split(), *args[1:])
    return args


def keys_of(args: tuple[object, ...]) -> tuple[object, ...]:
    """The keys of a CACHEABLE command.

    >>> keys_of(("MGET", "a", "b")), keys_of(("HGET", "h", "field"))
    (('a', 'b'), ('h',))
    """
    words = words_of(args, 1)
    if words and words[0] in ("MGET", "EXISTS"):
        return args[1:]
    return args[1:2]
