// The script through node-redis, the `redis` package.

const { createClient, RESP_TYPES } = require("redis");
const r = require("./replies");
const { each, sorted, step } = r;

async function connected(options = {}) {
  const client = createClient({
    RESP: r.protocol,
    username: r.username,
    password: r.password,
    socket: { host: r.host, port: r.port, ...(r.ca && { tls: true, ca: r.ca }) },
    ...options,
  });
  await client.connect();
  return client;
}

const raw = (client) => client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });

async function strings(a) {
  await step("set", a.ping(), a.set("s", "hello"), a.get("s"), a.get("missing"), a.exists("s"));
  await step("empty", a.set("empty", ""), a.get("empty"), a.strLen("empty"));
  await step("binary", a.set(r.BINARY, r.BINARY), raw(a).get(r.BINARY));
  await step("large", a.set("large", r.LARGE), raw(a).get("large"), raw(a).get("large"));
  await step("range", raw(a).getRange("large", 1000, 1010), a.strLen("large"));
  await step("append", a.append("s", " world"), a.get("s"), a.setRange("s", 6, "W"), a.get("s"));
  await step("many", a.mSet({ m1: "1", m2: "2" }), a.mGet(["m1", "missing", "m2"]));
  await step("options", a.setNX("m1", "9"), a.set("s", "1", { condition: "NX" }));
  await step("old", a.set("new", "1", { condition: "XX" }), a.set("s", "2", { GET: true }));
  await step("counters", a.incr("n"), a.incrBy("n", 5), a.decr("n"), a.incrByFloat("f", 1.5));
  await step("taken", a.getEx("n", { type: "EX", value: 100 }), a.getDel("n"), a.get("n"));
}

async function collections(a) {
  const fields = { name: "cachee", empty: "", n: "1" };
  await step("hset", a.hSet("h", fields), a.hGet("h", "name"), a.hGet("h", "missing"));
  await step("hget", a.hGetAll("h"), a.hGetAll("missing"), a.hmGet("h", ["name", "missing"]));
  await step("hincrby", a.hIncrBy("h", "n", 4), a.hIncrByFloat("h", "f", 0.5), a.hExists("h", "n"));
  await step("hdel", a.hDel("h", "empty"), sorted(a.hKeys("h")), sorted(a.hVals("h")), a.hLen("h"));
  await step("push", a.rPush("l", ["a", "b", "c"]), a.lPush("l", "z"), a.lRange("l", 0, -1));
  await step("list", a.lSet("l", 1, "A"), a.lInsert("l", "BEFORE", "b", "x"), a.lRem("l", 0, "c"));
  await step("index", a.lIndex("l", 0), a.lIndex("l", 99), a.lPop("l"), a.rPopCount("l", 2));
  await step("lmove", a.lMove("l", "l2", "LEFT", "RIGHT"), a.lRange("l2", 0, -1), a.lLen("l"));
  await step("sadd", a.sAdd("t", ["a", "b", "c"]), a.sAdd("t2", ["b", "d"]));
  await step("sets", sorted(a.sMembers("t")), a.sIsMember("t", "a"), a.smIsMember("t", ["a", "z"]));
  await step("algebra", sorted(a.sInter(["t", "t2"])), sorted(a.sUnion(["t", "t2"])), a.sCard("t"));
  const scored = [
    { score: 1, value: "a" },
    { score: 2.5, value: "b" },
    { score: Infinity, value: "c" },
  ];
  await step("zadd", a.zAdd("z", scored), a.zScore("z", "b"), a.zScore("z", "missing"));
  await step("zrange", a.zRange("z", 0, -1), a.zRangeWithScores("z", 0, -1), a.zRank("z", "c"));
  await step("zset", a.zIncrBy("z", 2, "a"), a.zRangeByScore("z", 2, 3), a.zRem("z", "a"));
}

async function keys(a) {
  await step("type", a.type("s"), a.type("h"), a.type("t"), a.type("z"), a.type("missing"));
  await step("ttl", a.ttl("s"), a.expire("s", 100), a.persist("s"), a.ttl("s"));
  await step("rename", a.rename("s", "s2"), a.get("s"), a.get("s2"), a.del("s2"), a.get("s2"));
}

async function grouped(a, b) {
  const pipeline = a.multi();
  for (let index = 0; index < 50; index++) {
    pipeline.set(`p${index % 10}`, String(index)).get(`p${index % 10}`);
  }
  await step("pipeline", pipeline.execAsPipeline(), a.get("p0"));
  await step("at once", ...Array.from({ length: 50 }, (_, index) => a.incr(`p${index % 10}`)));
  const group = a.multi().set("x", "1").incr("x").get("x").hGetAll("h");
  await step("transaction", group.exec(), a.get("x"));
  const failing = await a.multi().incr("x").lPush("x", "1").exec().catch((error) => error.replies);
  await step("transaction with an error", failing, a.get("x"));
  for (const interfering of [false, true]) {
    await a.watch("x");
    const before = await a.get("x");
    if (interfering) await b.incr("x");
    await step("watch", before, a.multi().set("x", "100").exec(), a.get("x"));
    await step("watched", b.get("x"));
  }
}

async function pubsub(a, b) {
  const listener = await connected();
  const inbox = new r.Inbox();
  const hear = (message, channel) => inbox.put(channel, message);
  await step("subscribed", listener.subscribe(["news", "other"], hear, true));
  await step("by pattern", listener.pSubscribe("new*", hear, true));
  await step("published", b.publish("news", r.BINARY), b.publish("newer", "2"));
  await step("heard", inbox.take(), inbox.take(), inbox.take());
  await step("unsubscribed", listener.unsubscribe("news"));
  await step("heard still", b.publish("news", "3"), inbox.take(), listener.ping());
  await step("alone", listener.unsubscribe("other"), listener.pUnsubscribe("new*"));
  await step("nobody", b.publish("news", "4"), a.get("m1"));
  await step("used on", listener.get("m1"), listener.set("m1", "pubsub"), listener.get("m1"));
  await listener.close();
}

async function blocking(a, b) {
  const served = a.blPop(["q", "q2"], 10);
  await r.untilBlocked(() => b.info("clients"));
  await step("blocking", b.rPush("q2", "job"), served);
  await step("timeout", a.blPop("q", 0.05), a.lLen("q2"));
}

async function lua(a) {
  const options = { keys: ["e"], arguments: ["x"] };
  await step("eval", a.set("e", "v"), a.eval(r.TAG, options), a.eval("return 1.9"));
  const sha = await a.scriptLoad(r.TAG);
  await step("evalsha", a.evalSha(sha, options), a.scriptExists([sha, "0".repeat(40)]));
  await step("noscript", a.evalSha("f".repeat(40)));
  await step("typed", a.hSet("one", "field", "value"), a.eval(r.TYPED, { keys: ["one"] }));
  await step("script error", a.eval("return redis.error_reply('MY own')"));
}

async function scan(a) {
  for (let index = 0; index < 300; index++) {
    a.set(`scan:${index}`, String(index));
    a.hSet("scanned", `f${index}`, String(index));
  }
  const found = new Set();
  for await (const page of a.scanIterator({ MATCH: "scan:*", COUNT: 50 })) {
    page.forEach((key) => found.add(key));
  }
  await step("scan", [...found].sort());
  const fields = {};
  for await (const page of a.hScanIterator("scanned", { COUNT: 50 })) {
    page.forEach(({ field, value }) => (fields[field] = value));
  }
  await step("hscan", fields);
}

async function errorsAndDatabase(a) {
  const unknown = a.sendCommand(["NOSUCH", "x"]);
  await step("errors", a.get("h"), a.incr("e"), unknown, a.sendCommand(["GET"]), a.get("e"));
  const other = await connected({ database: 1 });
  await step("database", other.get("e"), other.set("e", "in 1"), other.get("e"));
  await step("select", a.get("e"), a.select(1), a.get("e"), a.select(0), a.get("e"));
  await step("back", other.select(0), other.get("e"));
  await other.close();
}

async function steady(a, b) {
  for (let key = 0; key < 5; key++) {
    await a.set(`steady:${key}`, String(key));
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
    () => b.incrBy(n, 10), () => a.get(n), () => a.get(n), () => b.get(n),
    () => a.hSet(h, "f", turn), () => a.hGet(h, "f"), () => a.hGetAll(h), () => a.hGetAll(h),
    () => b.hSet(h, "g", turn), () => a.hGetAll(h), () => a.hGet(h, "g"),
    () => a.hmGet(h, ["f", "g"]),
    () => b.hDel(h, "g"), () => a.hGetAll(h), () => a.hGet(h, "g"), () => b.hGetAll(h),
    () => a.mGet([s, n, "missing"]), () => b.mSet({ [s]: turn, [n]: turn }),
    () => a.mGet([s, n, "missing"]), () => a.mGet([s, n, "missing"]),
  );
}

function hotKeys(a, b, turn) {
  const [e, d, old, fresh] = ["hot:expiring", "hot:deleted", "hot:old", "hot:new"];
  return each(
    () => a.set(e, turn), () => a.get(e), () => a.expire(e, 100), () => a.get(e), () => a.get(e),
    () => b.pExpire(e, 0), () => a.get(e), () => a.get(e), () => b.get(e),
    () => a.set(d, turn), () => a.get(d), () => b.del(d), () => a.get(d), () => a.get(d),
    () => b.set(d, "1"), () => a.get(d), () => a.del(d), () => a.get(d), () => b.get(d),
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
    () => a.eval(r.SET, { keys: [s], arguments: [`e${turn}`] }), () => a.get(s),
    () => a.get(s), () => b.get(s),
    () => b.eval(r.UNDECLARED, { arguments: [`u${turn}`] }), () => a.get(s),
    () => a.get(s), () => b.get(s),
    () => a.multi().get(s).get(s).set(s, `p${turn}`).get(s).get(s).execAsPipeline(),
    () => b.get(s), () => a.get(s),
    () => Promise.all([a.get(s), a.set(s, `q${turn}`), a.get(s), b.get("m2")]),
  );
}

async function main() {
  const [a, b] = [await connected(), await connected()];
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
  for (let index = 0; index < r.ROUNDS; index++) {
    const turn = String(index);
    const values = await hotValues(a, b, turn);
    await step("hot", values, await hotKeys(a, b, turn), await hotGroups(a, b, turn));
  }
  await Promise.all([a.close(), b.close()]);
}

main();
