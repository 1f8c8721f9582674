"""Own writes of every kind: what is there before, the read that caches it, the write."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Call = Callable[[Any], Any]
Commands = list[tuple[object, ...]]

STRING: Commands = [("SET", "k", "old"), ("SET", "other", "second")]
NUMBER: Commands = [("SET", "k", "5")]
HASH: Commands = [("HSET", "k", "f", "1", "g", "two")]
LIST: Commands = [("RPUSH", "k", "a", "b", "c"), ("RPUSH", "other", "z")]
SET: Commands = [("SADD", "k", "a", "b", "c"), ("SADD", "other", "b", "z")]
ZSET: Commands = [("ZADD", "k", "1", "a", "2", "b"), ("ZADD", "other", "5", "z")]


@dataclass(frozen=True)
class Write:
    """One kind of own write. `pushed`: only the server knows its keys, so the push is needed."""

    before: Commands
    read: Call
    write: Call
    pushed: bool = False


def _get(r: Any) -> Any:
    return r.get("k")


def _hgetall(r: Any) -> Any:
    return r.hgetall("k")


def _lrange(r: Any) -> Any:
    return r.lrange("k", 0, -1)


def _smembers(r: Any) -> Any:
    return r.smembers("k")


def _zrange(r: Any) -> Any:
    return r.zrange("k", 0, -1, withscores=True)


def _exists(r: Any) -> Any:
    return r.exists("k")


def _string(write: Call) -> Write:
    return Write(STRING, _get, write)


def _number(write: Call) -> Write:
    return Write(NUMBER, _get, write)


def _hash(write: Call) -> Write:
    return Write(HASH, _hgetall, write)


def _list(write: Call) -> Write:
    return Write(LIST, _lrange, write)


def _set(write: Call) -> Write:
    return Write(SET, _smembers, write)


def _zset(write: Call) -> Write:
    return Write(ZSET, _zrange, write)


def _stream(write: Call) -> Write:
    return Write([("XADD", "k", "1-1", "f", "v")], lambda r: r.xlen("k"), write)


def _in_pipeline(transaction: bool) -> Call:
    def write(r: Any) -> Any:
        pipe = r.pipeline(transaction=transaction)
        pipe.set("unrelated", 1)
        pipe.set("k", "new")
        return pipe.execute()

    return write


def _watched(r: Any) -> Any:
    pipe = r.pipeline()
    pipe.watch("k")
    pipe.multi()
    pipe.append("k", "+")
    return pipe.execute()


def _immediate_in_watch(r: Any) -> Any:
    pipe = r.pipeline()
    pipe.watch("other")
    pipe.set("k", "new")
    return pipe.reset()


def _restore(r: Any) -> Any:
    payload = r.dump("other")
    return r.restore("k", 0, payload, replace=True)


def _function(r: Any) -> Any:
    code = (
        "#!lua name=mine\n"
        "redis.register_function('put', function(keys, args)"
        " return redis.call('SET', keys[1], args[1]) end)"
    )
    r.function_load(code, replace=True)
    return r.fcall("put", 1, "k", "new")


def _raw_transaction(r: Any) -> Any:
    """MULTI and EXEC as plain commands of a client that holds one connection."""
    one = r.client()
    with one:
        one.execute_command("MULTI")
        one.execute_command("SET", "k", "new")
        return one.execute_command("EXEC")


STRINGS: dict[str, Write] = {
    "set": _string(lambda r: r.set("k", "new")),
    "set_bytes_key": _string(lambda r: r.set(b"k", b"new")),
    "set_get": _string(lambda r: r.set("k", "new", get=True)),
    "set_px": _string(lambda r: r.set("k", "new", px=100000)),
    "setex": _string(lambda r: r.execute_command("SETEX", "k", 100, "new")),
    "psetex": _string(lambda r: r.execute_command("PSETEX", "k", 100000, "new")),
    "setnx_missing": Write([], _get, lambda r: r.execute_command("SETNX", "k", "new")),
    "set_missing": Write([], _get, lambda r: r.set("k", "new")),
    "getset": _string(lambda r: r.execute_command("GETSET", "k", "new")),
    "getdel": _string(lambda r: r.getdel("k")),
    "append": _string(lambda r: r.append("k", "+")),
    "setrange": _string(lambda r: r.setrange("k", 1, "XX")),
    "incr": _number(lambda r: r.incr("k")),
    "decrby": _number(lambda r: r.decrby("k", 3)),
    "incrbyfloat": _number(lambda r: r.incrbyfloat("k", 0.5)),
    "mset": _string(lambda r: r.mset({"unrelated": 1, "k": "new"})),
    "msetnx": Write([], _get, lambda r: r.msetnx({"unrelated": 1, "k": "new"})),
    "setbit": _string(lambda r: r.setbit("k", 0, 1)),
    "bitfield": _string(lambda r: r.execute_command("BITFIELD", "k", "SET", "u8", 0, 65)),
    "bitop": _string(lambda r: r.bitop("NOT", "k", "other")),
    "raw_lower_case": _string(lambda r: r.execute_command("set", "k", "new")),
    "raw_bytes_name": _string(lambda r: r.execute_command(b"SET", "k", "new")),
}
KEYS: dict[str, Write] = {
    "delete": _string(lambda r: r.delete("k")),
    "delete_many": _string(lambda r: r.delete("other", "k")),
    "unlink": _string(lambda r: r.unlink("k")),
    "expire_now": _string(lambda r: r.pexpire("k", 0)),
    "expireat_past": _string(lambda r: r.expireat("k", 1)),
    "rename_from": Write(STRING, _exists, lambda r: r.rename("k", "elsewhere")),
    "rename_onto": _string(lambda r: r.rename("other", "k")),
    "renamenx": Write([("SET", "other", "x")], _get, lambda r: r.renamenx("other", "k")),
    "copy": _string(lambda r: r.copy("other", "k", replace=True)),
    "move": Write(STRING, _exists, lambda r: r.move("k", 9)),
    "restore": _string(_restore),
    "sort_store": Write(LIST, _lrange, lambda r: r.sort("other", alpha=True, store="k")),
}
CONTAINERS: dict[str, Write] = {
    "hset": _hash(lambda r: r.hset("k", "f", "new")),
    "hset_mapping": _hash(lambda r: r.hset("k", mapping={"f": "new", "h": 3})),
    "hset_one_field_read": Write(HASH, lambda r: r.hget("k", "f"), lambda r: r.hset("k", "f", 9)),
    "hsetnx": _hash(lambda r: r.hsetnx("k", "new", "1")),
    "hdel": _hash(lambda r: r.hdel("k", "f")),
    "hincrby": _hash(lambda r: r.hincrby("k", "f", 2)),
    "hincrbyfloat": _hash(lambda r: r.hincrbyfloat("k", "f", 0.5)),
    "lpush": _list(lambda r: r.lpush("k", "new")),
    "rpush": _list(lambda r: r.rpush("k", "new")),
    "lpop": _list(lambda r: r.lpop("k")),
    "rpop_count": _list(lambda r: r.rpop("k", 2)),
    "lset": _list(lambda r: r.lset("k", 0, "new")),
    "lrem": _list(lambda r: r.lrem("k", 1, "b")),
    "ltrim": _list(lambda r: r.ltrim("k", 1, 1)),
    "linsert": _list(lambda r: r.linsert("k", "BEFORE", "b", "new")),
    "lmove_from": _list(lambda r: r.lmove("k", "other")),
    "lmove_to": _list(lambda r: r.lmove("other", "k")),
    "blmove_to": _list(lambda r: r.blmove("other", "k", 1)),
    "rpoplpush": _list(lambda r: r.rpoplpush("other", "k")),
    "blpop": _list(lambda r: r.blpop(["nothing", "k"], timeout=1)),
    "brpop": _list(lambda r: r.brpop("k", timeout=1)),
    "lmpop": _list(lambda r: r.lmpop(2, "nothing", "k", direction="LEFT")),
    "sadd": _set(lambda r: r.sadd("k", "new")),
    "srem": _set(lambda r: r.srem("k", "a")),
    "spop": _set(lambda r: r.spop("k")),
    "smove_from": _set(lambda r: r.smove("k", "other", "a")),
    "smove_to": _set(lambda r: r.smove("other", "k", "z")),
    "sinterstore": _set(lambda r: r.sinterstore("k", ["k", "other"])),
    "sunionstore": _set(lambda r: r.sunionstore("k", "k", "other")),
    "sdiffstore": _set(lambda r: r.sdiffstore("k", "k", "other")),
    "zadd": _zset(lambda r: r.zadd("k", {"new": 7})),
    "zadd_incr": _zset(lambda r: r.zadd("k", {"a": 7}, incr=True)),
    "zincrby": _zset(lambda r: r.zincrby("k", 4, "a")),
    "zrem": _zset(lambda r: r.zrem("k", "a")),
    "zpopmin": _zset(lambda r: r.zpopmin("k")),
    "bzpopmax": _zset(lambda r: r.bzpopmax("k", timeout=1)),
    "zmpop": _zset(lambda r: r.zmpop(2, ["nothing", "k"], min=True)),
    "zremrangebyrank": _zset(lambda r: r.zremrangebyrank("k", 0, 0)),
    "zremrangebyscore": _zset(lambda r: r.zremrangebyscore("k", 0, 1)),
    "zrangestore": _zset(lambda r: r.zrangestore("k", "other", 0, -1)),
    "zunionstore": _zset(lambda r: r.zunionstore("k", ["k", "other"])),
    "zinterstore": _zset(lambda r: r.zinterstore("k", ["k", "other"])),
    "geoadd": Write(
        [("GEOADD", "k", "13", "38", "a")],
        lambda r: r.geopos("k", "a"),
        lambda r: r.geoadd("k", (14, 39, "a")),
    ),
    "geosearchstore": Write(
        [("GEOADD", "other", "13", "38", "a"), *ZSET[:1]],
        _zrange,
        lambda r: r.geosearchstore("k", "other", longitude=13, latitude=38, radius=5, unit="km"),
    ),
    "xadd": _stream(lambda r: r.xadd("k", {"f": 1})),
    "xtrim": _stream(lambda r: r.xtrim("k", maxlen=0)),
    "xdel": _stream(lambda r: r.xdel("k", "1-1")),
}
GROUPED: dict[str, Write] = {
    "transaction": _string(_in_pipeline(transaction=True)),
    "pipeline": _string(_in_pipeline(transaction=False)),
    "watch_multi_exec": _string(_watched),
    "immediate_under_watch": _string(_immediate_in_watch),
    "eval_declared": _string(lambda r: r.eval("return redis.call('SET', KEYS[1], 'new')", 1, "k")),
    "eval_undeclared": Write(
        STRING, _get, lambda r: r.eval("return redis.call('SET', 'k', 'new')", 0), pushed=True
    ),
    "eval_built_key": Write(
        STRING,
        _get,
        lambda r: r.eval("return redis.call('SET', ARGV[1] .. '', 'new')", 1, "other", "k"),
        pushed=True,
    ),
    "evalsha_undeclared": Write(
        STRING,
        _get,
        lambda r: r.evalsha(r.script_load("return redis.call('DEL', 'k')"), 0),
        pushed=True,
    ),
    "eval_in_transaction": Write(
        STRING,
        _get,
        lambda r: r.pipeline().eval("return redis.call('SET', 'k', 'new')", 0).execute(),
        pushed=True,
    ),
    "function": _string(_function),
    "raw_multi": _string(_raw_transaction),
    "flushdb": _string(lambda r: r.flushdb()),
    "flushall": _string(lambda r: r.flushall()),
    "flushdb_in_pipeline": _string(lambda r: r.pipeline().flushdb().execute()),
    "swapdb": _string(lambda r: r.swapdb(0, 9)),
    "swapdb_in_transaction": _string(lambda r: r.pipeline().swapdb(0, 9).execute()),
    "debug_reload": Write(
        STRING, _get, lambda r: (r.set("k", "new"), r.execute_command("DEBUG", "RELOAD"))
    ),
}
WRITES: dict[str, Write] = {**STRINGS, **KEYS, **CONTAINERS, **GROUPED}
