"""Commands whose grammar is too coarse to make sense by itself: scripts, settings, containers.

Each line is one variant; a word in braces is drawn from the pool of that name.
"""

import random

from tests.differential import pools

SCRIPTS = [
    b"return 1",
    b"return redis.call('GET', KEYS[1])",
    b"return redis.call('SET', KEYS[1], ARGV[1])",
    b"return redis.call('INCR', KEYS[1])",
    b"return {1, 'two', {3, false}, redis.status_reply('fine')}",
    b"return redis.error_reply('MINE of the script')",
    b"return redis.pcall('LPUSH', KEYS[1], ARGV[1])",
    b"redis.setresp(3); return redis.call('HGETALL', KEYS[1])",
    b"return redis.call('SET', 'num:1', ARGV[1])",
    b"error('no luck')",
    b"return {double = 3.5}",
    b"return {map = {a = 1}}",
    b"this is no lua",
]
SHAS = [b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db", b"f" * 40, b"short"]
LIBRARY = b"""#!lua name=lib
redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
redis.register_function{function_name='look', callback=function(keys, args)
  return redis.call('GET', keys[1]) end, flags={'no-writes'}}
"""
_POOLS: dict[str, list[bytes]] = {
    "key": pools.KEYS,
    "string": pools.KEYS_OF["string"],
    "list": pools.KEYS_OF["list"],
    "number": [b"num:0", b"num:1", b"num:2"],
    "big": [b"big:0", b"big:1"],
    "bigvalue": pools.BIG,
    "value": pools.VALUES,
    "script": SCRIPTS,
    "sha": SHAS,
    "library": [LIBRARY, LIBRARY, b"#!lua name=lib\nnothing()", b"no shebang"],
    "channel": pools.CHANNELS,
    "pattern": pools.PATTERNS,
    "user": [b"u1", b"u2"],
    "rule": [b"on", b"off", b"+@all", b"-@all", b"~*", b"~str:*", b"+get", b"nopass", b">secret",
             b"%R~num:*", b"allchannels", b"resetkeys", b"+nosuch"],
    "setting": [b"maxmemory", b"maxmemory-policy", b"hash-max-listpack-*", b"appendonly", b"none"],
    "name": [b"tester", b"", b"bad name"],
    "kind": [b"string", b"list", b"set", b"zset", b"hash", b"stream", b"nokind"],
    "protocoltype": [b"string", b"integer", b"double", b"null", b"array", b"set", b"map",
                     b"attrib", b"verbatim", b"true", b"false", b"bignum", b"nothing"],
    "readable": [b"get", b"set", b"mget", b"zunionstore", b"eval", b"xread", b"sort", b"nosuch"],
    "category": [b"string", b"read", b"nosuch"],
}  # fmt: skip

VARIANTS = """
SET {big} {bigvalue}
GET {big}
GETRANGE {big} 10 2000
STRLEN {big}
LCS {number} {number}
LCS {number} {number} IDX WITHMATCHLEN
EVAL {script} 1 {string} {value}
EVAL {script} 1 {key} {value}
EVAL {script} 0
EVAL_RO {script} 1 {string} {value}
EVALSHA {sha} 1 {string}
EVALSHA_RO {sha} 1 {string}
SCRIPT LOAD {script}
SCRIPT EXISTS {sha} {sha}
SCRIPT KILL
SCRIPT SHOW {sha}
SCRIPT HELP
FUNCTION LOAD {library}
FUNCTION LOAD REPLACE {library}
FUNCTION LIST
FUNCTION LIST WITHCODE LIBRARYNAME l*
FUNCTION DELETE lib
FUNCTION DUMP
FUNCTION STATS
FUNCTION HELP
FCALL put 1 {string} {value}
FCALL look 1 {string}
FCALL_RO look 1 {string}
FCALL_RO put 1 {string} {value}
SCAN 0 COUNT 1000
SCAN 0 MATCH {pattern} COUNT 1000
SCAN 0 COUNT 1000 TYPE {kind}
SCAN abc
SORT {key} ALPHA
SORT {key} ALPHA DESC LIMIT 0 3
SORT {list} BY nosort GET # GET str:*
SORT {key} BY num:* GET hash:*->m1
SORT_RO {key} ALPHA
SORT {key} ALPHA STORE list:1
WAIT 0 1
WAITAOF 0 0 1
WAITAOF 1 0 1
CONFIG GET {setting}
CONFIG GET maxmemory {setting}
CONFIG SET nosuch 1
CONFIG SET maxmemory-samples 5
CONFIG RESETSTAT
CONFIG HELP
CLIENT SETNAME {name}
CLIENT GETNAME
CLIENT SETINFO LIB-NAME tester
CLIENT SETINFO LIB-VER {value}
CLIENT NO-EVICT ON
CLIENT NO-EVICT OFF
CLIENT NO-TOUCH ON
CLIENT NO-TOUCH OFF
CLIENT GETREDIR
CLIENT TRACKINGINFO
CLIENT CACHING YES
CLIENT UNBLOCK 99999999
CLIENT KILL ID 99999999
CLIENT UNPAUSE
CLIENT REPLY {value}
CLIENT HELP
ACL WHOAMI
ACL CAT {category}
ACL LIST
ACL USERS
ACL GETUSER {user}
ACL SETUSER {user} {rule}
ACL SETUSER {user} {rule} {rule} {rule}
ACL DRYRUN default get {key}
ACL DRYRUN {user} get {key}
ACL DRYRUN {user} set {key} 1
ACL HELP
ACL SAVE
COMMAND COUNT
COMMAND INFO {readable} {readable}
COMMAND DOCS {readable}
COMMAND GETKEYS {readable} {key} 1 {key}
COMMAND GETKEYSANDFLAGS {readable} {key} 1 {key}
COMMAND LIST FILTERBY PATTERN {pattern}
COMMAND LIST FILTERBY ACLCAT {category}
COMMAND HELP
OBJECT ENCODING {key}
OBJECT REFCOUNT {key}
OBJECT HELP
PUBSUB CHANNELS
PUBSUB NUMSUB {channel} {channel}
PUBSUB NUMPAT
PUBSUB SHARDCHANNELS
PUBSUB SHARDNUMSUB {channel}
PUBLISH {channel} {value}
SPUBLISH {channel} {value}
XINFO STREAM stream:0 FULL
XREAD COUNT 2 BLOCK 1 STREAMS stream:0 stream:1 0 $
XREAD COUNT 2 STREAMS stream:0 stream:1 0 1-1
XREAD STREAMS stream:0 none:1 1-1
XREADGROUP GROUP g1 c1 COUNT 1 STREAMS stream:0 >
XREADGROUP GROUP g1 c2 BLOCK 1 NOACK STREAMS stream:1 >
XREADGROUP GROUP g1 c1 STREAMS stream:0 0
XGROUP CREATE stream:0 g1 0
XGROUP CREATE stream:1 g1 $ MKSTREAM
XACK stream:0 g1 1-1 2-0
XPENDING stream:0 g1
XPENDING stream:0 g1 - + 10
MSET str:0 {value} num:0 {value} num:1 {value}
MSETNX str:0 {value} none:1 {value}
SELECT 0
SELECT 1
SELECT 0
SELECT 99
SELECT abc
SWAPDB 0 1
SWAPDB 2 3
FLUSHDB
MOVE {key} 1
COPY {key} {key} DB 1 REPLACE
PFDEBUG ENCODING hll:0
DEBUG PROTOCOL {protocoltype}
DEBUG STRINGMATCH-LEN 100 {value}
AUTH {value}
AUTH default {value}
AUTH nobody secret
HELLO
HELLO 4
HELLO abc
CLUSTER INFO
CLUSTER NODES
CLUSTER KEYSLOT {key}
READONLY
READWRITE
ASKING
ROLE
UNWATCH
EXEC
DISCARD
PING
PING {value}
PING a b
ECHO {value}
NOSUCHCOMMAND {value} {key}
GET
GET a b
SLOWLOG LEN
SLOWLOG RESET
COMMANDLOG LEN slow
LATENCY LATEST
LATENCY HISTORY command
LATENCY RESET
MODULE LIST
DBSIZE
KEYS {pattern}
TOUCH {key} {key}
"""

REPLACED = frozenset(
    [
        "eval",
        "eval_ro",
        "evalsha",
        "evalsha_ro",
        "fcall",
        "fcall_ro",
        "scan",
        "sort",
        "sort_ro",
        "lcs",
        "wait",
        "waitaof",
        "xread",
        "xreadgroup",
        "pfdebug",
        "select",
        "swapdb",
        "move",
        "auth",
        "hello",
        "cluster",
        "config",
        "client",
        "acl",
        "command",
        "script",
        "function",
        "object",
        "module",
        "memory",
        "latency",
        "slowlog",
        "commandlog",
        "debug",
        "pubsub",
        "monitor",
        "quit",
        "reset",
        "subscribe",
        "psubscribe",
        "ssubscribe",
        "unsubscribe",
        "punsubscribe",
        "sunsubscribe",
        "multi",
        "exec",
        "discard",
        "watch",
        "unwatch",
        "asking",
        "readonly",
        "readwrite",
        "role",
        "flushall",
        "flushdb",
        "copy",
        "restore-asking",
    ]
)
"""Made by the variants or by scenes only, never from the grammar."""


class Variant:
    """One line of the above."""

    def __init__(self, line: str):
        self._parts = line.split(" ")
        first, second = [*line.lower().split(), ""][:2]
        self.name = f"{first}|{second}"

    def make(self, choice: random.Random) -> list[bytes]:
        """The command with its pools drawn from."""
        return [
            choice.choice(_POOLS[part[1:-1]]) if part[0] == "{" else part.encode()
            for part in self._parts
        ]


ALL = [Variant(line) for line in VARIANTS.strip().splitlines()]
