import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.JedisPubSub;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.args.ListDirection;
import redis.clients.jedis.args.ListPosition;
import redis.clients.jedis.params.GetExParams;
import redis.clients.jedis.params.ScanParams;
import redis.clients.jedis.params.SetParams;
import redis.clients.jedis.resps.ScanResult;

/** The script through Jedis. */
final class JedisProgram {
    private final RedisClient a = connected(0);
    private final RedisClient b = connected(0);

    private static JedisClientConfig config(int database) {
        var config = DefaultJedisClientConfig.builder()
                .protocol(Replies.IS_RESP3 ? RedisProtocol.RESP3 : RedisProtocol.RESP2)
                .user(Replies.USER)
                .password(Replies.PASSWORD)
                .database(database);
        if (Replies.CA != null) {
            config.ssl(true).sslSocketFactory(trusting(Replies.CA).getSocketFactory());
        }
        return config.build();
    }

    private static SSLContext trusting(String path) {
        try (var file = new FileInputStream(path)) {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            store.setCertificateEntry(
                    "ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
            var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(store);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, trust.getTrustManagers(), null);
            return context;
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private static HostAndPort address() {
        return new HostAndPort(Replies.HOST, Replies.PORT);
    }

    private static RedisClient connected(int database) {
        return RedisClient.builder().hostAndPort(address()).clientConfig(config(database)).build();
    }

    private void strings() {
        Replies.step("set", a.ping(), a.set("s", "hello"), a.get("s"), a.get("missing"), a.exists("s"));
        Replies.step("empty", a.set("empty", ""), a.get("empty"), a.strlen("empty"));
        byte[] binary = Replies.bytes(Replies.BINARY);
        Replies.step("binary", a.set(binary, binary), a.get(binary));
        byte[] key = Replies.bytes("large");
        Replies.step("large", a.set(key, Replies.bytes(Replies.LARGE)), a.get(key), a.get(key));
        Replies.step("range", a.strlen("large"), a.getrange(key, 1000, 1010));
        Replies.step("append", a.append("s", " world"), a.get("s"), a.setrange("s", 6, "W"), a.get("s"));
        Replies.step("many", a.mset("m1", "1", "m2", "2"), a.mget("m1", "missing", "m2"));
        Replies.step("options", a.setnx("m1", "9"), a.set("s", "1", SetParams.setParams().nx()),
                a.set("new", "1", SetParams.setParams().xx()), a.setGet("s", "2"));
        Replies.step("counters", a.incr("n"), a.incrBy("n", 5), a.decr("n"), a.incrByFloat("f", 1.5));
        Replies.step("taken", a.getEx("n", GetExParams.getExParams().ex(100)), a.getDel("n"), a.get("n"));
        Replies.step("ttl", a.ttl("s"), a.expire("s", 100), a.persist("s"), a.ttl("s"));
        Replies.step("rename", a.rename("s", "s2"), a.get("s"), a.get("s2"), a.del("s2"), a.get("s2"));
    }

    private void collections() {
        Replies.step("hash", a.hset("h", Map.of("name", "cachee", "empty", "")), a.hget("h", "name"),
                a.hget("h", "missing"), a.hgetAll("h"), a.hgetAll("missing"),
                a.hmget("h", "name", "missing"), a.hincrBy("h", "n", 4), a.hdel("h", "empty"),
                a.hlen("h"), a.hkeys("h"), Replies.sorted(a.hvals("h")));
        Replies.step("list", a.rpush("l", "a", "b", "c"), a.lpush("l", "z"), a.lrange("l", 0, -1),
                a.lset("l", 1, "A"), a.linsert("l", ListPosition.BEFORE, "b", "x"), a.lrem("l", 0, "c"),
                a.lindex("l", 0), a.lindex("l", 99), a.lpop("l"), a.rpop("l", 2),
                a.lmove("l", "l2", ListDirection.LEFT, ListDirection.RIGHT), a.llen("l"));
        Replies.step("set", a.sadd("t", "a", "b", "c"), a.sadd("t2", "b", "d"), a.smembers("t"),
                a.sismember("t", "a"), a.smismember("t", "a", "z"), a.sinter("t", "t2"),
                a.sunion("t", "t2"), a.srem("t", "a"), a.scard("t"));
        Map<String, Double> scores = Map.of("a", 1.0, "b", 2.5, "c", Double.POSITIVE_INFINITY);
        Replies.step("zset", a.zadd("z", scores), a.zscore("z", "b"), a.zscore("z", "missing"),
                a.zrange("z", 0, -1), a.zrangeWithScores("z", 0, -1).toString(), a.zrank("z", "c"),
                a.zincrby("z", 2, "a"), a.zrangeByScore("z", 2, 3), a.zrem("z", "a"), a.zcard("z"));
        Replies.step("type", a.type("h"), a.type("l2"), a.type("t"), a.type("z"), a.type("missing"));
    }

    private void grouped() {
        try (var pipeline = a.pipelined()) {
            for (int index = 0; index < 50; index++) {
                pipeline.set("p" + index % 10, String.valueOf(index));
                pipeline.get("p" + index % 10);
            }
            pipeline.lpush("p0", "x");
            Replies.step("pipeline", pipeline.syncAndReturnAll(), a.get("p0"));
        }
        try (var group = a.multi()) {
            group.set("x", "1");
            group.incr("x");
            group.lpush("x", "1");
            group.get("x");
            group.hgetAll("h");
            Replies.step("transaction", group.exec(), a.get("x"));
        }
        try (var group = a.multi()) {
            group.set("x", "9");
            Replies.step("discard", group.discard(), a.get("x"));
        }
        for (boolean interfering : new boolean[] {false, true}) {
            try (var group = a.transaction(false)) {
                String watched = group.watch("x");
                Long interfered = interfering ? b.incr("x") : null;
                group.multi();
                group.set("x", "100");
                Replies.step("watch", watched, interfered, group.exec(), a.get("x"), b.get("x"));
            }
        }
    }

    /** Tells everything it hears. */
    private static final class Listener extends JedisPubSub {
        private final BlockingQueue<String> inbox = new LinkedBlockingQueue<>();

        @Override
        public void onMessage(String channel, String message) {
            inbox.add("message " + channel + " " + message);
        }

        @Override
        public void onPMessage(String pattern, String channel, String message) {
            inbox.add("pmessage " + pattern + " " + channel + " " + message);
        }

        @Override
        public void onSubscribe(String channel, int count) {
            inbox.add("subscribe " + channel + " " + count);
        }

        @Override
        public void onUnsubscribe(String channel, int count) {
            inbox.add("unsubscribe " + channel + " " + count);
        }

        @Override
        public void onPSubscribe(String pattern, int count) {
            inbox.add("psubscribe " + pattern + " " + count);
        }

        @Override
        public void onPUnsubscribe(String pattern, int count) {
            inbox.add("punsubscribe " + pattern + " " + count);
        }

        String take() throws InterruptedException {
            return inbox.take();
        }
    }

    private void pubsub() throws Exception {
        var listener = new Listener();
        try (var own = new Jedis(address(), config(0))) {
            var listening = CompletableFuture.runAsync(() -> own.subscribe(listener, "news", "other"));
            Replies.step("subscribed", listener.take(), listener.take());
            listener.psubscribe("new*");
            Replies.step("by pattern", listener.take());
            Replies.step("published", b.publish("news", "1"), b.publish("newer", "2"), b.publish("x", "1"));
            Replies.step("heard", listener.take(), listener.take(), listener.take());
            listener.unsubscribe("news");
            Replies.step("unsubscribed", listener.take(), b.publish("news", "3"), listener.take());
            listener.unsubscribe("other");
            Replies.step("half", listener.take());
            listener.punsubscribe("new*");
            Replies.step("alone", listener.take(), b.publish("news", "4"));
            listening.get();
            Replies.step("used on", own.get("m1"), own.set("m1", "pubsub"), own.get("m1"), a.get("m1"));
        }
    }

    private void blocking() throws Exception {
        var served = CompletableFuture.supplyAsync(() -> a.blpop(10.0, "q", "q2"));
        while (b.info("clients").contains("blocked_clients:0")) {
            Thread.sleep(5);
        }
        Replies.step("blocking", b.rpush("q2", "job"), served.get(), a.blpop(0.05, "q"), a.llen("q2"));
    }

    private void lua() {
        Replies.step("eval", a.set("e", "v"), a.eval(Replies.TAG, 1, "e", "x"), a.eval("return 1.9"));
        String sha = a.scriptLoad(Replies.TAG);
        Replies.step("evalsha", sha, a.evalsha(sha, 1, "e", "x"), a.scriptExists(List.of(sha)));
        Replies.step("noscript", Replies.failed(() -> a.evalsha("f".repeat(40))));
        Replies.step("typed", a.hset("one", "field", "value"), a.eval(Replies.TYPED, 1, "one"));
        Replies.step("script error",
                Replies.failed(() -> a.eval("return redis.error_reply('MY own')")));
    }

    private void scan() {
        var fields = new HashMap<String, String>();
        try (var pipeline = a.pipelined()) {
            for (int index = 0; index < 300; index++) {
                pipeline.set("scan:" + index, "v");
                fields.put("f" + index, "v");
            }
        }
        a.hset("scanned", fields);
        var params = new ScanParams().match("scan:*").count(50);
        var keys = new TreeSet<String>();
        String cursor = ScanParams.SCAN_POINTER_START;
        do {
            ScanResult<String> page = a.scan(cursor, params);
            keys.addAll(page.getResult());
            cursor = page.getCursor();
        } while (!cursor.equals(ScanParams.SCAN_POINTER_START));
        var found = new TreeMap<String, String>();
        do {
            var page = a.hscan("scanned", cursor, new ScanParams().count(50));
            page.getResult().forEach(each -> found.put(each.getKey(), each.getValue()));
            cursor = page.getCursor();
        } while (!cursor.equals(ScanParams.SCAN_POINTER_START));
        Replies.step("scan", keys);
        Replies.step("hscan", found);
    }

    private void errorsAndDatabase() {
        Replies.step("errors", Replies.failed(() -> a.get("h")), Replies.failed(() -> a.incr("e")),
                Replies.failed(() -> a.sendCommand(() -> Replies.bytes("NOSUCH"), "x")),
                Replies.failed(() -> a.sendCommand(() -> Replies.bytes("GET"))), a.get("e"));
        try (var other = connected(1); var own = new Jedis(address(), config(0))) {
            Replies.step("database", other.get("e"), other.set("e", "in 1"), other.get("e"), a.get("e"));
            Replies.step("select", own.select(1), own.get("e"), own.select(0), own.get("e"));
        }
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
                a.get(s), b.get(s), a.incr(n), a.get(n), a.get(n), b.incrBy(n, 10), a.get(n), a.get(n),
                b.get(n), a.hset(h, "f", t), a.hget(h, "f"), a.hgetAll(h), a.hgetAll(h),
                b.hset(h, "g", t), a.hgetAll(h), a.hmget(h, "f", "g"), b.hdel(h, "g"), a.hgetAll(h),
                a.hget(h, "g"), b.hgetAll(h), a.mget(s, n, "missing"), b.mset(s, t, n, t),
                a.mget(s, n, "missing"), a.mget(s, n, "missing"));
        Replies.step("hot keys", a.set(e, t), a.get(e), a.expire(e, 100), a.get(e), a.get(e),
                b.pexpire(e, 0), a.get(e), a.get(e), b.get(e), a.set(d, t), a.get(d), b.del(d), a.get(d),
                a.get(d), b.set(d, "1"), a.get(d), a.del(d), a.get(d), b.get(d), a.set(old, t),
                a.get(old), a.get(fresh), a.get(fresh), b.rename(old, fresh), a.get(fresh),
                a.get(fresh), a.get(old), b.get(old));
        List<Object> grouped;
        try (var group = a.multi()) {
            group.set(s, "m" + t);
            group.get(s);
            grouped = group.exec();
        }
        Replies.step("hot", grouped, a.get(s), a.get(s), b.get(s), b.append(s, "x"), a.get(s), a.get(s),
                a.eval(Replies.SET, 1, s, "e" + t), a.get(s), a.get(s), b.get(s),
                b.eval(Replies.UNDECLARED, 0, "u" + t), a.get(s), a.get(s), b.get(s));
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
        a.close();
        b.close();
    }

    public static void main(String[] arguments) throws Exception {
        new JedisProgram().run();
        Replies.finish();
    }
}
