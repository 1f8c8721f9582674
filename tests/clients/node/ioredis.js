// The script through ioredis.

const Redis = require("ioredis");
const r = require("./replies");
const { each, sorted, step } = r;

function connected(options = {}) {
  return new Redis({
    host: r.host,
    port: r.port,
    username: r.username,
    password: r.password,
    protocol: r.protocol,
    replyMapping: r.protocol === 3 ? "resp3" : "resp2",
    tls: r.ca && { ca: r.ca },
    ...options,
  });
}

async function strings(a) {
  await step("set", a.ping(), a.set("s", "hello"), a.get("s"), a.get("missing"), a.exists("s"));
  await step("empty", a.set("empty", ""), a.get("empty"), a.strlen("empty"));
  await step("binary", a.set(r.BINARY, r.BINARY), a.getBuffer(r.BINARY));
  await step("large", a.set("large", r.LARGE), a.getBuffer("large"), a.getBuffer("large"));
  await step("range", a.getrangeBuffer("large", 1000, 1010), a.strlen("large"));
  await step("append", a.append("s", " world"), a.get("s"), a.setrange("s", 6, "W"), a.get("s"));
  await step("many", a.mset({ m1: 1, m2: 2 }), a.mget("m1", "missing", "m2"), a.setnx("m1", 9));
  await step("options", a.set("s", 1, "NX"), a.set("new", 1, "XX"), a.set("s", 2, "GET"));
  await step("counters", a.incr("n"), a.incrby("n", 5), a.decr("n"), a.incrbyfloat("f", 1.5));
  await step("taken", a.getset("n", 7), a.getex("n", "EX", 100), a.getdel("n"), a.get("n"));
}

async function collections(a) {
  await step("hset", a.hset("h", { name: "cachee", empty: "", n: 1 }), a.hget("h", "name"));
  await step("hget", a.hgetall("h"), a.hgetall("missing"), a.hmget("h", "name", "missing"));
  await step("hincrby", a.hincrby("h", "n", 4), a.hincrbyfloat("h", "f", 0.5), a.hexists("h", "n"));
  await step("hdel", a.hdel("h", "empty"), sorted(a.hkeys("h")), sorted(a.hvals("h")), a.hlen("h"));
  await step("push", a.rpush("l", "a", "b", "c"), a.lpush("l", "z"), a.lrange("l", 0, -1));
  await step("list", a.lset("l", 1, "A"), a.linsert("l", "BEFORE", "b", "x"), a.lrem("l", 0, "c"));
  await step("index", a.lindex("l", 0), a.lindex("l", 99), a.lpop("l"), a.rpop("l", 2));
  await step("lmove", a.lmove("l", "l2", "LEFT", "RIGHT"), a.lrange("l2", 0, -1), a.llen("l"));
  await step("sadd", a.sadd("t", "a", "b", "c"), a.sadd("t2", "b", "d"), sorted(a.smembers("t")));
  await step("sets", a.sismember("t", "a"), a.smismember("t", "a", "z"), a.scard("t"));
  await step("algebra", sorted(a.sinter("t", "t2")), sorted(a.sunion("t", "t2")));
  await step("zadd", a.zadd("z", 1, "a", 2.5, "b", "inf", "c"), a.zscore("z", "b"));
  await step("zrange", a.zrange("z", 0, -1), a.zrange("z", 0, -1, "WITHSCORES"), a.zrank("z", "c"));
  await step("zset", a.zincrby("z", 2, "a"), a.zrangebyscore("z", 2, 3), a.zrem("z", "a"));
}

async function keys(a) {
  await step("type", a.type("s"), a.type("h"), a.type("t"), a.type("z"), a.type("missing"));
  await step("ttl", a.ttl("s"), a.expire("s", 100), a.persist("s"), a.ttl("s"));
  await step("rename", a.rename("s", "s2"), a.get("s"), a.get("s2"), a.del("s2"), a.get("s2"));
}

async function grouped(a, b) {
  const pipeline = a.pipeline();
  for (let index = 0; index < 50; index++) {
    pipeline.set(`p${index % 10}`, index).get(`p${index % 10}`);
  }
  await step("pipeline", pipeline.lpush("p0", "x").get("p0").exec());
  const group = a.multi().set("x", 1).incr("x").lpush("x", 1).get("x").hgetall("h");
  await step("transaction", group.exec(), a.get("x"));
  const queued = each(
    () => a.multi({ pipeline: false }),
    () => a.set("x", 9),
    () => a.discard(),
  );
  await step("discard", await queued, a.get("x"));
  for (const interfering of [false, true]) {
    await a.watch("x");
    const before = await a.get("x");
    if (interfering) await b.incr("x");
    await step("watch", before, a.multi().set("x", 100).exec(), a.get("x"));
    await step("watched", b.get("x"));
  }
}

async function pubsub(a, b) {
  const listener = connected();
  const inbox = new r.Inbox();
  listener.on("messageBuffer", (channel, message) => inbox.put(channel, message));
  listener.on("pmessageBuffer", (_pattern, channel, message) => inbox.put(channel, message));
  await step("subscribed", listener.subscribe("news", "other"), listener.psubscribe("new*"));
  await step("published", b.publish("news", r.BINARY), b.publish("newer", 2), b.publish("x", 1));
  await step("heard", inbox.take(), inbox.take(), inbox.take());
  await step("unsubscribed", listener.unsubscribe("news"));
  await step("heard still", b.publish("news", 3), inbox.take(), listener.ping());
  await step("alone", listener.unsubscribe("other"), listener.punsubscribe("new*"));
  await step("nobody", b.publish("news", 4), a.get("m1"));
  await step("used on", listener.get("m1"), listener.set("m1", "pubsub"), listener.get("m1"));
  await listener.quit();
}

async function blocking(a, b) {
  const served = a.blpop("q", "q2", 10);
  await r.untilBlocked(() => b.info("clients"));
  await step("blocking", b.rpush("q2", "job"), served);
  await step("timeout", a.blpop("q", 0.05), a.llen("q2"));
}

async function lua(a) {
  await step("eval", a.set("e", "v"), a.evalBuffer(r.TAG, 1, "e", r.BINARY));
  const sha = await a.script("LOAD", r.TAG);
  await step("evalsha", a.evalsha(sha, 1, "e", "x"), a.script("EXISTS", sha, "0".repeat(40)));
  await step("noscript", a.evalsha("f".repeat(40), 0));
  a.defineCommand("tagged", { numberOfKeys: 1, lua: `${r.TAG} -- defined` });
  await step("defined", a.tagged("e", "first, as EVAL"), a.tagged("e", "then by its digest"));
  await step("typed", a.hset("one", "field", "value"), a.eval(r.TYPED, 1, "one"));
  await step("script error", a.eval("return redis.error_reply('MY own')", 0));
}

async function scan(a) {
  const pipeline = a.pipeline();
  for (let index = 0; index < 300; index++) {
    pipeline.set(`scan:${index}`, index).hset("scanned", `f${index}`, index);
  }
  await pipeline.exec();
  const found = new Set();
  for await (const page of a.scanStream({ match: "scan:*", count: 50 })) {
    page.forEach((key) => found.add(key));
  }
  await step("scan", [...found].sort());
  const fields = {};
  for await (const page of a.hscanStream("scanned", { count: 50 })) {
    for (let index = 0; index < page.length; index += 2) fields[page[index]] = page[index + 1];
  }
  await step("hscan", fields);
}

async function errorsAndDatabase(a) {
  await step("errors", a.get("h"), a.incr("e"), a.call("NOSUCH", "x"), a.call("GET"), a.get("e"));
  const other = connected({ db: 1 });
  await step("database", other.get("e"), other.set("e", "in 1"), other.get("e"));
  await step("select", a.get("e"), a.select(1), a.get("e"), a.select(0), a.get("e"));
  await step("back", other.select(0), other.get("e"));
  await other.quit();
}

async function steady(a, b) {
  for (let key = 0; key < 5; key++) {
    await a.set(`steady:${key}`, key);
    const replies = [];
    for (let read = 0; read < r.STEADY_READS; read++) {
      replies.push(await (read % 2 ? a : b).get(`steady:${key}`));
    }
    await step("steady", replies);
  }
}

function hotValues(a, b, turn) {
  const [s, n, h] = ["hot:string", "hot:number", "hot:hash"];
  return each(
    () => a.set(s, turn), () => a.get(s), () => a.get(s), () => b.get(s),
    () => b.set(s, `b${turn}`), () => a.get(s), () => a.get(s), () => b.get(s),
    () => a.incr(n), () => a.get(n), () => a.get(n),
    () => b.incrby(n, 10), () => a.get(n), () => a.get(n), () => b.get(n),
    () => a.hset(h, "f", turn), () => a.hget(h, "f"), () => a.hgetall(h), () => a.hgetall(h),
    () => b.hset(h, "g", turn), () => a.hgetall(h), () => a.hget(h, "g"),
    () => a.hmget(h, "f", "g"),
    () => b.hdel(h, "g"), () => a.hgetall(h), () => a.hget(h, "g"), () => b.hgetall(h),
    () => a.mget(s, n, "missing"), () => b.mset({ [s]: turn, [n]: turn }),
    () => a.mget(s, n, "missing"), () => a.mget(s, n, "missing"),
  );
}

function hotKeys(a, b, turn) {
  const [e, d, old, fresh] = ["hot:expiring", "hot:deleted", "hot:old", "hot:new"];
  return each(
    () => a.set(e, turn), () => a.get(e), () => a.expire(e, 100), () => a.get(e), () => a.get(e),
    () => b.pexpire(e, 0), () => a.get(e), () => a.get(e), () => b.get(e),
    () => a.set(d, turn), () => a.get(d), () => b.del(d), () => a.get(d), () => a.get(d),
    () => b.set(d, 1), () => a.get(d), () => a.del(d), () => a.get(d), () => b.get(d),
    () => a.set(old, turn), () => a.get(old), () => a.get(fresh), () => a.get(fresh),
    () => b.rename(old, fresh), () => a.get(fresh), () => a.get(fresh), () => a.get(old),
    () => b.get(old),
  );
}

function hotGroups(a, b, turn) {
  const s = "hot:string";
  return each(
    () => a.multi().set(s, `m${turn}`).get(s).exec(), () => a.get(s), () => a.get(s),
    () => b.get(s),
    () => b.append(s, "x"), () => a.get(s), () => a.get(s),
    () => a.eval(r.SET, 1, s, `e${turn}`), () => a.get(s), () => a.get(s), () => b.get(s),
    () => b.eval(r.UNDECLARED, 0, `u${turn}`), () => a.get(s), () => a.get(s), () => b.get(s),
    () => a.pipeline().get(s).get(s).set(s, `p${turn}`).get(s).get(s).exec(),
    () => b.get(s), () => a.get(s),
    () => Promise.all([a.get(s), a.set(s, `q${turn}`), a.get(s), b.get("m2")]),
  );
}

async function main() {
  const [a, b] = [connected(), connected()];
  await strings(a);
  await collections(a);
  await keys(a);
  await grouped(a, b);
  await pubsub(a, b);
  await blocking(a, b);
  await lua(a);
  await scan(a);
  await errorsAndDatabase(a);
  await steady(a, b);
  for (let turn = 0; turn < r.ROUNDS; turn++) {
    const values = await hotValues(a, b, turn);
    await step("hot", values, await hotKeys(a, b, turn), await hotGroups(a, b, turn));
  }
  await Promise.all([a.quit(), b.quit()]);
}

main();
