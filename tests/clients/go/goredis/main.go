// The script through go-redis.
package main

import (
	"context"
	"fmt"
	"math"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	. "clients/replies"
)

var ctx = context.Background()

func connected(database int) *redis.Client {
	protocol := 2
	if IsResp3 {
		protocol = 3
	}
	return redis.NewClient(&redis.Options{
		Addr: Address, Username: User, Password: Password, DB: database, Protocol: protocol,
		TLSConfig: TLS(),
	})
}

// The values of commands, in the order they were sent.
func results(commands []redis.Cmder, err error) []any {
	found := []any{err}
	for _, command := range commands {
		switch command := command.(type) {
		case *redis.StatusCmd:
			found = append(found, Both(command.Result()))
		case *redis.StringCmd:
			found = append(found, Both(command.Result()))
		case *redis.IntCmd:
			found = append(found, Both(command.Result()))
		case *redis.MapStringStringCmd:
			found = append(found, Both(command.Result()))
		default:
			panic(fmt.Sprintf("%T", command))
		}
	}
	return found
}

func values(a *redis.Client) {
	Step("set", Both(a.Ping(ctx).Result()), Both(a.Set(ctx, "s", "hello", 0).Result()),
		Both(a.Get(ctx, "s").Result()), Both(a.Get(ctx, "missing").Result()),
		Both(a.Exists(ctx, "s", "missing").Result()))
	Step("empty", Both(a.Set(ctx, "empty", "", 0).Result()), Both(a.Get(ctx, "empty").Result()))
	Step("binary", Both(a.Set(ctx, Binary, Binary, 0).Result()), Both(a.Get(ctx, Binary).Result()))
	Step("large", Both(a.Set(ctx, "large", Large, 0).Result()), Both(a.Get(ctx, "large").Result()),
		Both(a.Get(ctx, "large").Result()), Both(a.StrLen(ctx, "large").Result()),
		Both(a.GetRange(ctx, "large", 1000, 1010).Result()))
	Step("append", Both(a.Append(ctx, "s", " world").Result()), Both(a.Get(ctx, "s").Result()),
		Both(a.SetRange(ctx, "s", 6, "W").Result()), Both(a.Get(ctx, "s").Result()))
	Step("many", Both(a.MSet(ctx, "m1", 1, "m2", 2).Result()),
		Both(a.MGet(ctx, "m1", "missing", "m2").Result()), Both(a.SetNX(ctx, "m1", 9, 0).Result()))
	Step("counters", Both(a.Incr(ctx, "n").Result()), Both(a.IncrBy(ctx, "n", 5).Result()),
		Both(a.Decr(ctx, "n").Result()), Both(a.IncrByFloat(ctx, "f", 1.5).Result()),
		Both(a.GetSet(ctx, "n", 7).Result()), Both(a.GetEx(ctx, "n", time.Minute).Result()),
		Both(a.GetDel(ctx, "n").Result()), Both(a.Get(ctx, "n").Result()))
	Step("ttl", Both(a.TTL(ctx, "s").Result()), Both(a.Expire(ctx, "s", time.Minute).Result()),
		Both(a.Persist(ctx, "s").Result()), Both(a.TTL(ctx, "s").Result()))
	Step("rename", Both(a.Rename(ctx, "s", "s2").Result()), Both(a.Get(ctx, "s").Result()),
		Both(a.Get(ctx, "s2").Result()), Both(a.Del(ctx, "s2").Result()),
		Both(a.Get(ctx, "s2").Result()), Both(a.Type(ctx, "s2").Result()))
}

func collections(a *redis.Client) {
	Step("hash", Both(a.HSet(ctx, "h", "name", "cachee", "empty", "", "n", 1).Result()),
		Both(a.HGet(ctx, "h", "name").Result()), Both(a.HGet(ctx, "h", "missing").Result()),
		Both(a.HGetAll(ctx, "h").Result()), Both(a.HGetAll(ctx, "missing").Result()),
		Both(a.HMGet(ctx, "h", "name", "missing").Result()))
	Step("hincrby", Both(a.HIncrBy(ctx, "h", "n", 4).Result()), Both(a.HLen(ctx, "h").Result()),
		Both(a.HDel(ctx, "h", "empty").Result()), Both(a.HExists(ctx, "h", "n").Result()),
		Sorted(a.HKeys(ctx, "h").Result()), Sorted(a.HVals(ctx, "h").Result()))
	Step("list", Both(a.RPush(ctx, "l", "a", "b", "c").Result()), Both(a.LPush(ctx, "l", "z").Result()),
		Both(a.LRange(ctx, "l", 0, -1).Result()), Both(a.LSet(ctx, "l", 1, "A").Result()),
		Both(a.LIndex(ctx, "l", 0).Result()), Both(a.LIndex(ctx, "l", 99).Result()),
		Both(a.LPop(ctx, "l").Result()), Both(a.RPopCount(ctx, "l", 2).Result()),
		Both(a.LMove(ctx, "l", "l2", "LEFT", "RIGHT").Result()), Both(a.LLen(ctx, "l").Result()))
	Step("set", Both(a.SAdd(ctx, "t", "a", "b", "c").Result()), Both(a.SAdd(ctx, "t2", "b", "d").Result()),
		Sorted(a.SMembers(ctx, "t").Result()), Both(a.SIsMember(ctx, "t", "a").Result()),
		Sorted(a.SInter(ctx, "t", "t2").Result()), Sorted(a.SUnion(ctx, "t", "t2").Result()),
		Both(a.SRem(ctx, "t", "a").Result()), Both(a.SCard(ctx, "t").Result()))
	members := []redis.Z{{Score: 1, Member: "a"}, {Score: 2.5, Member: "b"}, {Score: math.Inf(1), Member: "c"}}
	Step("zset", Both(a.ZAdd(ctx, "z", members...).Result()), Both(a.ZScore(ctx, "z", "b").Result()),
		Both(a.ZRange(ctx, "z", 0, -1).Result()), Both(a.ZRank(ctx, "z", "c").Result()),
		fmt.Sprint(a.ZRangeWithScores(ctx, "z", 0, -1).Result()),
		Both(a.ZIncrBy(ctx, "z", 2, "a").Result()), Both(a.ZRem(ctx, "z", "a").Result()),
		Both(a.ZRangeByScore(ctx, "z", &redis.ZRangeBy{Min: "2", Max: "3"}).Result()))
}

func grouped(a, b *redis.Client) {
	Step("pipeline", results(a.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for index := range 50 {
			key := fmt.Sprintf("p%d", index%10)
			pipe.Set(ctx, key, index, 0)
			pipe.Get(ctx, key)
		}
		pipe.LPush(ctx, "p0", "x")
		pipe.Get(ctx, "p0")
		return nil
	})))
	Step("transaction", results(a.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, "x", 1, 0)
		pipe.Incr(ctx, "x")
		pipe.LPush(ctx, "x", 1)
		pipe.Get(ctx, "x")
		pipe.HGetAll(ctx, "h")
		return nil
	})), Both(a.Get(ctx, "x").Result()))
	for _, interfering := range []bool{false, true} {
		err := a.Watch(ctx, func(tx *redis.Tx) error {
			Step("watched", Both(tx.Get(ctx, "x").Result()))
			if interfering {
				b.Incr(ctx, "x")
			}
			_, err := tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
				pipe.Set(ctx, "x", 100, 0)
				return nil
			})
			return err
		}, "x")
		Step("watch", err, Both(a.Get(ctx, "x").Result()), Both(b.Get(ctx, "x").Result()))
	}
}

func pubsub(a, b *redis.Client) {
	listener := a.Subscribe(ctx, "news", "other")
	defer listener.Close()
	hear := func() any {
		message, err := listener.Receive(ctx)
		return fmt.Sprintf("%v %v", message, err)
	}
	Step("subscribed", hear(), hear(), listener.PSubscribe(ctx, "new*"), hear())
	Step("published", Both(b.Publish(ctx, "news", Binary).Result()),
		Both(b.Publish(ctx, "newer", "2").Result()), Both(b.Publish(ctx, "x", "1").Result()))
	Step("heard", hear(), hear(), hear())
	Step("unsubscribed", listener.Unsubscribe(ctx, "news"), hear(), listener.Ping(ctx), hear())
	Step("heard still", Both(b.Publish(ctx, "news", "3").Result()), hear())
	Step("alone", listener.PUnsubscribe(ctx, "new*"), hear(), Both(b.Publish(ctx, "news", "4").Result()))
	Step("heard", Both(b.Publish(ctx, "other", "5").Result()), hear())
}

func blocking(a, b *redis.Client) {
	served := make(chan any)
	go func() { served <- Both(a.BLPop(ctx, 10*time.Second, "q", "q2").Result()) }()
	for strings.Contains(b.Info(ctx, "clients").Val(), "blocked_clients:0") {
		time.Sleep(5 * time.Millisecond)
	}
	Step("blocking", Both(b.RPush(ctx, "q2", "job").Result()), <-served)
	Step("timeout", Both(a.Do(ctx, "BLPOP", "q", "0.05").Result()), Both(a.LLen(ctx, "q2").Result()))
}

func lua(a *redis.Client) {
	keys := []string{"e"}
	Step("eval", Both(a.Set(ctx, "e", "v", 0).Result()), Both(a.Eval(ctx, Tag, keys, Binary).Result()))
	sha := a.ScriptLoad(ctx, Tag).Val()
	Step("evalsha", sha, Both(a.EvalSha(ctx, sha, keys, "x").Result()))
	Step("noscript", Both(a.EvalSha(ctx, strings.Repeat("f", 40), nil).Result()))
	script := redis.NewScript(Tag + " -- defined")
	Step("defined", Both(script.Run(ctx, a, keys, "1").Result()), Both(script.Run(ctx, a, keys, "2").Result()))
	Step("typed", Both(a.HSet(ctx, "one", "field", "value").Result()),
		Both(a.Eval(ctx, Typed, []string{"one"}).Result()))
	Step("script error", Both(a.Eval(ctx, "return redis.error_reply('MY own')", nil).Result()))
}

func scan(a *redis.Client) {
	a.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for index := range 300 {
			pipe.Set(ctx, fmt.Sprintf("scan:%d", index), index, 0)
			pipe.HSet(ctx, "scanned", fmt.Sprintf("f%d", index), index)
		}
		return nil
	})
	found := map[string]string{}
	for keys := a.Scan(ctx, 0, "scan:*", 50).Iterator(); keys.Next(ctx); {
		found[keys.Val()] = ""
	}
	Step("scan", found)
	fields := []string{}
	for items := a.HScan(ctx, "scanned", 0, "", 50).Iterator(); items.Next(ctx); {
		fields = append(fields, items.Val())
	}
	sort.Strings(fields)
	Step("hscan", fields)
}

func errorsAndDatabase(a *redis.Client) {
	other := connected(1)
	defer other.Close()
	Step("errors", Both(a.Get(ctx, "h").Result()), Both(a.Incr(ctx, "e").Result()),
		Both(a.Do(ctx, "NOSUCH", "x").Result()), Both(a.Do(ctx, "GET").Result()))
	Step("database", Both(other.Get(ctx, "e").Result()), Both(other.Set(ctx, "e", "in 1", 0).Result()),
		Both(other.Get(ctx, "e").Result()), Both(a.Get(ctx, "e").Result()))
	connection := a.Conn()
	defer connection.Close()
	Step("select", Both(connection.Select(ctx, 1).Result()), Both(connection.Get(ctx, "e").Result()),
		Both(connection.Select(ctx, 0).Result()), Both(connection.Get(ctx, "e").Result()))
}

func steady(a, b *redis.Client) {
	for index := range 5 {
		key := fmt.Sprintf("steady:%d", index)
		a.Set(ctx, key, index, 0)
		replies := []any{}
		for range SteadyReads {
			replies = append(replies, Both(a.Get(ctx, key).Result()), Both(b.Get(ctx, key).Result()))
		}
		Step("steady", replies)
	}
}

func together(a *redis.Client) {
	var group sync.WaitGroup
	replies := make([]any, 8)
	for index := range replies {
		group.Add(1)
		go func() {
			defer group.Done()
			key, found := fmt.Sprintf("own:%d", index), []any{}
			for range 10 {
				found = append(found, Both(a.Incr(ctx, key).Result()), Both(a.Get(ctx, key).Result()),
					Both(a.Get(ctx, "steady:0").Result()))
			}
			replies[index] = found
		}()
	}
	group.Wait()
	Step("together", replies...)
}

func hot(a, b *redis.Client, turn int) {
	s, n, h, e, d, old, fresh := "hot:string", "hot:number", "hot:hash", "hot:expiring", "hot:deleted",
		"hot:old", "hot:new"
	get := func(client *redis.Client, key string) any { return Both(client.Get(ctx, key).Result()) }
	all := func(client *redis.Client) any { return Both(client.HGetAll(ctx, h).Result()) }
	set := func(client *redis.Client, key, value string) any {
		return Both(client.Set(ctx, key, value, 0).Result())
	}
	t := fmt.Sprint(turn)
	Step("hot values", set(a, s, t), get(a, s), get(a, s), get(b, s), set(b, s, "b"+t), get(a, s),
		get(a, s), get(b, s), Both(a.Incr(ctx, n).Result()), get(a, n), get(a, n),
		Both(b.IncrBy(ctx, n, 10).Result()), get(a, n), get(a, n), get(b, n),
		Both(a.HSet(ctx, h, "f", t).Result()), Both(a.HGet(ctx, h, "f").Result()), all(a), all(a),
		Both(b.HSet(ctx, h, "g", t).Result()), all(a), Both(a.HMGet(ctx, h, "f", "g").Result()),
		Both(b.HDel(ctx, h, "g").Result()), all(a), Both(a.HGet(ctx, h, "g").Result()), all(b),
		Both(a.MGet(ctx, s, n, "missing").Result()), Both(b.MSet(ctx, s, t, n, t).Result()),
		Both(a.MGet(ctx, s, n, "missing").Result()), Both(a.MGet(ctx, s, n, "missing").Result()))
	Step("hot keys", set(a, e, t), get(a, e), Both(a.Expire(ctx, e, time.Minute).Result()), get(a, e),
		get(a, e), Both(b.PExpire(ctx, e, 0).Result()), get(a, e), get(a, e), get(b, e),
		set(a, d, t), get(a, d), Both(b.Del(ctx, d).Result()), get(a, d), get(a, d), set(b, d, "1"),
		get(a, d), Both(a.Del(ctx, d).Result()), get(a, d), get(b, d), set(a, old, t), get(a, old),
		get(a, fresh), get(a, fresh), Both(b.Rename(ctx, old, fresh).Result()), get(a, fresh),
		get(a, fresh), get(a, old), get(b, old))
	Step("hot", results(a.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, s, "m"+t, 0)
		pipe.Get(ctx, s)
		return nil
	})), get(a, s), get(a, s), get(b, s), Both(b.Append(ctx, s, "x").Result()), get(a, s), get(a, s),
		Both(a.Eval(ctx, Set, []string{s}, "e"+t).Result()), get(a, s), get(a, s), get(b, s),
		Both(b.Eval(ctx, Undeclared, nil, "u"+t).Result()), get(a, s), get(a, s), get(b, s),
		results(a.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.Get(ctx, s)
			pipe.Set(ctx, s, "p"+t, 0)
			pipe.Get(ctx, s)
			pipe.Get(ctx, s)
			return nil
		})), get(b, s), get(a, s))
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
	for turn := range Rounds {
		hot(a, b, turn)
	}
	Must(a.Close())
	Must(b.Close())
	Finish()
}
