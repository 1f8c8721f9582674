"""What is left out or compared less strictly than byte by byte, each with its reason.

A name is a command or `command|subcommand` in lower case.
"""

NEVER_SENT = {
    "shutdown": "ends the twin",
    "sync": "turns the connection into a replica's",
    "psync": "turns the connection into a replica's",
    "replconf": "speaks for a replica",
    "replicaof": "gives up the twin's own data",
    "slaveof": "gives up the twin's own data",
    "failover": "needs replicas and pauses writers",
    "migrate": "dials another server, with seconds of timeout",
    "save": "writes a file; fails while one is being written",
    "bgsave": "the reply depends on whether the last one has ended",
    "bgrewriteaof": "the reply depends on whether the last one has ended",
    "lastsave": "the time of day",
    "time": "the time of day",
    "info": "memory, processor time, ports, process ids",
    "randomkey": "random by intent",
    "srandmember": "random by intent",
    "hrandfield": "random by intent",
    "zrandmember": "random by intent",
    "spop": "removes what it picks at random, so that the twins would differ from then on",
    "lolwut": "a picture drawn at random",
    "pfselftest": "seconds of processor time",
    "memory|usage": "what the allocator rounded up to",
    "memory|stats": "what the allocator holds",
    "memory|doctor": "judges the memory in use",
    "memory|malloc-stats": "what the allocator holds",
    "object|freq": "counts accesses: an answer from the L1 is none",
    "object|idletime": "time since the last access: an answer from the L1 is none",
    "latency|histogram": "measured durations",
    "latency|doctor": "judges measured durations",
    "slowlog|get": "measured durations, addresses",
    "commandlog|get": "measured durations, addresses",
    "acl|genpass": "random by intent",
    "acl|log": "addresses and ages",
    "client|id": "the number of the server's own connection",
    "client|list": "addresses, ids, ages of connections",
    "client|info": "addresses, ids, ages of connections",
    "client|pause": "stops every other command of the run",
    "debug|sleep": "stops every other command of the run",
    "debug|object": "an address in memory",
    "module|load": "loads a file",
    "module|loadex": "loads a file",
    "config|set": "only the harmless names in `templates.py`",
    "function|kill": "needs a script that runs",
    "script|debug": "turns the connection into a debugger's",
}
"""Commands the generator does not make, and why."""

_OF_A_SET = "a set made by SUNION or SDIFF is a hash table, seeded at random by each server"

ORDER_IS_FREE = {
    **dict.fromkeys(("smembers", "sunion", "sdiff", "sinter", "sscan"), _OF_A_SET),
    "keys": "the order of the hash table, seeded at random by each server",
    "scan": "the order of the hash table; asked for with a COUNT that covers everything",
    "pubsub|channels": "the order of the hash table of channels",
    "pubsub|shardchannels": "the order of the hash table of channels",
    "command": "the order of the hash table of commands",
    "command|list": "the order of the hash table of commands",
    "command|docs": "the order of the hash table of commands",
    "command|info": "sub-commands come in the order of a hash table",
    "function|list": "the order of the hash table of libraries",
    "config|get": "the order of the hash table of settings",
    "acl|getuser": "the order of the hash table of the rules' sub-commands",
    "acl|list": "the order of the hash table of the rules' sub-commands",
    "acl|cat": "the order of the hash table of commands",
    "unsubscribe": "without channels: the order of the hash table of channels",
    "punsubscribe": "without patterns: the order of the hash table of patterns",
    "sunsubscribe": "without channels: the order of the hash table of channels",
}
"""Compared after sorting, nested arrays too. Hashes and sorted sets are NOT here: the generator
keeps them so small that the server holds them in the order of insertion."""

NUMBERS_ARE_CLOSE = {
    "ttl": "the twins were told a relative time at slightly different moments",
    "pttl": "as TTL",
    "expiretime": "as TTL",
    "pexpiretime": "as TTL",
    "xpending": "milliseconds since the delivery",
    "xinfo|stream": "times of deliveries",
    "xinfo|groups": "times of deliveries",
    "xinfo|consumers": "milliseconds since the delivery",
    "hello": "the number of the server's own connection",
    "acl|list": "nothing but the order, see above",
}
"""Integers may differ by `CLOSE`, all else is equal."""

LENGTH_ONLY = {
    "dump": "ends in a checksum; a time to live inside would differ by milliseconds",
    "function|dump": "libraries come in the order of a hash table",
}
"""Only the type and the length of the reply are compared."""

FRAMES_UNKNOWN = frozenset(
    [
        "subscribe",
        "unsubscribe",
        "psubscribe",
        "punsubscribe",
        "ssubscribe",
        "sunsubscribe",
        "monitor",
        "quit",
        "reset",
    ]
)
"""Commands with more or fewer replies than one; sent in scenes only, never at random."""

CLOSE = 120_000
