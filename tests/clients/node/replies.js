// What both Node programs share: where the store is, what they write, how a step is printed.

const { createHash } = require("crypto");
const { readFileSync } = require("fs");

const env = process.env;

exports.ROUNDS = 10;
exports.STEADY_READS = 40;
exports.BINARY = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
exports.LARGE = Buffer.from(Array.from({ length: 1 << 20 }, (_, index) => (index * 31) % 251));
exports.TAG = "return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}";
exports.TYPED = "redis.setresp(3); return {redis.call('HGETALL', KEYS[1]), {double=1.5}, true}";
exports.SET = "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])";
exports.UNDECLARED = "return redis.call('SET', 'hot:string', ARGV[1])";
const SHOWN_WHOLE_BYTES = 300;

exports.host = env.STORE_HOST;
exports.port = Number(env.STORE_PORT);
exports.protocol = Number(env.STORE_PROTOCOL);
exports.username = env.STORE_USER;
exports.password = env.STORE_PASSWORD;
exports.ca = env.STORE_CA && readFileSync(env.STORE_CA);

// A reply as JSON can hold it; bytes as one character each, long ones as length and digest.
function shown(value) {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (value instanceof Map) return shown(Object.fromEntries(value));
  if (value instanceof Set) return [...value].map(shown).sort();
  if (Buffer.isBuffer(value)) {
    if (value.length <= SHOWN_WHOLE_BYTES) return value.toString("latin1");
    return `${value.length} bytes ${createHash("sha1").update(value).digest("hex")}`;
  }
  if (Array.isArray(value)) return value.map(shown);
  if (value && typeof value === "object") {
    return Object.keys(value)
      .sort()
      .map((name) => [name, shown(value[name])]);
  }
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  return value === undefined ? "undefined" : value;
}

// Waits for the replies and prints one line; the commands before are on their way already.
exports.step = async (name, ...replies) => {
  const settled = await Promise.allSettled(replies);
  const reply = settled.map((each) => shown(each.status === "rejected" ? each.reason : each.value));
  process.stdout.write(JSON.stringify({ step: name, reply }) + "\n");
};

exports.sorted = async (reply) => [...(await reply)].sort();

// The replies of calls made one after the other, each begun when the one before has its reply.
exports.each = async (...calls) => {
  const replies = [];
  for (const call of calls) {
    replies.push(await call().catch((error) => error));
  }
  return replies;
};

// Messages in the order they come, taken one by one.
exports.Inbox = class {
  #messages = [];
  #waiting = [];

  put = (...message) => {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(message);
    else this.#messages.push(message);
  };

  take = () =>
    this.#messages.length
      ? Promise.resolve(this.#messages.shift())
      : new Promise((resolve) => this.#waiting.push(resolve));
};

exports.untilBlocked = async (info) => {
  while ((await info()).includes("blocked_clients:0")) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
