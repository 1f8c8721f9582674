import static io.lettuce.core.ScriptOutputType.OBJECT;
import static io.lettuce.core.ScriptOutputType.STATUS;
import static io.lettuce.core.ScriptOutputType.VALUE;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.GetExArgs;
import io.lettuce.core.KeyScanCursor;
import io.lettuce.core.LMoveArgs;
import io.lettuce.core.Limit;
import io.lettuce.core.MapScanCursor;
import io.lettuce.core.Range;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScanArgs;
import io.lettuce.core.ScanCursor;
import io.lettuce.core.ScoredValue;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.SetArgs;
import io.lettuce.core.SslOptions;
import io.lettuce.core.TransactionResult;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.StatusOutput;
import io.lettuce.core.protocol.ProtocolVersion;
import io.lettuce.core.pubsub.RedisPubSubListener;
import io.lettuce.core.pubsub.StatefulRedisPubSubConnection;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** The script through Lettuce: its blocking interface, and its asynchronous one for pipelines. */
final class LettuceProgram {
    private static final StringCodec CODEC = new StringCodec(StandardCharsets.ISO_8859_1);

    private final RedisClient client = created();
    private final StatefulRedisConnection<String, String> connection = connected(0);
    private final RedisCommands<String, String> a = connection.sync();
    private final RedisCommands<String, String> b = connected(0).sync();

    private static RedisClient created() {
        RedisClient client = RedisClient.create();
        var options = ClientOptions.builder()
                .protocolVersion(Replies.IS_RESP3 ? ProtocolVersion.RESP3 : ProtocolVersion.RESP2);
        if (Replies.CA != null) {
            options.sslOptions(SslOptions.builder().trustManager(new File(Replies.CA)).build());
        }
        client.setOptions(options.build());
        return client;
    }

    private static RedisURI address(int database) {
        var address = RedisURI.builder().withHost(Replies.HOST).withPort(Replies.PORT)
                .withDatabase(database).withSsl(Replies.CA != null);
        if (Replies.USER != null) {
            address.withAuthentication(Replies.USER, Replies.PASSWORD);
        } else if (Replies.PASSWORD != null) {
            address.withPassword(Replies.PASSWORD.toCharArray());
        }
        return address.build();
    }

    private StatefulRedisConnection<String, String> connected(int database) {
        return client.connect(CODEC, address(database));
    }

    private void strings() {
        Replies.step("set", a.ping(), a.set("s", "hello"), a.get("s"), a.get("missing"), a.exists("s"));
        Replies.step("empty", a.set("empty", ""), a.get("empty"), a.strlen("empty"));
        Replies.step("binary", a.set(Replies.BINARY, Replies.BINARY), a.get(Replies.BINARY));
        Replies.step("large", a.set("large", Replies.LARGE), a.get("large"), a.get("large"));
        Replies.step("range", a.strlen("large"), a.getrange("large", 1000, 1010));
        Replies.step("append", a.append("s", " world"), a.get("s"), a.setrange("s", 6, "W"), a.get("s"));
        Replies.step("many", a.mset(Map.of("m1", "1", "m2", "2")), a.mget("m1", "missing", "m2").toString());
        Replies.step("options", a.setnx("m1", "9"), a.set("s", "1", SetArgs.Builder.nx()),
                a.set("new", "1", SetArgs.Builder.xx()), a.setGet("s", "2"));
        Replies.step("counters", a.incr("n"), a.incrby("n", 5), a.decr("n"), a.incrbyfloat("f", 1.5));
        Replies.step("taken", a.getex("n", GetExArgs.Builder.ex(100)), a.getdel("n"), a.get("n"));
        Replies.step("ttl", a.ttl("s"), a.expire("s", 100), a.persist("s"), a.ttl("s"));
        Replies.step("rename", a.rename("s", "s2"), a.get("s"), a.get("s2"), a.del("s2"), a.get("s2"));
    }

    private void collections() {
        Replies.step("hash", a.hset("h", Map.of("name", "cachee", "empty", "")), a.hget("h", "name"),
                a.hget("h", "missing"), a.hgetall("h"), a.hgetall("missing"),
                a.hmget("h", "name", "missing").toString(), a.hincrby("h", "n", 4), a.hdel("h", "empty"),
                a.hlen("h"), Replies.sorted(a.hkeys("h")), Replies.sorted(a.hvals("h")));
        Replies.step("list", a.rpush("l", "a", "b", "c"), a.lpush("l", "z"), a.lrange("l", 0, -1),
                a.lset("l", 1, "A"), a.linsert("l", true, "b", "x"), a.lrem("l", 0, "c"),
                a.lindex("l", 0), a.lindex("l", 99), a.lpop("l"), a.rpop("l", 2),
                a.lmove("l", "l2", LMoveArgs.Builder.leftRight()), a.llen("l"));
        Replies.step("set", a.sadd("t", "a", "b", "c"), a.sadd("t2", "b", "d"), a.smembers("t"),
                a.sismember("t", "a"), a.smismember("t", "a", "z"), a.sinter("t", "t2"),
                a.sunion("t", "t2"), a.srem("t", "a"), a.scard("t"));
        Replies.step("zset", a.zadd("z", ScoredValue.just(1, "a"), ScoredValue.just(2.5, "b")),
                a.zscore("z", "b"), a.zscore("z", "missing"), a.zrange("z", 0, -1),
                a.zrangeWithScores("z", 0, -1).toString(), a.zrank("z", "b"), a.zincrby("z", 2, "a"),
                a.zrangebyscore("z", Range.create(2, 3), Limit.unlimited()), a.zrem("z", "a"));
        Replies.step("type", a.type("h"), a.type("l2"), a.type("t"), a.type("z"), a.type("missing"));
    }

    private static Object replyOf(RedisFuture<?> future) {
        try {
            return future.get(10, TimeUnit.SECONDS);
        } catch (Exception error) {
            return error.getCause();
        }
    }

    private static Object values(TransactionResult result) {
        return result.wasDiscarded() ? "discarded" : result.stream().collect(Collectors.toList());
    }

    private void grouped() {
        var async = connection.async();
        connection.setAutoFlushCommands(false);
        var futures = new ArrayList<RedisFuture<?>>();
        for (int index = 0; index < 50; index++) {
            futures.add(async.set("p" + index % 10, String.valueOf(index)));
            futures.add(async.get("p" + index % 10));
        }
        futures.add(async.lpush("p0", "x"));
        connection.flushCommands();
        connection.setAutoFlushCommands(true);
        Replies.step("pipeline", futures.stream().map(LettuceProgram::replyOf).toList(), a.get("p0"));
        a.multi();
        a.set("x", "1");
        a.incr("x");
        a.lpush("x", "1");
        a.get("x");
        a.hgetall("h");
        Replies.step("transaction", values(a.exec()), a.get("x"));
        Replies.step("discard", a.multi(), a.set("x", "9"), a.discard(), a.get("x"));
        for (boolean interfering : new boolean[] {false, true}) {
            Replies.step("watch", a.watch("x"), a.get("x"), interfering ? b.incr("x") : null,
                    a.multi(), a.set("x", "100"), values(a.exec()), a.get("x"), b.get("x"));
        }
    }

    /** Tells everything it hears. */
    private static final class Listener implements RedisPubSubListener<String, String> {
        private final BlockingQueue<String> inbox = new LinkedBlockingQueue<>();

        @Override
        public void message(String channel, String message) {
            inbox.add("message " + channel + " " + message);
        }

        @Override
        public void message(String pattern, String channel, String message) {
            inbox.add("pmessage " + pattern + " " + channel + " " + message);
        }

        @Override
        public void subscribed(String channel, long count) {
            inbox.add("subscribe " + channel + " " + count);
        }

        @Override
        public void psubscribed(String pattern, long count) {
            inbox.add("psubscribe " + pattern + " " + count);
        }

        @Override
        public void unsubscribed(String channel, long count) {
            inbox.add("unsubscribe " + channel + " " + count);
        }

        @Override
        public void punsubscribed(String pattern, long count) {
            inbox.add("punsubscribe " + pattern + " " + count);
        }

        String take() throws InterruptedException {
            return inbox.take();
        }
    }

    private void pubsub() throws Exception {
        StatefulRedisPubSubConnection<String, String> listening = client.connectPubSub(CODEC, address(0));
        var own = listening.sync();
        var listener = new Listener();
        listening.addListener(listener);
        own.subscribe("news", "other");
        Replies.step("subscribed", listener.take(), listener.take());
        own.psubscribe("new*");
        Replies.step("by pattern", listener.take());
        Replies.step("published", b.publish("news", Replies.BINARY), b.publish("newer", "2"));
        Replies.step("heard", listener.take(), listener.take(), listener.take());
        own.unsubscribe("news");
        Replies.step("unsubscribed", listener.take(), b.publish("news", "3"), listener.take(), own.ping());
        own.unsubscribe("other");
        Replies.step("half", listener.take());
        own.punsubscribe("new*");
        Replies.step("alone", listener.take(), b.publish("news", "4"));
        Replies.step("used on", own.get("m1"), own.set("m1", "pubsub"), own.get("m1"), a.get("m1"));
        listening.close();
    }

    private void blocking() throws Exception {
        var served = connection.async().blpop(10.0, "q", "q2");
        while (b.info("clients").contains("blocked_clients:0")) {
            Thread.sleep(5);
        }
        Replies.step("blocking", b.rpush("q2", "job"), served.get().toString(), a.blpop(0.05, "q"),
                a.llen("q2"));
    }

    private static Object script(
            RedisCommands<String, String> on, ScriptOutputType type, String script, String... words) {
        String[] keys = words.length > 1 ? new String[] {words[0]} : new String[0];
        String[] values = Arrays.copyOfRange(words, keys.length, words.length);
        return Replies.failed(() -> on.eval(script, type, keys, values));
    }

    private void lua() {
        String[] keys = {"e"};
        Replies.step("eval", a.set("e", "v"), script(a, OBJECT, Replies.TAG, "e", Replies.BINARY));
        String sha = a.scriptLoad(Replies.TAG);
        Replies.step("evalsha", sha, a.evalsha(sha, OBJECT, keys, "x"));
        Replies.step("noscript",
                Replies.failed(() -> a.evalsha("f".repeat(40), OBJECT, keys)));
        Replies.step("typed", a.hset("one", "field", "value"), script(a, OBJECT, Replies.TYPED, "one", ""));
        Replies.step("script error", script(a, STATUS, "return redis.error_reply('MY own')"));
    }

    private void scan() {
        var values = new HashMap<String, String>();
        var fields = new HashMap<String, String>();
        for (int index = 0; index < 300; index++) {
            values.put("scan:" + index, "v");
            fields.put("f" + index, "v");
        }
        a.mset(values);
        a.hset("scanned", fields);
        var keys = new TreeSet<String>();
        var match = ScanArgs.Builder.limit(50).match("scan:*");
        KeyScanCursor<String> page = a.scan(match);
        keys.addAll(page.getKeys());
        while (!page.isFinished()) {
            page = a.scan(page, match);
            keys.addAll(page.getKeys());
        }
        var found = new TreeMap<String, String>();
        ScanCursor cursor = ScanCursor.INITIAL;
        while (!cursor.isFinished()) {
            MapScanCursor<String, String> part = a.hscan("scanned", cursor, ScanArgs.Builder.limit(50));
            found.putAll(part.getMap());
            cursor = part;
        }
        Replies.step("scan", keys);
        Replies.step("hscan", found);
    }

    private void errorsAndDatabase() {
        Replies.step("errors", Replies.failed(() -> a.get("h")), Replies.failed(() -> a.incr("e")),
                Replies.failed(() -> a.dispatch(() -> "NOSUCH".getBytes(), new StatusOutput<>(CODEC))),
                Replies.failed(() -> a.dispatch(() -> "GET".getBytes(), new StatusOutput<>(CODEC))));
        var other = connected(1);
        var first = other.sync();
        Replies.step("database", first.get("e"), first.set("e", "in 1"), first.get("e"), a.get("e"));
        Replies.step("select", first.select(0), first.get("e"), first.select(1), first.get("e"));
        other.close();
    }

    private void steady() {
        for (int key = 0; key < 5; key++) {
            String name = "steady:" + key;
            a.set(name, String.valueOf(key));
            var replies = Replies.list();
            for (int read = 0; read < Replies.STEADY_READS; read++) {
                replies.add((read % 2 == 0 ? a : b).get(name));
            }
            Replies.step("steady", replies);
        }
    }

    private List<Object> work(int index) {
        var replies = Replies.list();
        for (int turn = 0; turn < 10; turn++) {
            replies.addAll(Replies.list(a.incr("own:" + index), a.get("own:" + index), a.get("steady:0")));
        }
        return replies;
    }

    private void together() {
        Replies.step("together", IntStream.range(0, 8).parallel().mapToObj(this::work)
                .collect(Collectors.toList()));
    }

    private void hot(String t) {
        String s = "hot:string", n = "hot:number", h = "hot:hash", e = "hot:expiring";
        String d = "hot:deleted", old = "hot:old", fresh = "hot:new";
        Replies.step("hot values", a.set(s, t), a.get(s), a.get(s), b.get(s), b.set(s, "b" + t), a.get(s),
                a.get(s), b.get(s), a.incr(n), a.get(n), a.get(n), b.incrby(n, 10), a.get(n), a.get(n),
                b.get(n), a.hset(h, "f", t), a.hget(h, "f"), a.hgetall(h), a.hgetall(h),
                b.hset(h, "g", t), a.hgetall(h), a.hmget(h, "f", "g").toString(), b.hdel(h, "g"),
                a.hgetall(h), a.hget(h, "g"), b.hgetall(h), a.mget(s, n, "missing").toString(),
                b.mset(Map.of(s, t, n, t)), a.mget(s, n, "missing").toString(), a.mget(s, n).toString());
        Replies.step("hot keys", a.set(e, t), a.get(e), a.expire(e, 100), a.get(e), a.get(e),
                b.pexpire(e, 0), a.get(e), a.get(e), b.get(e), a.set(d, t), a.get(d), b.del(d), a.get(d),
                a.get(d), b.set(d, "1"), a.get(d), a.del(d), a.get(d), b.get(d), a.set(old, t),
                a.get(old), a.get(fresh), a.get(fresh), b.rename(old, fresh), a.get(fresh),
                a.get(fresh), a.get(old), b.get(old));
        Replies.step("hot", a.multi(), a.set(s, "m" + t), a.get(s), values(a.exec()), a.get(s), a.get(s),
                b.get(s), b.append(s, "x"), a.get(s), a.get(s), script(a, VALUE, Replies.SET, s, "e" + t),
                a.get(s), a.get(s), b.get(s), script(b, STATUS, Replies.UNDECLARED, "u" + t), a.get(s),
                a.get(s), b.get(s));
    }

    private void run() throws Exception {
        strings();
        collections();
        grouped();
        pubsub();
        blocking();
        lua();
        scan();
        errorsAndDatabase();
        steady();
        together();
        for (int turn = 0; turn < Replies.ROUNDS; turn++) {
            hot(String.valueOf(turn));
        }
        client.shutdown(0, 100, TimeUnit.MILLISECONDS);
    }

    public static void main(String[] arguments) throws Exception {
        new LettuceProgram().run();
        Replies.finish();
    }
}
