// The script through rueidis; with STORE_CLIENT_CACHE, reads go through its client-side cache.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	. "clients/replies"
)

const patience = 10 * time.Second

var (
	ctx      = context.Background()
	isCached = os.Getenv("STORE_CLIENT_CACHE") != ""
	// Whether the client's own cache ever answered.
	wasHit atomic.Bool
)

func connected(database int) rueidis.Client {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{Address}, Username: User, Password: Password, SelectDB: database,
		TLSConfig: TLS(), AlwaysRESP2: !IsResp3, DisableCache: !isCached,
		ForceSingleClient: true,
	})
	Must(err)
	return client
}

// do sends one command.
func do(client rueidis.CoreClient, words ...string) any {
	return Both(client.Do(ctx, client.B().Arbitrary(words...).Build()).ToAny())
}

// all sends commands at once.
func all(client rueidis.CoreClient, lines ...string) []any {
	commands := make(rueidis.Commands, len(lines))
	for index, line := range lines {
		commands[index] = client.B().Arbitrary(strings.Fields(line)...).Build()
	}
	found := make([]any, len(lines))
	for index, result := range client.DoMulti(ctx, commands...) {
		found[index] = Both(result.ToAny())
	}
	return found
}

// read asks the client's cache, where it is on, until it has heard of the last write: that news may
// come after the write's reply.
func read(client rueidis.Client, plain func() rueidis.Completed, cached func() rueidis.Cacheable) any {
	truth := Both(client.Do(ctx, plain()).ToAny())
	if !isCached {
		return truth
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		result := client.DoCache(ctx, cached(), time.Minute)
		if result.IsCacheHit() {
			wasHit.Store(true)
		}
		found := Both(result.ToAny())
		if reflect.DeepEqual(found, truth) || time.Now().After(deadline) {
			return found
		}
	}
}

func get(client rueidis.Client, key string) any {
	return read(client,
		func() rueidis.Completed { return client.B().Get().Key(key).Build() },
		func() rueidis.Cacheable { return client.B().Get().Key(key).Cache() })
}

func hgetall(client rueidis.Client, key string) any {
	return read(client,
		func() rueidis.Completed { return client.B().Hgetall().Key(key).Build() },
		func() rueidis.Cacheable { return client.B().Hgetall().Key(key).Cache() })
}

func mget(client rueidis.Client, keys ...string) []any {
	if !isCached {
		return []any{Both(client.Do(ctx, client.B().Mget().Key(keys...).Build()).ToAny())}
	}
	found := make([]any, len(keys))
	for index, key := range keys {
		found[index] = get(client, key)
	}
	return found
}

func values(a rueidis.Client) {
	Step("set", do(a, "PING"), do(a, "SET", "s", "hello"), get(a, "s"), get(a, "s"), get(a, "missing"))
	Step("empty", do(a, "SET", "empty", ""), get(a, "empty"), do(a, "STRLEN", "empty"))
	Step("binary", do(a, "SET", Binary, Binary), get(a, Binary))
	Step("large", do(a, "SET", "large", Large), get(a, "large"), get(a, "large"),
		do(a, "STRLEN", "large"), do(a, "GETRANGE", "large", "1000", "1010"))
	Step("append", do(a, "APPEND", "s", " world"), get(a, "s"), do(a, "SETRANGE", "s", "6", "W"), get(a, "s"))
	Step("many", all(a, "MSET m1 1 m2 2", "MGET m1 missing m2", "SETNX m1 9", "SET s 1 NX", "SET s 2 GET"))
	Step("counters", all(a, "INCR n", "INCRBY n 5", "DECR n", "INCRBYFLOAT f 1.5", "GETEX n EX 100",
		"GETDEL n", "GET n"))
	Step("ttl", all(a, "TTL s", "EXPIRE s 100", "PERSIST s", "TTL s"))
	Step("rename", do(a, "RENAME", "s", "s2"), get(a, "s"), get(a, "s2"), do(a, "DEL", "s2"), get(a, "s2"))
}

func collections(a rueidis.Client) {
	Step("hash", do(a, "HSET", "h", "name", "cachee", "empty", ""), hgetall(a, "h"), hgetall(a, "missing"),
		all(a, "HGET h name", "HGET h missing", "HMGET h name missing", "HINCRBY h n 4", "HLEN h",
			"HDEL h empty", "HEXISTS h n"), hgetall(a, "h"))
	Step("list", all(a, "RPUSH l a b c", "LPUSH l z", "LRANGE l 0 -1", "LSET l 1 A", "LINDEX l 0",
		"LINDEX l 99", "LPOP l", "RPOP l 2", "LMOVE l l2 LEFT RIGHT", "LRANGE l 0 -1", "LLEN l2"))
	Step("set", all(a, "SADD t a b c", "SADD t2 b d", "SISMEMBER t a", "SMISMEMBER t a z", "SCARD t"),
		Sorted(a.Do(ctx, a.B().Smembers().Key("t").Build()).AsStrSlice()),
		Sorted(a.Do(ctx, a.B().Sunion().Key("t", "t2").Build()).AsStrSlice()))
	Step("zset", all(a, "ZADD z 1 a 2.5 b inf c", "ZSCORE z b", "ZRANGE z 0 -1", "ZRANGE z 0 -1 WITHSCORES",
		"ZRANK z c", "ZINCRBY z 2 a", "ZRANGEBYSCORE z 2 3", "ZCARD z", "ZREM z a"))
	Step("type", all(a, "TYPE h", "TYPE l2", "TYPE t", "TYPE z", "TYPE missing"))
}

func grouped(a, b rueidis.Client) {
	lines := []string{}
	for index := range 50 {
		lines = append(lines, fmt.Sprintf("SET p%d %d", index%10, index), fmt.Sprintf("GET p%d", index%10))
	}
	Step("pipeline", all(a, append(lines, "LPUSH p0 x", "GET p0")...))
	transaction := func(lines ...string) (found []any) {
		Must(a.Dedicated(func(own rueidis.DedicatedClient) error {
			found = all(own, lines...)
			return nil
		}))
		return found
	}
	Step("transaction", transaction("MULTI", "SET x 1", "INCR x", "LPUSH x 1", "GET x", "EXEC"), get(a, "x"))
	Step("discard", transaction("MULTI", "SET x 9", "DISCARD", "GET x"), get(a, "x"))
	Step("refused", transaction("MULTI", "NOSUCH", "EXEC"), get(a, "x"))
	for _, interfering := range []bool{false, true} {
		Must(a.Dedicated(func(own rueidis.DedicatedClient) error {
			Step("watched", all(own, "WATCH x", "GET x"))
			if interfering {
				do(b, "INCR", "x")
			}
			Step("watch", all(own, "MULTI", "SET x 100", "EXEC"), get(a, "x"), get(b, "x"))
			return nil
		}))
	}
}

func pubsub(a, b rueidis.Client) {
	listener, release := a.Dedicate()
	defer release()
	inbox := make(chan string, 100)
	listener.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(message rueidis.PubSubMessage) {
			inbox <- fmt.Sprintf("%s %s %s", message.Pattern, message.Channel, message.Message)
		},
		OnSubscription: func(change rueidis.PubSubSubscription) {
			inbox <- fmt.Sprintf("%s %s %d", change.Kind, change.Channel, change.Count)
		},
	})
	send := func(command rueidis.Completed) any { return Both(0, listener.Do(ctx, command).Error()) }
	Step("subscribed", send(listener.B().Subscribe().Channel("news", "other").Build()), <-inbox, <-inbox)
	Step("by pattern", send(listener.B().Psubscribe().Pattern("new*").Build()), <-inbox)
	Step("published", do(b, "PUBLISH", "news", Binary), do(b, "PUBLISH", "newer", "2"), do(b, "PUBLISH", "x", "1"))
	Step("heard", <-inbox, <-inbox, <-inbox)
	Step("unsubscribed", send(listener.B().Unsubscribe().Channel("news").Build()), <-inbox)
	Step("heard still", do(b, "PUBLISH", "news", "3"), <-inbox)
	Step("alone", send(listener.B().Unsubscribe().Channel("other").Build()), <-inbox,
		send(listener.B().Punsubscribe().Pattern("new*").Build()), <-inbox, do(b, "PUBLISH", "news", "4"))
	Step("used on", all(listener, "GET m1", "SET m1 pubsub", "GET m1"), get(a, "m1"))
}

func blocking(a, b rueidis.Client) {
	pop := func(seconds float64) any {
		return Both(a.Do(ctx, a.B().Blpop().Key("q", "q2").Timeout(seconds).Build()).ToAny())
	}
	served := make(chan any)
	go func() { served <- pop(10) }()
	for strings.Contains(do(b, "INFO", "clients").(string), "blocked_clients:0") {
		time.Sleep(5 * time.Millisecond)
	}
	Step("blocking", do(b, "RPUSH", "q2", "job"), <-served, pop(0.05), do(a, "LLEN", "q2"))
}

func lua(a rueidis.Client) {
	Step("eval", do(a, "SET", "e", "v"), do(a, "EVAL", Tag, "1", "e", Binary))
	sha := do(a, "SCRIPT", "LOAD", Tag)
	Step("evalsha", sha, do(a, "EVALSHA", sha.(string), "1", "e", "x"))
	Step("noscript", do(a, "EVALSHA", strings.Repeat("f", 40), "0"))
	script := rueidis.NewLuaScript(Tag + " -- defined")
	for _, argument := range []string{"first, as EVAL", "then by its digest"} {
		Step("defined", Both(script.Exec(ctx, a, []string{"e"}, []string{argument}).ToAny()))
	}
	Step("typed", do(a, "HSET", "one", "field", "value"), do(a, "EVAL", Typed, "1", "one"))
	Step("script error", do(a, "EVAL", "return redis.error_reply('MY own')", "0"))
}

func scan(a rueidis.Client) {
	commands := rueidis.Commands{}
	for index := range 300 {
		commands = append(commands, a.B().Set().Key(fmt.Sprintf("scan:%d", index)).Value("v").Build(),
			a.B().Hset().Key("scanned").FieldValue().FieldValue(fmt.Sprintf("f%d", index), "v").Build())
	}
	a.DoMulti(ctx, commands...)
	pages := func(next func(cursor uint64) rueidis.Completed) map[string]string {
		found := map[string]string{}
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			page, err := a.Do(ctx, next(cursor)).AsScanEntry()
			Must(err)
			cursor = page.Cursor
			for _, element := range page.Elements {
				found[element] = ""
			}
		}
		return found
	}
	Step("scan", pages(func(cursor uint64) rueidis.Completed {
		return a.B().Scan().Cursor(cursor).Match("scan:*").Count(50).Build()
	}))
	Step("hscan", pages(func(cursor uint64) rueidis.Completed {
		return a.B().Hscan().Key("scanned").Cursor(cursor).Count(50).Build()
	}))
}

func errorsAndDatabase(a rueidis.Client) {
	Step("errors", all(a, "GET h", "INCR e", "NOSUCH x", "GET", "GET e"))
	other := connected(1)
	defer other.Close()
	Step("database", get(other, "e"), do(other, "SET", "e", "in 1"), get(other, "e"), get(a, "e"))
	Must(a.Dedicated(func(own rueidis.DedicatedClient) error {
		Step("select", all(own, "SELECT 1", "GET e", "SELECT 0", "GET e"))
		return nil
	}))
}

func steady(a, b rueidis.Client) {
	for index := range 5 {
		key := fmt.Sprintf("steady:%d", index)
		do(a, "SET", key, fmt.Sprint(index))
		replies := []any{}
		for range SteadyReads {
			replies = append(replies, get(a, key), get(b, key))
		}
		Step("steady", replies)
	}
}

func together(a rueidis.Client) {
	var group sync.WaitGroup
	replies := make([]any, 8)
	for index := range replies {
		group.Add(1)
		go func() {
			defer group.Done()
			key, found := fmt.Sprintf("own:%d", index), []any{}
			for range 10 {
				found = append(found, do(a, "INCR", key), get(a, key), get(a, "steady:0"))
			}
			replies[index] = found
		}()
	}
	group.Wait()
	Step("together", replies...)
}

func hotValues(a, b rueidis.Client, t string) []any {
	s, n, h := "hot:string", "hot:number", "hot:hash"
	return []any{
		do(a, "SET", s, t), get(a, s), get(a, s), get(b, s), do(b, "SET", s, "b"+t), get(a, s), get(a, s),
		get(b, s), do(a, "INCR", n), get(a, n), get(a, n), do(b, "INCRBY", n, "10"), get(a, n), get(a, n),
		get(b, n), do(a, "HSET", h, "f", t), do(a, "HGET", h, "f"), hgetall(a, h), hgetall(a, h),
		do(b, "HSET", h, "g", t), hgetall(a, h), do(a, "HMGET", h, "f", "g"), do(b, "HDEL", h, "g"),
		hgetall(a, h), do(a, "HGET", h, "g"), hgetall(b, h), mget(a, s, n, "missing"),
		do(b, "MSET", s, t, n, t), mget(a, s, n, "missing"), mget(a, s, n, "missing"),
	}
}

func hotKeys(a, b rueidis.Client, t string) []any {
	e, d, old, fresh := "hot:expiring", "hot:deleted", "hot:old", "hot:new"
	return []any{
		do(a, "SET", e, t), get(a, e), do(a, "EXPIRE", e, "100"), get(a, e), get(a, e),
		do(b, "PEXPIRE", e, "0"), get(a, e), get(a, e), get(b, e), do(a, "SET", d, t), get(a, d),
		do(b, "DEL", d), get(a, d), get(a, d), do(b, "SET", d, "1"), get(a, d), do(a, "DEL", d), get(a, d),
		get(b, d), do(a, "SET", old, t), get(a, old), get(a, fresh), get(a, fresh),
		do(b, "RENAME", old, fresh), get(a, fresh), get(a, fresh), get(a, old), get(b, old),
	}
}

func hotGroups(a, b rueidis.Client, t string) []any {
	s := "hot:string"
	return []any{
		all(a, "GET "+s, "SET "+s+" p"+t, "GET "+s, "GET "+s), get(b, s), get(a, s),
		do(b, "APPEND", s, "x"), get(a, s), get(a, s), do(a, "EVAL", Set, "1", s, "e"+t), get(a, s),
		get(a, s), get(b, s), do(b, "EVAL", Undeclared, "0", "u"+t), get(a, s), get(a, s), get(b, s),
		Both(0, a.Dedicated(func(own rueidis.DedicatedClient) error {
			Step("hot transaction", all(own, "MULTI", "SET "+s+" m"+t, "GET "+s, "EXEC", "GET "+s))
			return nil
		})), get(a, s), get(a, s), get(b, s),
	}
}

func main() {
	a, b := connected(0), connected(0)
	values(a)
	collections(a)
	grouped(a, b)
	pubsub(a, b)
	blocking(a, b)
	lua(a)
	scan(a)
	errorsAndDatabase(a)
	steady(a, b)
	together(a)
	Step("answered by the client's own cache", wasHit.Load())
	for turn := range Rounds {
		t := fmt.Sprint(turn)
		Step("hot", hotValues(a, b, t), hotKeys(a, b, t), hotGroups(a, b, t))
	}
	a.Close()
	b.Close()
	Finish()
}
