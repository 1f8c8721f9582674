/* The script through hiredis, its blocking interface: one connection each for `a`, `b` and waiting.
 *
 * Every call goes through `put`, which adds one reply to the line of the current step, so that the
 * program reads as the list of commands it is.
 */

#include <hiredis.h>
#include <hiredis_ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 10
#define STEADY_READS 40
#define LARGE_BYTES (1 << 20)
#define SHOWN_WHOLE_BYTES 300

static const char *TAG = "return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}";
static const char *TYPED =
    "redis.setresp(3); return {redis.call('HGETALL', KEYS[1]), {double=1.5}, true}";
static const char *SET = "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])";
static const char *UNDECLARED = "return redis.call('SET', 'hot:string', ARGV[1])";

static char binary[256];
static char large[LARGE_BYTES];
static int replies_in_step;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* ---- printing ---- */

static void print_bytes(const char *bytes, size_t length) {
    if (length > SHOWN_WHOLE_BYTES) {
        unsigned long long digest = 14695981039346656037ULL;
        for (size_t i = 0; i < length; i++)
            digest = (digest ^ (unsigned char)bytes[i]) * 1099511628211ULL;
        printf("\"%zu bytes %016llx\"", length, digest);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        unsigned char each = (unsigned char)bytes[i];
        if (each < ' ' || each > '~' || each == '"' || each == '\\')
            printf("\\u%04x", each);
        else
            putchar(each);
    }
    putchar('"');
}

static int by_text(const void *left, const void *right) {
    const redisReply *a = *(redisReply *const *)left, *b = *(redisReply *const *)right;
    size_t shorter = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->str, b->str, shorter);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

static void print_reply(const redisReply *reply) {
    static const char *names[] = {"",       "string", "array", "integer", "nil",
                                  "status", "error",  "double", "bool",   "map",
                                  "set",    "attr",   "push",  "bignum",  "verb"};
    printf("{\"%s\": ", names[reply->type]);
    switch (reply->type) {
    case REDIS_REPLY_NIL:
        printf("null");
        break;
    case REDIS_REPLY_INTEGER:
    case REDIS_REPLY_BOOL:
        printf("%lld", reply->integer);
        break;
    case REDIS_REPLY_ARRAY:
    case REDIS_REPLY_MAP:
    case REDIS_REPLY_SET:
    case REDIS_REPLY_PUSH:
        putchar('[');
        for (size_t i = 0; i < reply->elements; i++) {
            if (i)
                printf(", ");
            print_reply(reply->element[i]);
        }
        putchar(']');
        break;
    default:
        print_bytes(reply->str, reply->len);
    }
    putchar('}');
}

static void begin(const char *step) {
    printf("{\"step\": \"%s\", \"reply\": [", step);
    replies_in_step = 0;
}

static void end(void) { printf("]}\n"); }

static void put(redisContext *c, redisReply *reply) {
    if (!reply)
        fail("connection", c->errstr);
    if (replies_in_step++)
        printf(", ");
    print_reply(reply);
    freeReplyObject(reply);
}

/* Replies whose order the server does not promise: as a sorted list of `stride` neighbours each. */
static void put_sorted(redisContext *c, redisReply *reply, size_t stride) {
    if (reply && reply->type != REDIS_REPLY_ERROR)
        qsort(reply->element, reply->elements / stride, stride * sizeof(redisReply *), by_text);
    put(c, reply);
}

#define DO(c, ...) put(c, redisCommand(c, __VA_ARGS__))
#define SORTED(c, stride, ...) put_sorted(c, redisCommand(c, __VA_ARGS__), stride)

static redisReply *next_reply(redisContext *c) {
    void *reply = NULL;
    if (redisGetReply(c, &reply) != REDIS_OK)
        fail("reply", c->errstr);
    return reply;
}

/* ---- connecting ---- */

static redisContext *connected(void) {
    const char *ca = getenv("STORE_CA"), *user = getenv("STORE_USER");
    const char *password = getenv("STORE_PASSWORD");
    redisContext *c = redisConnect(getenv("STORE_HOST"), atoi(getenv("STORE_PORT")));
    if (!c || c->err)
        fail("connect", c ? c->errstr : "no memory");
    if (ca) {
        redisSSLContextError error;
        redisSSLContext *tls = redisCreateSSLContext(ca, NULL, NULL, NULL, NULL, &error);
        if (!tls || redisInitiateSSLWithContext(c, tls) != REDIS_OK)
            fail("tls", tls ? c->errstr : redisSSLContextGetError(error));
    }
    redisReply *reply = NULL;
    if (password)
        reply = user ? redisCommand(c, "AUTH %s %s", user, password)
                     : redisCommand(c, "AUTH %s", password);
    if (password && (!reply || reply->type == REDIS_REPLY_ERROR))
        fail("auth", reply ? reply->str : c->errstr);
    freeReplyObject(reply);
    if (atoi(getenv("STORE_PROTOCOL")) == 3)
        freeReplyObject(redisCommand(c, "HELLO 3"));
    return c;
}

/* ---- the script ---- */

static void strings(redisContext *a) {
    begin("set"), DO(a, "PING"), DO(a, "SET s hello"), DO(a, "GET s"), DO(a, "GET missing"), end();
    begin("empty"), DO(a, "SET empty %s", ""), DO(a, "GET empty"), DO(a, "STRLEN empty"), end();
    begin("binary"), DO(a, "SET %b %b", binary, sizeof binary, binary, sizeof binary);
    DO(a, "GET %b", binary, sizeof binary), end();
    begin("large"), DO(a, "SET large %b", large, sizeof large), DO(a, "GET large");
    DO(a, "STRLEN large"), DO(a, "GET large"), DO(a, "GETRANGE large 1000 1010"), end();
    begin("append"), DO(a, "APPEND s %s", " world"), DO(a, "GET s"), DO(a, "SETRANGE s 6 W"), end();
    begin("many"), DO(a, "MSET m1 1 m2 2"), DO(a, "MGET m1 missing m2"), DO(a, "SETNX m1 9"), end();
    begin("options"), DO(a, "SET s 1 NX"), DO(a, "SET new 1 XX"), DO(a, "SET s 2 GET"), end();
    begin("counters"), DO(a, "INCR n"), DO(a, "INCRBY n 5"), DO(a, "DECR n");
    DO(a, "INCRBYFLOAT f 1.5"), DO(a, "GETSET n 7"), DO(a, "GETEX n EX 100"), DO(a, "GETDEL n");
    DO(a, "GET n"), end();
}

static void collections(redisContext *a) {
    begin("hash"), DO(a, "HSET h name cachee empty %s n 1", ""), DO(a, "HGET h name");
    DO(a, "HGET h missing"), SORTED(a, 2, "HGETALL h"), DO(a, "HGETALL missing");
    DO(a, "HMGET h name missing"), DO(a, "HINCRBY h n 4"), DO(a, "HINCRBYFLOAT h f 0.5"), end();
    begin("hdel"), DO(a, "HDEL h empty"), DO(a, "HLEN h"), SORTED(a, 1, "HKEYS h");
    SORTED(a, 1, "HVALS h"), DO(a, "HEXISTS h n"), end();
    begin("list"), DO(a, "RPUSH l a b c"), DO(a, "LPUSH l z"), DO(a, "LRANGE l 0 -1");
    DO(a, "LLEN l"), DO(a, "LSET l 1 A"), DO(a, "LINSERT l BEFORE b x"), DO(a, "LREM l 0 c");
    DO(a, "LINDEX l 0"), DO(a, "LINDEX l 99"), DO(a, "LPOP l"), DO(a, "RPOP l 2");
    DO(a, "LMOVE l l2 LEFT RIGHT"), DO(a, "LRANGE l 0 -1"), DO(a, "LRANGE l2 0 -1"), end();
    begin("set"), DO(a, "SADD t a b c"), DO(a, "SADD t2 b c d"), SORTED(a, 1, "SMEMBERS t");
    DO(a, "SISMEMBER t a"), DO(a, "SMISMEMBER t a z"), DO(a, "SCARD t"), DO(a, "SREM t a");
    SORTED(a, 1, "SINTER t t2"), SORTED(a, 1, "SUNION t t2"), SORTED(a, 1, "SDIFF t2 t"), end();
    begin("zset"), DO(a, "ZADD z 1 a 2.5 b inf c"), DO(a, "ZSCORE z b"), DO(a, "ZRANGE z 0 -1");
    DO(a, "ZRANGE z 0 -1 WITHSCORES"), DO(a, "ZRANK z c"), DO(a, "ZINCRBY z 2 a");
    DO(a, "ZRANGEBYSCORE z 2 3"), DO(a, "ZCARD z"), DO(a, "ZREM z a"), DO(a, "ZSCORE z a"), end();
}

static void keys(redisContext *a) {
    begin("type"), DO(a, "TYPE s"), DO(a, "TYPE h"), DO(a, "TYPE z"), DO(a, "TYPE missing"), end();
    begin("ttl"), DO(a, "TTL s"), DO(a, "EXPIRE s 100"), DO(a, "PERSIST s"), DO(a, "TTL s"), end();
    begin("rename"), DO(a, "RENAME s s2"), DO(a, "GET s"), DO(a, "GET s2"), DO(a, "DEL s2 missing");
    DO(a, "GET s2"), DO(a, "COPY z z2"), DO(a, "ZCARD z2"), DO(a, "UNLINK z2"), end();
}

static void grouped(redisContext *a, redisContext *b) {
    for (int i = 0; i < 50; i++) {
        redisAppendCommand(a, "SET p%d %d", i % 10, i);
        redisAppendCommand(a, "GET p%d", i % 10);
    }
    redisAppendCommand(a, "LPUSH p0 x");
    begin("pipeline");
    for (int i = 0; i < 101; i++)
        put(a, next_reply(a));
    end();
    begin("transaction"), DO(a, "MULTI"), DO(a, "SET x 1"), DO(a, "INCR x"), DO(a, "GET x");
    DO(a, "LPUSH x 1"), SORTED(a, 2, "HGETALL h"), DO(a, "EXEC"), DO(a, "GET x"), end();
    begin("discard"), DO(a, "MULTI"), DO(a, "SET x 9"), DO(a, "DISCARD"), DO(a, "GET x"), end();
    begin("refused"), DO(a, "MULTI"), DO(a, "NOSUCH"), DO(a, "EXEC"), DO(a, "GET x"), end();
    for (int interfering = 0; interfering < 3; interfering++) {
        begin("watch"), DO(a, "WATCH x"), DO(a, "GET x");
        if (interfering)
            DO(b, "INCR x");
        if (interfering == 2)
            DO(a, "UNWATCH");
        DO(a, "MULTI"), DO(a, "SET x 100"), DO(a, "EXEC"), DO(a, "GET x"), DO(b, "GET x"), end();
    }
}

static void subscribe(redisContext *c, const char *command, int replies) {
    redisAppendCommand(c, command);
    while (replies--)
        put(c, next_reply(c));
}

static void pubsub(redisContext *a, redisContext *b) {
    /* In RESP3 these replies are pushes, which hiredis would hand to its handler, not to us. */
    redisPushFn *handler = redisSetPushCallback(a, NULL);
    begin("subscribed"), subscribe(a, "SUBSCRIBE news other", 2);
    subscribe(a, "PSUBSCRIBE new*", 1), DO(b, "PUBLISH news %b", binary, sizeof binary);
    DO(b, "PUBLISH newer 2"), DO(b, "PUBLISH x 1"), end();
    begin("heard"), put(a, next_reply(a)), put(a, next_reply(a)), put(a, next_reply(a)), end();
    begin("unsubscribed"), subscribe(a, "UNSUBSCRIBE news", 1), DO(b, "PUBLISH news 3");
    put(a, next_reply(a)), end();
    begin("while subscribed"), subscribe(a, "PING", 1), subscribe(a, "GET m1", 1), end();
    begin("alone"), subscribe(a, "UNSUBSCRIBE", 1), subscribe(a, "PUNSUBSCRIBE", 1);
    DO(b, "PUBLISH news 4"), end();
    begin("used on"), DO(a, "GET m1"), DO(b, "SET m1 pubsub"), DO(a, "GET m1"), end();
    redisSetPushCallback(a, handler);
}

static void *wait_for_job(void *connection) { return redisCommand(connection, "BLPOP q q2 10"); }

static void blocking(redisContext *a, redisContext *b) {
    pthread_t waiter;
    void *served;
    const struct timespec pause = {0, 5000000};
    pthread_create(&waiter, NULL, wait_for_job, a);
    for (int polls = 0, blocked = 0; polls < 2000 && !blocked; polls++) {
        redisReply *info = redisCommand(b, "INFO clients");
        blocked = !strstr(info->str, "blocked_clients:0");
        freeReplyObject(info);
        nanosleep(&pause, NULL);
    }
    begin("blocking"), DO(b, "RPUSH q2 job"), pthread_join(waiter, &served), put(a, served);
    DO(a, "BLPOP q 0.05"), DO(a, "LLEN q2"), end();
}

static void lua(redisContext *a) {
    begin("eval"), DO(a, "SET e v"), DO(a, "EVAL %s 1 e %b", TAG, binary, sizeof binary), end();
    redisReply *sha = redisCommand(a, "SCRIPT LOAD %s", TAG);
    begin("evalsha"), DO(a, "EVALSHA %s 1 e x", sha->str);
    DO(a, "SCRIPT EXISTS %s", sha->str), end();
    freeReplyObject(sha);
    begin("noscript"), DO(a, "EVALSHA ffffffffffffffffffffffffffffffffffffffff 0"), end();
    begin("typed"), DO(a, "HSET one field value"), DO(a, "EVAL %s 1 one", TYPED), end();
    begin("script error"), DO(a, "EVAL %s 0", "return redis.error_reply('MY own')"), end();
}

static void print_scan(redisContext *a, const char *format, size_t stride) {
    static redisReply *found[1000], *pages[100];
    size_t count = 0, page = 0;
    char cursor[32] = "0";
    do {
        redisReply *reply = pages[page++] = redisCommand(a, format, cursor);
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        for (size_t i = 0; i < reply->element[1]->elements; i++)
            found[count++] = reply->element[1]->element[i];
    } while (strcmp(cursor, "0"));
    qsort(found, count / stride, stride * sizeof *found, by_text);
    for (size_t i = 0; i < count; i += stride)
        if (!i || by_text(&found[i - stride], &found[i]))
            for (size_t j = i; j < i + stride; j++)
                printf("%s\"%s\"", j ? ", " : "", found[j]->str);
    while (page)
        freeReplyObject(pages[--page]);
}

static void scan(redisContext *a) {
    for (int i = 0; i < 300; i++) {
        redisAppendCommand(a, "SET scan:%d %d", i, i);
        redisAppendCommand(a, "HSET scanned f%d %d", i, i);
    }
    for (int i = 0; i < 600; i++)
        freeReplyObject(next_reply(a));
    begin("scan"), print_scan(a, "SCAN %s MATCH scan:* COUNT 50", 1), end();
    begin("hscan"), print_scan(a, "HSCAN scanned %s COUNT 50", 2), end();
}

static void errors_and_database(redisContext *a, redisContext *b) {
    begin("errors"), DO(a, "GET h"), DO(a, "INCR e"), DO(a, "NOSUCH x"), DO(a, "GET"), end();
    begin("select"), DO(a, "SELECT 1"), DO(a, "GET e"), DO(a, "SET e 1"), DO(a, "GET e");
    DO(b, "GET e"), DO(a, "SELECT 0"), DO(a, "GET e"), DO(a, "SELECT 99999"), DO(a, "GET e"), end();
}

static void steady(redisContext *a, redisContext *b) {
    for (int key = 0; key < 5; key++) {
        begin("steady"), DO(a, "SET steady:%d %d", key, key);
        for (int i = 0; i < STEADY_READS; i++)
            DO(i % 2 ? a : b, "GET steady:%d", key);
        end();
    }
}

static void hot_values(redisContext *a, redisContext *b, int turn) {
    const char *s = "hot:string", *n = "hot:number", *h = "hot:hash";
    DO(a, "SET %s %d", s, turn), DO(a, "GET %s", s), DO(a, "GET %s", s), DO(b, "GET %s", s);
    DO(b, "SET %s b%d", s, turn), DO(a, "GET %s", s), DO(a, "GET %s", s), DO(b, "GET %s", s);
    DO(a, "INCR %s", n), DO(a, "GET %s", n), DO(a, "GET %s", n), DO(b, "INCRBY %s 10", n);
    DO(a, "GET %s", n), DO(a, "GET %s", n), DO(b, "GET %s", n);
    DO(a, "HSET %s f %d", h, turn), DO(a, "HGET %s f", h), SORTED(a, 2, "HGETALL %s", h);
    DO(b, "HSET %s g %d", h, turn), SORTED(a, 2, "HGETALL %s", h), DO(a, "HMGET %s f g", h);
    DO(b, "HDEL %s g", h), SORTED(a, 2, "HGETALL %s", h), DO(a, "HGET %s g", h);
    DO(a, "MGET %s %s missing", s, n), DO(b, "MSET %s %d %s %d", s, turn, n, turn);
    DO(a, "MGET %s %s missing", s, n), DO(a, "MGET %s %s missing", s, n);
}

static void hot_keys(redisContext *a, redisContext *b, int turn) {
    const char *e = "hot:expiring", *d = "hot:deleted", *old = "hot:old", *new = "hot:new";
    DO(a, "SET %s %d", e, turn), DO(a, "GET %s", e), DO(a, "EXPIRE %s 100", e), DO(a, "GET %s", e);
    DO(b, "PEXPIRE %s 0", e), DO(a, "GET %s", e), DO(a, "GET %s", e), DO(b, "GET %s", e);
    DO(a, "SET %s %d", d, turn), DO(a, "GET %s", d), DO(b, "DEL %s", d), DO(a, "GET %s", d);
    DO(a, "GET %s", d), DO(b, "SET %s 1", d), DO(a, "GET %s", d), DO(a, "DEL %s", d);
    DO(a, "GET %s", d), DO(b, "GET %s", d), DO(a, "SET %s %d", old, turn), DO(a, "GET %s", old);
    DO(a, "GET %s", new), DO(a, "GET %s", new), DO(b, "RENAME %s %s", old, new);
    DO(a, "GET %s", new), DO(a, "GET %s", new), DO(a, "GET %s", old), DO(b, "GET %s", old);
}

static void hot_groups(redisContext *a, redisContext *b, int turn) {
    const char *s = "hot:string";
    DO(a, "MULTI"), DO(a, "SET %s m%d", s, turn), DO(a, "GET %s", s), DO(a, "EXEC");
    DO(a, "GET %s", s), DO(a, "GET %s", s), DO(b, "GET %s", s), DO(b, "APPEND %s x", s);
    DO(a, "GET %s", s), DO(a, "EVAL %s 1 %s e%d", SET, s, turn), DO(a, "GET %s", s);
    DO(a, "GET %s", s), DO(b, "GET %s", s), DO(b, "EVAL %s 0 u%d", UNDECLARED, turn);
    DO(a, "GET %s", s), DO(a, "GET %s", s), DO(b, "GET %s", s);
    redisAppendCommand(a, "GET %s", s), redisAppendCommand(a, "SET %s p%d", s, turn);
    redisAppendCommand(a, "GET %s", s), redisAppendCommand(a, "GET %s", s);
    for (int i = 0; i < 4; i++)
        put(a, next_reply(a));
    DO(b, "GET %s", s), DO(a, "GET %s", s);
}

int main(void) {
    for (int i = 0; i < 256; i++)
        binary[i] = (char)i;
    for (int i = 0; i < LARGE_BYTES; i++)
        large[i] = (char)(i * 31LL % 251);
    redisInitOpenSSL();
    redisContext *a = connected(), *b = connected();
    strings(a), collections(a), keys(a), grouped(a, b), pubsub(a, b), blocking(a, b), lua(a);
    scan(a), errors_and_database(a, b), steady(a, b);
    for (int turn = 0; turn < ROUNDS; turn++) {
        begin("hot"), hot_values(a, b, turn), hot_keys(a, b, turn), hot_groups(a, b, turn), end();
    }
    redisFree(a), redisFree(b);
    return 0;
}
