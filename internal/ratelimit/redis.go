package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/perf"
	"sluice/internal/redis"
)

// redisStore is a store in Redis.
type redisStore struct {
	client *redis.Client
	prefix string
	script *goredis.Script
	took   perf.Histogram
}

// script drains the levels of a key, puts them right and admits a call, all in one
// step. The time is the server's, so that the machines' clocks do not matter; where
// it was set back nothing drains, once. What is not from here counts as nothing.
//
// ARGV: rate a second, burst, most, cost and what is owed of requests, and then of
// tokens. It gives whether the call is admitted, and the levels in thousandths.
const script = clock + `
local was = redis.pcall('HMGET', KEYS[1], 'at', 'requests', 'tokens')
if was.err then
	redis.call('DEL', KEYS[1])
	was = {}
end
local passed = math.max(now - (tonumber(was[1]) or now), 0) / 1000000
local admitted, level, cost, life = 1, {}, {}, 0
for i = 1, 2 do
	local rate, burst, most = tonumber(ARGV[i*5-4]), tonumber(ARGV[i*5-3]), tonumber(ARGV[i*5-2])
	cost[i] = tonumber(ARGV[i*5-1])
	local n = (tonumber(was[i+1]) or 0) - passed * rate
	if not (n > 0) then n = 0 end
	n = n + tonumber(ARGV[i*5])
	if n < 0 then n = 0 end
	if n > most then n = most end
	level[i] = n
	if rate > 0 and cost[i] > 0 and n + cost[i] > burst + 0.000001 then admitted = 0 end
end
for i = 1, 2 do
	local rate = tonumber(ARGV[i*5-4])
	if rate > 0 then
		if admitted == 1 then level[i] = level[i] + cost[i] end
		life = math.max(life, level[i] / rate)
	end
end
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now), 'requests', string.format('%.6f', level[1]), 'tokens', string.format('%.6f', level[2]))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life * 1000 + 1000))
return {admitted, string.format('%.0f', level[1] * 1000), string.format('%.0f', level[2] * 1000)}
`

// clock is where the script has the time from, in microseconds.
const clock = `local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]`

func newRedisStore(u *redis.Use) (*redisStore, error) {
	client, prefix, err := u.Client("store of rate limits", "1:limit:")
	if err != nil {
		return nil, err
	}
	return &redisStore{client: client, prefix: prefix, script: goredis.NewScript(script)}, nil
}

func (s *redisStore) start() { s.client.Start() }
func (s *redisStore) close() { s.client.Close() }

// place is where the levels of a key are. Its ID may be what the key is checked by,
// which is nobody's business there.
func (s *redisStore) place(id string) string {
	sum := sha256.Sum256([]byte("rate limit of " + id))
	return s.prefix + hex.EncodeToString(sum[:16])
}

// arguments are those of the script.
func arguments(k *Key, cost, owed amounts) []any {
	args := make([]any, 0, 5*kinds)
	for i := range cost {
		args = append(args, k.rate[i], k.burst[i], k.most(i), cost[i], owed[i])
	}
	return args
}

// take implements store. It does not end with its client's patience: what the server
// has counted would have to be put right otherwise, and nobody would know whether it
// has.
func (s *redisStore) take(k *Key, cost, owed amounts) (answer, error) {
	var told answer // of no use where it was not waited for
	err := s.client.Do(context.Background(), func(ctx context.Context, server redis.Server) error {
		began := time.Now()
		reply, err := s.script.Run(ctx, server, []string{k.place}, arguments(k, cost, owed)...).Int64Slice()
		s.took.Observe(time.Since(began))
		if err != nil {
			return err
		}
		told, err = read(reply)
		return err
	})
	if err != nil {
		return answer{}, err
	}
	return told, nil
}

var errNonsense = errors.New("the server's reply is not the script's")

// read reads the script's reply.
func read(reply []int64) (a answer, err error) {
	if len(reply) != 1+kinds || reply[0] != 0 && reply[0] != 1 {
		return answer{}, errNonsense
	}
	a.admitted = reply[0] == 1
	for i := range a.levels {
		if a.levels[i] = float64(reply[1+i]) / 1000; a.levels[i] < 0 {
			return answer{}, errNonsense
		}
	}
	return a, nil
}

// settle implements store, in one round trip. What it cannot tell is lost to the
// other machines: it is what calls were estimated wrongly by.
func (s *redisStore) settle(list []owing) {
	_ = s.client.Work(func(ctx context.Context, server redis.Server) error { // the client has counted it
		pipe := redis.Pipeline(server)
		for _, o := range list {
			pipe.Eval(ctx, script, []string{o.key.place}, arguments(o.key, amounts{}, o.owed)...)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// Figures implements perf.Source.
func (s *redisStore) Figures(r perf.Reporter) {
	s.client.Report(r, "rate_limit_redis")
	r.Histogram("rate_limit_redis_seconds", "Round trips to Redis for calls of limited API keys.", &s.took)
}

// Examine implements perf.Examined.
func (s *redisStore) Examine(report func(perf.Condition)) {
	report(s.client.Condition("rate_limit/redis", "Check that the server of cache.redis_url runs and answers within cache.redis_timeout. Until then "+
		"each machine counts by itself what API keys use, or refuses those that are limited: see rate_limit.redis_failure."))
}
