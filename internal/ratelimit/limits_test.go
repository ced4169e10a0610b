package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/monotonic"
)

// admitted is a call that was.
type admitted struct {
	at   time.Duration
	cost amounts
}

// exceeded says in which window more was admitted than the rate gives in it and the
// burst; "" where in none.
func exceeded(b *bucket, calls []admitted) string {
	for i := range calls {
		var sum amounts
		for _, c := range calls[i:] {
			for kind := range sum {
				sum[kind] += c.cost[kind]
				if most := b.burst[kind] + b.rate[kind]*(c.at-calls[i].at).Seconds(); b.rate[kind] > 0 && sum[kind] > most+1e-3 {
					return fmt.Sprintf("%v of kind %d from %v to %v, of %v at most", sum[kind], kind, calls[i].at, c.at, most)
				}
			}
		}
	}
	return ""
}

// TestWindows asks at random, on one machine, on two that share, and on two that go
// on without their store for a while, with a time that is faked: no window has more
// than its limit and the burst, of each machine that counts by itself, and whoever
// asks for more than there is gets at least 95 % of it.
func TestWindows(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			cfg := config(func(c *Config) { c.Burst = time.Second * time.Duration(1+r.IntN(90)) })
			perMinute := [kinds]int64{int64(1 + r.IntN(600)), int64(1000 + r.IntN(100_000))}
			if which := r.IntN(4); which < kinds {
				perMinute[which] = 0
			}
			var shared store
			machines := 1 + r.IntN(2)
			if machines == 2 {
				shared = &memory{clock: monotonic.New()}
			}
			var keys []*Key
			for range machines {
				l, k := one(t, cfg, perMinute[requests], perMinute[tokens], Options{})
				l.store = shared
				keys = append(keys, k)
			}
			if keys[0] == nil {
				return
			}
			b, begun := keys[0].bucket, monotonic.New()
			pace := time.Duration(float64(time.Second) * r.Float64() * 2 / max(b.rate[requests], 1))
			var calls []admitted
			for range 400 {
				time.Sleep(time.Duration(r.Float64() * float64(pace)))
				cost := amounts{1, float64(1 + r.IntN(int(max(b.burst[tokens]/4, 1))))}
				if _, err := keys[r.IntN(machines)].take(cost); err == nil {
					calls = append(calls, admitted{begun.Now(), cost})
				} else if e := refusal(err); e == nil || e.Fault != llm.Limited {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if what := exceeded(&b, calls); what != "" {
				t.Errorf("seed %d: %s", seed, what)
			}
			var sum amounts
			for _, c := range calls {
				sum[requests], sum[tokens] = sum[requests]+1, sum[tokens]+c.cost[tokens]
			}
			for kind, most := range b.burst {
				if kind == requests && b.rate[kind] > 0 && perMinute[tokens] == 0 && len(calls) < 400 {
					if most += b.rate[kind] * begun.Now().Seconds(); sum[kind] < 0.95*most-1 {
						t.Errorf("seed %d: only %v of %v were admitted", seed, sum[kind], most)
					}
				}
			}
		})
	}
}

// TestRefusals: what is refused is told when to come again, and then it is admitted,
// not before; what is larger than the limit is told so and nothing else.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, k := one(t, config(nil), 10, 1000, Options{})
		for range 10 {
			if _, err := k.take(amounts{1, 10}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := k.take(amounts{1, 10})
		e := refusal(err)
		if e == nil || e.Status != 429 || e.Type != "requests" || e.Code != "rate_limit_exceeded" || e.RetryAfter != 6*time.Second || !e.Unprocessed || e.Advice != llm.NoAdvice {
			t.Fatalf("refused with %+v", e)
		}
		if r, tok := k.Left(); r != (llm.Allowance{Limit: 10, Left: 0, Reset: time.Minute}) || tok != (llm.Allowance{Limit: 1000, Left: 900, Reset: 6 * time.Second}) {
			t.Errorf("left: %v, %v", r, tok)
		}
		time.Sleep(e.RetryAfter - time.Millisecond)
		if _, err := k.take(amounts{1, 10}); refusal(err) == nil {
			t.Error("admitted before its time")
		}
		time.Sleep(time.Millisecond)
		if _, err := k.take(amounts{1, 10}); err != nil {
			t.Error(err)
		}
		time.Sleep(6 * time.Second)
		if _, err = k.take(amounts{1, 600}); err != nil {
			t.Error(err)
		}
		time.Sleep(6 * time.Second)
		if _, err = k.take(amounts{1, 1000}); refusal(err) == nil || refusal(err).Type != "tokens" || refusal(err).RetryAfter != 30*time.Second {
			t.Errorf("tokens: %+v", err)
		}
		if _, err = k.take(amounts{1, 1001}); refusal(err) == nil || refusal(err).Type != "tokens" || refusal(err).RetryAfter != 0 || refusal(err).Advice != llm.DoNotRetry ||
			!strings.Contains(refusal(err).Message, "too large") {
			t.Errorf("larger than the limit: %+v", err)
		}
		if a, byR, byT, byS := l.admitted.Load(), l.refused[byRequests].Load(), l.refused[byTokens].Load(), l.refused[bySize].Load(); a != 12 || byR != 2 || byT != 1 || byS != 1 {
			t.Errorf("%d admitted, refused %d by requests, %d by tokens, %d by size", a, byR, byT, byS)
		}
	})
}

// TestRefusedCostsNothing: a call that the tokens are short for takes no request, and
// one whose store says no leaves nothing here.
func TestRefusedCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &memory{clock: monotonic.New()}
		l, k := one(t, config(nil), 10, 1000, Options{})
		other, elsewhere := one(t, config(nil), 10, 1000, Options{})
		l.store, other.store = shared, shared
		if _, err := elsewhere.take(amounts{1, 900}); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if _, err := k.take(amounts{1, 200}); refusal(err) == nil {
				t.Fatal("admitted what is used elsewhere")
			}
		}
		if k.account.own != (amounts{}) {
			t.Errorf("refused calls have taken %v", k.account.own)
		}
		if r, tok := k.Left(); r.Left != 9 || tok.Left != 100 {
			t.Errorf("left after what was used elsewhere: %v, %v", r, tok)
		}
		if _, err := k.take(amounts{1, 100}); err != nil {
			t.Error(err)
		}
	})
}

// TestWithoutStore: while the store does not answer, calls are counted here or refused,
// as it is configured, and when it is back and has forgotten all, what was used here
// is still known.
func TestWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, mode := range []string{FailOpen, FailClosed} {
			shared := &memory{clock: monotonic.New(), fail: errors.New("away")}
			l, k := one(t, config(func(c *Config) { c.RedisFailure = mode }), 10, 0, Options{})
			l.store = shared
			n := 0
			var last error
			for range 20 {
				if _, err := k.take(amounts{requests: 1}); err == nil {
					n++
				} else {
					last = err
				}
			}
			e := refusal(last)
			if mode == FailClosed {
				if n != 0 || e.Status != 503 || e.Fault != llm.Unavailable || e.RetryAfter == 0 || l.refused[byStore].Load() != 20 || k.account.own != (amounts{}) {
					t.Errorf("closed: %d admitted, %+v", n, e)
				}
				continue
			}
			if n != 10 || e.Status != 429 || l.alone.Load() != 10 {
				t.Errorf("open: %d admitted, %+v", n, e)
			}
			shared.fail = nil
			if _, err := k.take(amounts{requests: 1}); refusal(err) == nil {
				t.Error("what was used here was forgotten with the store")
			}
			time.Sleep(time.Minute)
			if _, err := k.take(amounts{requests: 1}); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestCorrections: what calls really took counts, here and for other machines, with
// the next call or within a second; a debt is paid before anything else is admitted,
// and no debt lasts longer than an hour or so.
func TestCorrections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &memory{clock: monotonic.New()}
		l, k := one(t, config(nil), 0, 6000, Options{})
		other, elsewhere := one(t, config(nil), 0, 6000, Options{})
		l.store, other.store = shared, shared
		counted, err := k.take(amounts{1, 1000})
		if err != nil || !counted {
			t.Fatal(counted, err)
		}
		k.correct(-900, counted)
		if _, tok := k.Left(); tok.Left != 5900 {
			t.Errorf("%d left after a correction", tok.Left)
		}
		if _, err := k.take(amounts{1, 100}); err != nil {
			t.Fatal(err)
		}
		if shared.levels[tokens] != 200 || shared.asked != 2 || shared.told != 0 {
			t.Errorf("the store has %v after %d questions", shared.levels, shared.asked)
		}
		k.correct(11_800, true) // two minutes' worth: 12,000 are used
		ctx, stop := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { l.Run(ctx) })
		time.Sleep(settleEvery)
		synctest.Wait()
		if shared.told != 1 {
			t.Errorf("the store was told %d times", shared.told)
		}
		_, err = elsewhere.take(amounts{1, 100})
		if e := refusal(err); e == nil || e.RetryAfter < 59*time.Second || e.RetryAfter > 61*time.Second {
			t.Errorf("the other machine: %+v", err)
		}
		k.correct(1e18, true)
		stop()
		done.Wait()
		if shared.told != 2 {
			t.Error("what calls took was not told at the end")
		}
		_, err = k.take(amounts{1, 1})
		if e := refusal(err); e == nil || e.RetryAfter < 59*time.Minute || e.RetryAfter > 61*time.Minute {
			t.Errorf("after nonsense: %+v", err)
		}
	})
}

// TestReload: what was used stays used when a limit changes, at the rate that held
// until then, for calls under way too; a key that is new begins with all it may.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, k := one(t, config(nil), 10, 1000, Options{})
		for range 8 {
			if _, err := k.take(amounts{1, 100}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(12 * time.Second) // two requests and 200 tokens come back
		next, err := New(config(nil), []Spec{
			{Name: "renamed", ID: "sha256:0", RequestsPerMinute: 100, TokensPerMinute: 100},
			{Name: "new", ID: "sha256:1", RequestsPerMinute: 5},
			{Name: "free", ID: "sha256:2"},
		}, Options{Before: l})
		if err != nil {
			t.Fatal(err)
		}
		next.TakeOver()
		changed := next.Key("sha256:0")
		if r, tok := changed.Left(); r.Left != 94 || tok.Left != 0 || tok.Reset != 6*time.Minute {
			t.Errorf("left: %v, %v", r, tok)
		}
		if _, err := changed.take(amounts{1, 1}); refusal(err) == nil || refusal(err).Type != "tokens" || !strings.Contains(refusal(err).Message, "`renamed`") {
			t.Errorf("%v", err)
		}
		k.correct(-600, false) // a call of before
		if _, tok := changed.Left(); tok.Left != 100 {
			t.Errorf("%d tokens left after a call of before was put right", tok.Left)
		}
		if r, _ := next.Key("sha256:1").Left(); r.Left != 5 || next.Key("sha256:2") != nil || next.Key("sha256:3") != nil {
			t.Error("other keys have other limits")
		}
	})
}

// TestAtOnce: callers at once get what there is, and no more.
func TestAtOnce(t *testing.T) {
	l, k := one(t, config(nil), 60, 0, Options{})
	var n atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 20 {
				if _, err := k.take(amounts{requests: 1}); err == nil {
					n.Add(1)
				}
				k.Left()
			}
		})
	}
	all.Wait()
	if most := 60 + int64(l.clock.Now().Seconds()) + 1; n.Load() < 60 || n.Load() > most {
		t.Errorf("%d were admitted, of %d", n.Load(), most)
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	bad := Config{RequestsPerMinute: -1, TokensPerMinute: 1e18, Burst: time.Millisecond, MaxOutputEstimate: -1, RedisFailure: "maybe"}
	err := bad.Validate()
	for _, key := range []string{"requests_per_minute", "tokens_per_minute", "burst", "max_output_estimate", "redis_failure"} {
		if err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("nothing is wrong with %s", key)
		}
	}
}
