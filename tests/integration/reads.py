"""The read surface: one data set and one call per read that a client offers for a single key.

`CACHED` must be answered locally the second time; `ASKED` must reach the server every time.
`ODD` only has to end as it does without cachee.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Call = Callable[[Any], Any]

DATASET: list[tuple[object, ...]] = [
    ("SET", "text", "hello world"),
    ("SET", "number", "42"),
    ("SET", "float", "3.25"),
    ("SET", "empty", ""),
    ("SET", "latin", "caf\u00e9".encode("latin-1")),
    ("SET", "utf8", "na\u00efve \u2713".encode()),
    ("SET", "volatile", "soon", "PX", "3600000"),
    ("SETBIT", "bits", "7", "1"),
    ("HSET", "hash", "a", "1", "b", "two", "c", "", "d", "4.5"),
    ("HSET", "onefield", "only", "x"),
    ("SADD", "set", "a", "b", "c"),
    ("SADD", "numbers", "1", "2", "3"),
    ("ZADD", "zset", "1", "one", "2.5", "two", "inf", "top", "-inf", "bottom"),
    ("ZADD", "lex", "0", "a", "0", "b", "0", "c", "0", "d"),
    ("RPUSH", "list", "a", "b", "c", "b", "a"),
    ("GEOADD", "geo", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania"),
    ("XADD", "stream", "1-1", "f", "v"),
    ("XADD", "stream", "2-1", "f", "w", "g", "x"),
    ("PFADD", "hll", "a", "b", "c"),
]


@dataclass(frozen=True)
class Read:
    """A call, and the commands of the server it amounts to."""

    commands: tuple[str, ...]
    call: Call


def _read(command: str, call: Call) -> Read:
    return Read((command,), call)


CACHED: dict[str, Read] = {
    "get": _read("get", lambda r: r.get("text")),
    "get_bytes_key": _read("get", lambda r: r.get(b"text")),
    "get_missing": _read("get", lambda r: r.get("missing")),
    "get_empty": _read("get", lambda r: r.get("empty")),
    "get_number": _read("get", lambda r: r.get("number")),
    "get_volatile": _read("get", lambda r: r.get("volatile")),
    "get_raw": _read("get", lambda r: r.execute_command("GET", "text")),
    "get_raw_lower": _read("get", lambda r: r.execute_command("get", b"text")),
    "strlen": _read("strlen", lambda r: r.strlen("text")),
    "getrange": _read("getrange", lambda r: r.getrange("text", 1, 4)),
    "substr": _read("substr", lambda r: r.substr("text", 1, 4)),
    "getbit": _read("getbit", lambda r: r.getbit("bits", 7)),
    "bitcount": _read("bitcount", lambda r: r.bitcount("bits")),
    "bitcount_range": _read("bitcount", lambda r: r.bitcount("bits", 0, 0)),
    "bitpos": _read("bitpos", lambda r: r.bitpos("bits", 1)),
    "exists": _read("exists", lambda r: r.exists("text")),
    "exists_missing": _read("exists", lambda r: r.exists("missing")),
    "type": _read("type", lambda r: r.type("hash")),
    "type_missing": _read("type", lambda r: r.type("missing")),
    "hget": _read("hget", lambda r: r.hget("hash", "b")),
    "hget_missing_field": _read("hget", lambda r: r.hget("hash", "nope")),
    "hget_missing_key": _read("hget", lambda r: r.hget("missing", "a")),
    "hmget": _read("hmget", lambda r: r.hmget("hash", ["a", "nope", "c"])),
    "hmget_args": _read("hmget", lambda r: r.hmget("hash", "a", "b")),
    "hgetall": _read("hgetall", lambda r: r.hgetall("hash")),
    "hgetall_missing": _read("hgetall", lambda r: r.hgetall("missing")),
    "hkeys": _read("hkeys", lambda r: r.hkeys("hash")),
    "hvals": _read("hvals", lambda r: r.hvals("hash")),
    "hlen": _read("hlen", lambda r: r.hlen("hash")),
    "hexists": _read("hexists", lambda r: r.hexists("hash", "a")),
    "hexists_not": _read("hexists", lambda r: r.hexists("hash", "nope")),
    "hstrlen": _read("hstrlen", lambda r: r.hstrlen("hash", "b")),
    "smembers": _read("smembers", lambda r: r.smembers("set")),
    "smembers_missing": _read("smembers", lambda r: r.smembers("missing")),
    "sismember": _read("sismember", lambda r: r.sismember("set", "a")),
    "sismember_not": _read("sismember", lambda r: r.sismember("set", "z")),
    "smismember": _read("smismember", lambda r: r.smismember("set", ["a", "z"])),
    "scard": _read("scard", lambda r: r.scard("set")),
    "zrange": _read("zrange", lambda r: r.zrange("zset", 0, -1)),
    "zrange_scores": _read("zrange", lambda r: r.zrange("zset", 0, -1, withscores=True)),
    "zrange_desc": _read("zrevrange", lambda r: r.zrange("zset", 0, -1, desc=True)),
    "zrange_byscore": _read("zrange", lambda r: r.zrange("zset", 1, 3, byscore=True)),
    "zrange_castfunc": _read(
        "zrange", lambda r: r.zrange("zset", 1, 2, withscores=True, score_cast_func=str)
    ),
    "zrevrange": _read("zrevrange", lambda r: r.zrevrange("zset", 0, -1, withscores=True)),
    "zrangebyscore": _read("zrangebyscore", lambda r: r.zrangebyscore("zset", "-inf", "+inf")),
    "zrangebyscore_scores": _read(
        "zrangebyscore", lambda r: r.zrangebyscore("zset", 0, 3, withscores=True)
    ),
    "zrevrangebyscore": _read("zrevrangebyscore", lambda r: r.zrevrangebyscore("zset", 3, 0)),
    "zrangebylex": _read("zrangebylex", lambda r: r.zrangebylex("lex", "[b", "(d")),
    "zrevrangebylex": _read("zrevrangebylex", lambda r: r.zrevrangebylex("lex", "+", "-")),
    "zscore": _read("zscore", lambda r: r.zscore("zset", "two")),
    "zscore_inf": _read("zscore", lambda r: r.zscore("zset", "top")),
    "zscore_missing": _read("zscore", lambda r: r.zscore("zset", "nope")),
    "zmscore": _read("zmscore", lambda r: r.zmscore("zset", ["one", "nope", "two"])),
    "zrank": _read("zrank", lambda r: r.zrank("zset", "two")),
    "zrank_missing": _read("zrank", lambda r: r.zrank("zset", "nope")),
    "zrevrank": _read("zrevrank", lambda r: r.zrevrank("zset", "two")),
    "zcard": _read("zcard", lambda r: r.zcard("zset")),
    "zcount": _read("zcount", lambda r: r.zcount("zset", 0, 3)),
    "zlexcount": _read("zlexcount", lambda r: r.zlexcount("lex", "-", "+")),
    "lrange": _read("lrange", lambda r: r.lrange("list", 0, -1)),
    "lrange_missing": _read("lrange", lambda r: r.lrange("missing", 0, -1)),
    "llen": _read("llen", lambda r: r.llen("list")),
    "lindex": _read("lindex", lambda r: r.lindex("list", 1)),
    "lindex_out": _read("lindex", lambda r: r.lindex("list", 99)),
    "lpos": _read("lpos", lambda r: r.lpos("list", "b")),
    "lpos_count": _read("lpos", lambda r: r.lpos("list", "b", count=0)),
    "geopos": _read("geopos", lambda r: r.geopos("geo", "Palermo", "nowhere")),
    "geodist": _read("geodist", lambda r: r.geodist("geo", "Palermo", "Catania", "km")),
    "geohash": _read("geohash", lambda r: r.geohash("geo", "Palermo", "Catania")),
    "geosearch": _read(
        "geosearch",
        lambda r: r.geosearch(
            "geo", longitude=15, latitude=37, unit="km", radius=300, withdist=True, withcoord=True
        ),
    ),
    "mget": _read("mget", lambda r: r.mget("text", "missing", "number")),
    "mget_list": _read("mget", lambda r: r.mget(["text", b"empty"])),
    "mget_one": _read("mget", lambda r: r.mget("text")),
    "exists_many": _read("exists", lambda r: r.exists("text", "missing", "text")),
    "xlen": _read("xlen", lambda r: r.xlen("stream")),
    "xrange": _read("xrange", lambda r: r.xrange("stream")),
    "xrevrange": _read("xrevrange", lambda r: r.xrevrange("stream", count=1)),
}

ASKED: dict[str, Read] = {
    "ttl": _read("ttl", lambda r: r.ttl("text")),
    "pttl_missing": _read("pttl", lambda r: r.pttl("missing")),
    "expiretime": _read("expiretime", lambda r: r.expiretime("text")),
    "object_encoding": _read("object|encoding", lambda r: r.object("encoding", "text")),
    "object_refcount": _read("object|refcount", lambda r: r.object("refcount", "text")),
    "randomkey": _read("randomkey", lambda r: bool(r.randomkey())),
    "srandmember": _read("srandmember", lambda r: len(r.srandmember("set", 2))),
    "hrandfield": _read("hrandfield", lambda r: len(r.hrandfield("hash", 2))),
    "zrandmember": _read("zrandmember", lambda r: len(r.zrandmember("zset", 2))),
    "scan": _read("scan", lambda r: len(r.scan(0, count=1000)[1])),
    "hscan": _read("hscan", lambda r: r.hscan("hash")),
    "sscan": _read("sscan", lambda r: r.sscan("set")[0]),
    "zscan": _read("zscan", lambda r: r.zscan("zset")),
    "keys": _read("keys", lambda r: sorted(r.keys("te*"))),
    "dbsize": _read("dbsize", lambda r: r.dbsize()),
    "time": _read("time", lambda r: len(r.time())),
    "touch": _read("touch", lambda r: r.touch("text")),
    "memory_usage": _read("memory|usage", lambda r: r.memory_usage("text") > 0),
    "sort_ro": _read(
        "sort_ro", lambda r: r.execute_command("SORT_RO", "numbers", "BY", "w*", "GET", "#")
    ),
    "lcs": _read("lcs", lambda r: r.lcs("text", "number")),
    "eval_ro": _read(
        "eval_ro", lambda r: r.eval_ro("return redis.call('GET', KEYS[1])", 1, "text")
    ),
    "xread": _read("xread", lambda r: r.xread({"stream": "0"})),
    "xinfo": _read("xinfo|stream", lambda r: r.xinfo_stream("stream")["length"]),
    "sinter": _read("sinter", lambda r: r.sinter("set", "numbers")),
    "sunion": _read("sunion", lambda r: sorted(r.sunion("set", "numbers"))),
    "pfcount": _read("pfcount", lambda r: r.pfcount("hll")),
    "wait": _read("wait", lambda r: r.wait(0, 1)),
}

ODD: dict[str, Call] = {
    "mget_other_type": lambda r: r.mget("text", "hash"),
    "get_wrong_type": lambda r: r.get("hash"),
    "hgetall_wrong_type": lambda r: r.hgetall("text"),
    "hget_wrong_type": lambda r: r.hget("text", "a"),
    "smembers_wrong_type": lambda r: r.smembers("text"),
    "zrange_wrong_type": lambda r: r.zrange("text", 0, -1),
    "zrange_bad_argument": lambda r: r.zrangebylex("lex", "b", "d"),
    "getrange_bad_argument": lambda r: r.execute_command("GETRANGE", "text", "x", "y"),
    "get_no_argument": lambda r: r.execute_command("GET"),
    "get_two_arguments": lambda r: r.execute_command("GET", "a", "b"),
    "get_none": lambda r: r.get(None),
    "get_bool": lambda r: r.get(True),
    "get_list": lambda r: r.get(["text"]),
    "get_dict": lambda r: r.get({}),
    "get_no_key": lambda r: r.get(),
    "get_too_many": lambda r: r.get("a", "b"),
    "get_keyword": lambda r: r.get(name="text"),
    "hget_none_field": lambda r: r.hget("hash", None),
    "unknown_command": lambda r: r.execute_command("NOSUCH", "text"),
    "mget_none": lambda r: r.mget(["text", None]),
    "mget_nothing": lambda r: r.mget([]),
    "get_float_key": lambda r: r.get(1.5),
    "get_int_key": lambda r: r.get(42),
    "get_memoryview_key": lambda r: r.get(memoryview(b"text")),
    "get_surrogate_key": lambda r: r.get("\ud800"),
}


def shown(value: object) -> object:
    """A value with the type of every part of it, so that 1, True and 1.0 differ."""
    if isinstance(value, dict):
        return type(value).__name__, [(shown(key), shown(each)) for key, each in value.items()]
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, sorted(repr(shown(each)) for each in value)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [shown(each) for each in value]
    return type(value).__name__, repr(value)


def outcome(call: Call, client: object) -> object:
    """What a call gives, its value or its exception, in a form that can be compared."""
    try:
        return shown(call(client))
    except Exception as problem:  # noqa: BLE001 - whichever it is, it is compared
        return f"{type(problem).__module__}.{type(problem).__name__}", str(problem)
