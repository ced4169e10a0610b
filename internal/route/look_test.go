package route

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// models asks for the list, or for one model of it, with a policy. It returns
// the cache status and age in seconds, or the error's status and code.
func models(t *testing.T, r *Router, name string, p llm.CachePolicy) string {
	t.Helper()
	req := &llm.Request{Op: llm.ListModels, Cache: p}
	if name != "" {
		req.Op, req.Model = llm.GetModel, name
	}
	var out recorder
	if err := r.Serve(t.Context(), req, &out); err != nil {
		if e, ok := err.(*llm.Error); ok {
			return fmt.Sprint(e.Status, " ", e.Code)
		}
		return err.Error()
	}
	if len(out.body) == 0 || int64(len(out.body)) != out.head.Length {
		t.Errorf("%d bytes, announced %d", len(out.body), out.head.Length)
	}
	return fmt.Sprint(out.head.Cache, " ", out.head.Age.Seconds())
}

var (
	noCache      = llm.CachePolicy{NoCache: true}
	onlyIfCached = llm.CachePolicy{OnlyIfCached: true}
)

// slowly has a list come a second after it is asked for, as long as up says so.
func slowly(up func(n int) bool) func(context.Context, int, llm.Sink) error {
	return func(ctx context.Context, n int, out llm.Sink) error {
		time.Sleep(time.Second)
		if !up(n) {
			return refused()
		}
		return having("m")(ctx, n, out)
	}
}

func TestListIsFreshThenStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", list: slowly(func(n int) bool { return n < 3 })}
		r := setup(t, Default(), a)
		start(t, r)
		is(t, "first", models(t, r, "", llm.CachePolicy{}), "HIT 0") // waited for
		time.Sleep(20 * time.Second)
		for _, name := range []string{"", "m", "a/m"} {
			is(t, "fresh "+name, models(t, r, name, llm.CachePolicy{}), "HIT 20")
		}
		// It is read again before it is stale, and used meanwhile.
		time.Sleep(defaultTTL - 20*time.Second - listTimeout + time.Second/2)
		is(t, "while refreshed", models(t, r, "", llm.CachePolicy{}), "HIT 295.5")
		time.Sleep(time.Second)
		is(t, "refreshed", models(t, r, "", llm.CachePolicy{}), "HIT 0.5")
		// Now the upstream is down.
		time.Sleep(defaultTTL - time.Second)
		is(t, "not read in time", models(t, r, "m", llm.CachePolicy{}), "HIT 299.5")
		time.Sleep(time.Second / 2)
		is(t, "stale", models(t, r, "", llm.CachePolicy{}), "STALE 300")
		time.Sleep(time.Hour)
		for _, p := range []llm.CachePolicy{{}, onlyIfCached, {MinFresh: time.Minute}, {MaxStale: time.Second}, {MaxStale: llm.AnyStale},
			{HasMaxAge: true, MaxStale: llm.AnyStale}, {HasMaxAge: true, MaxAge: time.Hour, MaxStale: 300 * time.Second}} {
			is(t, fmt.Sprint("old, ", p), models(t, r, "", p), "STALE 3900")
		}
	})
}

func TestModelsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			ttl   time.Duration
			lists int // in the first 100 s
		}{{0, 1}, {time.Minute, 2}, {10 * time.Second, 12}, {time.Millisecond, 100}} {
			a := &fake{name: "a", list: having("m")}
			r, err := New(Default(), []Upstream{{Name: "a", Handler: a}}, Options{ModelsTTL: c.ttl})
			if err != nil {
				t.Fatal(err)
			}
			start(t, r)
			time.Sleep(100*time.Second - time.Millisecond)
			if a.lists() != c.lists {
				t.Errorf("TTL %v: read %d times, want %d", c.ttl, a.lists(), c.lists)
			}
		}
	})
}

// A policy that wants a newer list has it read once for all who ask, at most
// once a second.
func TestPolicyForcesReading(t *testing.T) {
	for name, p := range map[string]llm.CachePolicy{
		"no-cache": noCache, "no-store": {NoStore: true},
		"max-age":                {HasMaxAge: true, MaxAge: 9 * time.Second},
		"max-age and max-stale":  {HasMaxAge: true, MaxAge: 5 * time.Second, MaxStale: 4 * time.Second},
		"max-age 0, model's own": {HasMaxAge: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			down := false
			a := &fake{name: "a", list: slowly(func(int) bool { return !down })}
			r := setup(t, Default(), a)
			start(t, r)
			time.Sleep(11 * time.Second)
			enough := llm.CachePolicy{HasMaxAge: true, MaxAge: 10 * time.Second}
			is(t, name+": new enough", models(t, r, "", enough), "HIT 10")
			burst := func(want string) {
				t.Helper()
				got := make(chan string)
				for i := range 10 {
					go func() { got <- models(t, r, []string{"", "m"}[i%2], p) }()
				}
				for range 10 {
					is(t, name, <-got, want)
				}
			}
			begin := time.Now()
			burst("MISS 0")
			if a.lists() != 2 || time.Since(begin) != time.Second {
				t.Errorf("%s: read %d times, %v", name, a.lists(), time.Since(begin))
			}
			time.Sleep(9*time.Second + time.Millisecond)
			down = true
			burst("STALE 10.001")
			if a.lists() != 3 {
				t.Errorf("%s: read %d times", name, a.lists())
			}
		})
	}
}

func TestForcedAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := make(chan struct{})
		a := &fake{name: "a", list: func(ctx context.Context, n int, out llm.Sink) error {
			select {
			case <-down:
				return refused()
			default:
				return having("m")(ctx, n, out)
			}
		}}
		r := setup(t, Default(), a)
		start(t, r)
		time.Sleep(time.Minute)
		for range 100 {
			is(t, "well", models(t, r, "", noCache), "MISS 0")
		}
		if a.lists() != 2 {
			t.Errorf("read %d times", a.lists())
		}
		close(down)
		time.Sleep(readEvery)
		for range 100 {
			is(t, "down", models(t, r, "", noCache), "STALE 1")
		}
		got := make(reporter)
		r.Figures(got)
		if a.lists() != 3 || got["route_model_list_replies_total cache miss"] != 100 || got["route_model_list_replies_total cache stale"] != 100 {
			t.Errorf("read %d times; %v", a.lists(), got)
		}
	})
}

// A model's reply tells the state of the list that has it, and waits for no
// other.
func TestModelOfOneOfTwoLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := make(chan struct{})
		a := &fake{name: "a", list: having("m")}
		b := &fake{name: "b", list: func(ctx context.Context, n int, out llm.Sink) error {
			select {
			case <-hanging:
				<-ctx.Done()
				return ctx.Err()
			default:
				return having("n")(ctx, n, out)
			}
		}}
		r := setupStatic(t, Default(), map[string][]string{"c": {"fixed"}}, a, b, &fake{name: "c"})
		start(t, r)
		close(hanging)
		time.Sleep(defaultTTL + time.Second)
		is(t, "well", models(t, r, "m", llm.CachePolicy{}), "HIT 6")
		is(t, "hangs", models(t, r, "n", llm.CachePolicy{}), "STALE 301")
		is(t, "both", models(t, r, "", llm.CachePolicy{}), "STALE 301")
		is(t, "configured", models(t, r, "fixed", llm.CachePolicy{}), "HIT 0")
		begin := time.Now()
		is(t, "configured, forced", models(t, r, "c/fixed", noCache), "HIT 0")
		is(t, "well, forced", models(t, r, "a/m", noCache), "MISS 0")
		if d := time.Since(begin); d != 0 {
			t.Errorf("waited %v", d)
		}
		is(t, "both, forced", models(t, r, "", noCache), "STALE 306")
		if d := time.Since(begin); d != listTimeout {
			t.Errorf("waited %v", d)
		}
	})
}

func TestOnlyIfCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", list: slowly(func(n int) bool { return n > 1 })}
		r := setup(t, Default(), a, &fake{name: "b", list: having()})
		start(t, r)
		if r.Ready() == nil {
			t.Error("a list that is being read is there")
		}
		time.Sleep(time.Millisecond) // b's is there
		is(t, "of b", models(t, r, "", onlyIfCached), "HIT 0.001")
		is(t, "model", models(t, r, "m", onlyIfCached), "504 not_cached")
		time.Sleep(failedEvery + 5*time.Second)
		is(t, "model that came", models(t, r, "m", onlyIfCached), "HIT 3.001")
		is(t, "model of none", models(t, r, "none", onlyIfCached), "504 not_cached")
		is(t, "with no-cache", models(t, r, "", llm.CachePolicy{OnlyIfCached: true, NoCache: true}), "504 not_cached")
		is(t, "with max-age", models(t, r, "m", llm.CachePolicy{OnlyIfCached: true, HasMaxAge: true}), "504 not_cached")
		if a.lists() != 2 || a.count() != 0 {
			t.Errorf("asked %d and %d times", a.lists(), a.count())
		}
		// Nothing is there before the start, and nothing is waited for.
		begin := time.Now()
		is(t, "before", models(t, setup(t, Default(), a), "", onlyIfCached), "504 not_cached")
		only := setupStatic(t, Default(), map[string][]string{"a": {"m"}}, a)
		for _, p := range []llm.CachePolicy{onlyIfCached, noCache, {}} {
			is(t, "configured", models(t, only, "", p), "HIT 0")
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("waited %v", d)
		}
	})
}

// An upstream that knows no lists makes no reply stale.
func TestForcedWithoutLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, Default(), &fake{name: "a"})
		start(t, r)
		is(t, "empty", models(t, r, "", llm.CachePolicy{}), "HIT 0")
		is(t, "forced", models(t, r, "", noCache), "MISS 0")
		// Without Run nothing is read.
		r = setup(t, Default(), &fake{name: "a", list: having("m")})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Run(ctx); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		got := models(t, r, "", noCache)
		if strings.HasPrefix(got, "MISS") || time.Since(begin) != 0 {
			t.Errorf("%s after %v", got, time.Since(begin))
		}
	})
}
