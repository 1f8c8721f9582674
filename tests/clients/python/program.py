"""The script through redis-py or valkey-py, blocking or asyncio.

`python -m tests.clients.python.program FLAVOUR [--no-native-parser]`; a flavour is a module's name.
"""

import itertools
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.clients.python.replies import (
    BINARY,
    LARGE,
    ROUNDS,
    SET_SCRIPT,
    STEADY_READS,
    TAG_SCRIPT,
    TYPED_SCRIPT,
    UNDECLARED_SCRIPT,
    failed,
    options,
    step,
)
from tests.harness.clients import Clients


def strings(a: Any) -> None:
    step("ping", a.ping())
    step("set", a.set("s", "hello"), a.get("s"), a.get("missing"), a.exists("s", "missing"))
    step("empty", a.set("empty", b""), a.get("empty"), a.strlen("empty"))
    step("binary", a.set(BINARY, BINARY), a.get(BINARY))
    step("large", a.set("large", LARGE), a.get("large"), a.strlen("large"))
    step("large again", a.get("large"), a.getrange("large", 1000, 1010))
    step("append", a.append("s", " world"), a.get("s"), a.setrange("s", 6, "W"), a.get("s"))
    step("many", a.mset({"m1": 1, "m2": 2}), a.mget("m1", "missing", "m2"), a.setnx("m1", 9))
    step("options", a.set("s", 1, nx=True), a.set("new", 1, xx=True), a.set("s", 2, get=True))
    step("counters", a.incr("n"), a.incrby("n", 5), a.decr("n"), a.incrbyfloat("f", 1.5))
    step("taken", a.getset("n", 7), a.getex("n", ex=100), a.ttl("n") > 0, a.getdel("n"), a.get("n"))


def collections(a: Any) -> None:
    fields = {"name": "cachee", "empty": "", "n": 1}
    step("hset", a.hset("h", mapping=fields), a.hget("h", "name"), a.hget("h", "missing"))
    step("hgetall", a.hgetall("h"), a.hgetall("missing"), a.hmget("h", "name", "missing"))
    step("hincrby", a.hincrby("h", "n", 4), a.hincrbyfloat("h", "f", 0.5), a.hexists("h", "n"))
    step("hdel", a.hdel("h", "empty"), a.hlen("h"), sorted(a.hkeys("h")), sorted(a.hvals("h")))
    step("push", a.rpush("l", "a", "b", "c"), a.lpush("l", "z"), a.lrange("l", 0, -1), a.llen("l"))
    step("list", a.lset("l", 1, "A"), a.linsert("l", "before", "b", "x"), a.lrem("l", 0, "c"))
    step("index", a.lindex("l", 0), a.lindex("l", 99), a.lpop("l"), a.rpop("l", 2))
    step(
        "lmove", a.lmove("l", "l2"), a.lrange("l", 0, -1), a.lrange("l2", 0, -1), a.lpos("l2", "A")
    )
    step("sadd", a.sadd("t", "a", "b", "c"), a.sadd("t2", "b", "c", "d"), set(a.smembers("t")))
    step(
        "sets", a.sismember("t", "a"), a.smismember("t", ["a", "z"]), a.scard("t"), a.srem("t", "a")
    )
    step("algebra", set(a.sinter("t", "t2")), set(a.sunion("t", "t2")), set(a.sdiff("t2", "t")))
    step("zadd", a.zadd("z", {"a": 1, "b": 2.5, "c": float("inf")}), a.zscore("z", "b"))
    step("zrange", a.zrange("z", 0, -1, withscores=True), a.zrange("z", 0, -1), a.zrank("z", "c"))
    step("zset", a.zincrby("z", 2, "a"), a.zrangebyscore("z", 2, 3), a.zcard("z"), a.zrem("z", "a"))


def keys(a: Any) -> None:
    step("type", [a.type(key) for key in ("s", "h", "l2", "t", "z", "missing")])
    step("ttl", a.ttl("s"), a.expire("s", 100), 0 < a.ttl("s") <= 100, a.persist("s"), a.ttl("s"))
    step(
        "rename",
        a.rename("s", "s2"),
        a.get("s"),
        a.get("s2"),
        a.delete("s2", "missing"),
        a.get("s2"),
    )
    step("copy", a.copy("z", "z2"), a.zcard("z2"), a.unlink("z2"), a.exists("z2"))


def grouped(a: Any, b: Any) -> None:
    pipe = a.pipeline(transaction=False)
    for index in range(50):
        pipe.set(f"p{index % 10}", index).get(f"p{index % 10}")
    pipe.lpush("p0", "x").get("p0")
    step("pipeline", pipe.execute(raise_on_error=False))
    pipe = a.pipeline(transaction=True)
    step("transaction", pipe.set("x", 1).incr("x").get("x").hgetall("h").execute(), a.get("x"))
    pipe = a.pipeline(transaction=True).incr("x").lpush("x", 1).get("x")
    step("transaction with an error", pipe.execute(raise_on_error=False), a.get("x"))
    for interfering in (False, True):
        with a.pipeline() as pipe:
            pipe.watch("x")
            before = pipe.get("x")
            if interfering:
                b.incr("x")
            pipe.multi()
            pipe.set("x", 100)
            step("watch", before, failed(pipe.execute), a.get("x"), b.get("x"))


def pubsub(a: Any, b: Any) -> None:
    listener = a.pubsub()
    listener.subscribe("news", "other")
    listener.psubscribe("new*")
    heard = [listener.get_message(timeout=10) for _ in range(3)]
    step("subscribed", heard, b.publish("news", BINARY), b.publish("newer", "2"), b.publish("x", 1))
    step("heard", [listener.get_message(timeout=10) for _ in range(3)])
    listener.unsubscribe("news")
    step("unsubscribed", listener.get_message(timeout=10), b.publish("news", "3"))
    step("heard still", listener.get_message(timeout=10))
    listener.unsubscribe()
    listener.punsubscribe()
    step("alone", [listener.get_message(timeout=10) for _ in range(2)], b.publish("news", "4"))
    listener.subscribe("again")
    step("again", listener.get_message(timeout=10), b.publish("again", "5"))
    step("heard again", listener.get_message(timeout=10))


def blocking(a: Any, b: Any) -> None:
    served: list[Any] = []
    waiter = threading.Thread(target=lambda: served.append(a.blpop(["q", "q2"], timeout=10)))
    waiter.start()
    deadline = time.monotonic() + 10
    while b.info("clients")["blocked_clients"] == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
    pushed = b.rpush("q2", "job")
    waiter.join()
    step("blocking", pushed, served, a.blpop("q", timeout=0.05), a.llen("q2"))


def lua(a: Any) -> None:
    step("eval", a.set("e", "v"), a.eval(TAG_SCRIPT, 1, "e", BINARY), a.eval("return 1.9", 0))
    sha = a.script_load(TAG_SCRIPT)
    step("evalsha", sha, a.evalsha(sha, 1, "e", "x"), a.script_exists(sha, "0" * 40))
    step("noscript", failed(lambda: a.evalsha("f" * 40, 0)))
    step("typed", a.hset("one", "field", "value"), a.eval(TYPED_SCRIPT, 1, "one"))
    step("script error", failed(lambda: a.eval("return redis.error_reply('MY own')", 0)))


def scan(a: Any) -> None:
    a.mset({f"scan:{index}": index for index in range(300)})
    a.hset("scanned", mapping={f"f{index}": index for index in range(300)})
    names, fields = set(), {}
    cursor = -1
    while cursor:
        cursor, found = a.scan(max(cursor, 0), match="scan:*", count=50)
        names |= set(found)
    cursor = -1
    while cursor:
        cursor, found = a.hscan("scanned", max(cursor, 0), count=50)
        fields |= found
    step("scan", names)
    step("hscan", fields)


def errors(a: Any) -> None:
    step("wrongtype", failed(lambda: a.get("h")), failed(lambda: a.incr("e")))
    step("unknown", failed(lambda: a.execute_command("NOSUCH", "x")))
    step("arguments", failed(lambda: a.execute_command("GET")), a.get("e"))


def database(a: Any, other: Any) -> None:
    step("database", a.get("e"), other.get("e"), other.set("e", "in 1"), other.get("e"), a.get("e"))
    step("select", other.dbsize(), other.delete("e"), other.get("e"), a.get("e"))


def steady(a: Any, b: Any) -> None:
    for index in range(5):
        a.set(f"steady:{index}", index)
    for index, client in itertools.product(range(5), (a, b)):
        step("steady", {client.get(f"steady:{index}") for _ in range(STEADY_READS)})


def together(a: Any) -> None:
    def work(index: int) -> list[Any]:
        key = f"own:{index}"
        replies = [a.set(key, 0), a.get(key)]
        for _ in range(10):
            replies += [a.incr(key), a.get(key), a.get("steady:0")]
        return replies

    with ThreadPoolExecutor(8) as threads:
        step("together", list(threads.map(work, range(8))))


def hot_values(a: Any, b: Any, turn: int) -> list[Any]:
    s, n, h = "hot:string", "hot:number", "hot:hash"
    replies = [a.set(s, turn), a.get(s), a.get(s), b.get(s)]
    replies += [b.set(s, f"b{turn}"), a.get(s), a.get(s), b.get(s)]
    replies += [a.incr(n), a.get(n), a.get(n), b.incrby(n, 10), a.get(n), a.get(n), b.get(n)]
    replies += [a.hset(h, "f", turn), a.hget(h, "f"), a.hgetall(h), a.hgetall(h)]
    replies += [b.hset(h, "g", turn), a.hgetall(h), a.hget(h, "g"), a.hmget(h, "f", "g")]
    replies += [b.hdel(h, "g"), a.hgetall(h), a.hget(h, "g"), b.hgetall(h)]
    replies += [a.mget(s, n, "missing"), b.mset({s: turn, n: turn}), a.mget(s, n, "missing")]
    return replies


def hot_keys(a: Any, b: Any, turn: int) -> list[Any]:
    e, d, old, new = "hot:expiring", "hot:deleted", "hot:old", "hot:new"
    replies = [a.set(e, turn), a.get(e), a.expire(e, 100), a.get(e), a.ttl(e) > 0, a.get(e)]
    replies += [b.pexpire(e, 0), a.get(e), a.get(e), b.get(e)]
    replies += [a.set(d, turn), a.get(d), b.delete(d), a.get(d), a.get(d), b.set(d, 1), a.get(d)]
    replies += [a.delete(d), a.get(d), b.get(d)]
    replies += [a.set(old, turn), a.get(old), a.get(new), a.get(new)]
    replies += [b.rename(old, new), a.get(new), a.get(new), a.get(old), b.get(old)]
    return replies


def hot_groups(a: Any, b: Any, turn: int) -> list[Any]:
    s = "hot:string"
    replies = [a.pipeline().set(s, f"m{turn}").get(s).execute(), a.get(s), a.get(s), b.get(s)]
    replies += [b.pipeline().append(s, "x").execute(), a.get(s), a.get(s)]
    replies += [a.eval(SET_SCRIPT, 1, s, f"e{turn}"), a.get(s), a.get(s), b.get(s)]
    replies += [b.eval(UNDECLARED_SCRIPT, 0, f"u{turn}"), a.get(s), a.get(s), b.get(s)]
    pipe = a.pipeline(transaction=False).get(s).get(s).set(s, f"p{turn}").get(s).get(s)
    return [*replies, pipe.execute(), b.get(s), a.get(s)]


def main() -> None:
    clients = Clients()
    a, b, other = (clients.make(sys.argv[1], db=db, **options()) for db in (0, 0, 1))
    strings(a)
    collections(a)
    keys(a)
    grouped(a, b)
    pubsub(a, b)
    blocking(a, b)
    lua(a)
    scan(a)
    errors(a)
    database(a, other)
    steady(a, b)
    together(a)
    for turn in range(ROUNDS):
        step("hot", *hot_values(a, b, turn), *hot_keys(a, b, turn), *hot_groups(a, b, turn))
    clients.close()


if __name__ == "__main__":
    if "--no-native-parser" in sys.argv:
        # As where neither is installed.
        sys.modules["hiredis"] = sys.modules["libvalkey"] = None  # type: ignore[assignment]
    main()
