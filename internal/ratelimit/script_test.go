package ratelimit

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/redis"
	"sluice/internal/redis/redistest"
)

// at is the script with a time that is given as the last argument.
func at(t testing.TB) *goredis.Script {
	t.Helper()
	given := strings.Replace(script, clock, "local now = tonumber(ARGV[11])", 1)
	if given == script {
		t.Fatal("the script has its time from elsewhere")
	}
	return goredis.NewScript(given)
}

// TestScript has two machines ask a real server at random, with a time that is given:
// each answer is that of bucket, which TestWindows is about, no window has more than
// it may, and a clock that is set back gives nothing and takes nothing.
func TestScript(t *testing.T) {
	server := redistest.Start(t)
	given := at(t)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		cfg := config(func(c *Config) { c.Burst = time.Second * time.Duration(1+r.IntN(90)) })
		_, k := one(t, cfg, int64(1+r.IntN(600)), int64(1000+r.IntN(100_000)), Options{})
		if seed%4 == 1 {
			k.rate[requests], k.burst[requests] = 0, 0
		}
		var levels amounts
		var calls []admitted
		server.Del(t.Context(), "key")
		now, real := time.Duration(1.7e18), time.Duration(0)
		for range 200 {
			step := time.Duration(r.Float64() * float64(2*time.Second))
			real += step
			before := now
			if now += step; r.IntN(20) == 0 {
				now -= time.Hour // the clock is set back
			}
			now = now.Truncate(time.Microsecond)
			cost, owed := amounts{1, float64(1 + r.IntN(int(max(k.burst[tokens]/3, 1))))}, amounts{tokens: float64(r.IntN(200) - 100)}
			if r.IntN(10) == 0 {
				cost = amounts{}
			}
			reply, err := given.Run(t.Context(), server, []string{"key"}, append(arguments(k, cost, owed), now.Microseconds())...).Int64Slice()
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(reply)
			if err != nil {
				t.Fatal(err)
			}
			levels = k.filled(k.drained(levels, now-before), owed)
			ok := k.room(levels, cost)
			if ok {
				levels = k.filled(levels, cost)
				if cost[requests] > 0 && owed[tokens] >= 0 {
					calls = append(calls, admitted{real, amounts{cost[requests], 0}})
				}
			}
			for i := range levels {
				if math.Abs(got.levels[i]-levels[i]) > 0.01 || got.admitted != ok {
					t.Fatalf("seed %d: the server says %v, bucket %v %v, for %v and %v", seed, got, ok, levels, cost, owed)
				}
			}
		}
		if what := exceeded(&k.bucket, calls); what != "" {
			t.Errorf("seed %d: %s", seed, what)
		}
	}
}

// TestScriptNonsense: what somebody else has put into the place counts as nothing or is
// bounded, and is gone once it has drained.
func TestScriptNonsense(t *testing.T) {
	server := redistest.Start(t)
	l, k := one(t, config(nil), 10, 0, Options{Redis: &redis.Use{URL: server.URL(), Timeout: patient, Prefix: "p:", Servers: &redis.Servers{Patience: patient}}})
	l.TakeOver()
	defer l.Close()
	until(t, "up", isUp(l))
	ctx, name, s := t.Context(), k.place, l.store
	for what, put := range map[string]func(){
		"a text":       func() { server.Set(ctx, name, "x", 0) },
		"a list":       func() { server.LPush(ctx, name, "x") },
		"no numbers":   func() { server.HSet(ctx, name, "at", "x", "requests", "y", "tokens", "z") },
		"not a number": func() { server.HSet(ctx, name, "at", "nan", "requests", "nan", "tokens", "nan") },
		"infinite":     func() { server.HSet(ctx, name, "at", "-inf", "requests", "1", "tokens", "0") },
		"the future":   func() { server.HSet(ctx, name, "at", "9e18", "requests", "3", "tokens", "-5") },
		"parts":        func() { server.HSet(ctx, name, "requests", "-3") },
	} {
		server.Del(ctx, name)
		put()
		a, err := s.take(k, amounts{requests: 1}, amounts{})
		if err != nil || !a.admitted || a.levels[requests] > 5 || a.levels[requests] < 1 {
			t.Errorf("%s: %+v, %v", what, a, err)
		}
		if left := server.PTTL(ctx, name).Val(); left <= 0 || left > time.Minute {
			t.Errorf("%s: stays for %v", what, left)
		}
	}
	server.HSet(ctx, name, "at", time.Now().UnixMicro(), "requests", "inf")
	if a, err := s.take(k, amounts{requests: 1}, amounts{}); err != nil || a.admitted || a.levels[requests] > k.most(requests) {
		t.Errorf("infinitely much: %+v, %v", a, err)
	}
	if left := server.PTTL(ctx, name).Val(); left <= 0 || left > 62*time.Minute {
		t.Errorf("infinitely much stays for %v", left)
	}
	if !strings.HasPrefix(name, "p:1:limit:") || strings.Contains(name, "sha256") {
		t.Errorf("the key is called %s", name)
	}
}

func TestRead(t *testing.T) {
	for _, reply := range [][]int64{nil, {1}, {1, 2}, {2, 0, 0}, {1, -1, 0}, {1, 0, 0, 0}} {
		if _, err := read(reply); err == nil {
			t.Errorf("%v was read", reply)
		}
	}
	if a, err := read([]int64{1, 1500, 2000}); err != nil || !a.admitted || a.levels != (amounts{1.5, 2}) {
		t.Errorf("%v, %v", a, err)
	}
}
