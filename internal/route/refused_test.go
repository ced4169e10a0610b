package route

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// full is what stands before an upstream says where too many wait for it.
func full(after time.Duration) func() error {
	return func() error {
		e := llm.UpstreamError("x", llm.Busy, 503, "overloaded", "%s is full", nil)
		e.Unprocessed, e.RetryAfter = true, after
		return e
	}
}

// lame is what an upstream says that has not what is asked for.
func lame() error {
	e := llm.Errorf(404, "not_supported", "no")
	e.Unoffered = true
	return e
}

func late() error { return llm.Late() }

// TestRefusedUnsent: what is refused before it was sent goes to others that serve the
// model. It does not count as sent, nor as a try, and the client may try again.
func TestRefusedUnsent(t *testing.T) {
	cut := transport(502, codeCut, false)
	for _, c := range []struct {
		name     string
		fail     [3]func() error // a, b and the fallback; nil: it answers
		as       func(*llm.Request)
		want     string
		calls    [3]int
		attempts int
		falls    uint64 // times that the fallback was sent to
		after    time.Duration
		advice   llm.Advice
	}{
		{name: "not offered by one", fail: [3]func() error{lame}, want: "b:m", calls: [3]int{1, 1, 0}},
		{name: "offered by the fallback alone", fail: [3]func() error{lame, lame}, want: "c:x", calls: [3]int{1, 1, 1}, falls: 1},
		{name: "offered by none", fail: [3]func() error{lame, lame, lame}, want: "404 not_supported", calls: [3]int{1, 1, 1}},
		{name: "not offered by one, and one fails", fail: [3]func() error{lame, status(429), lame}, want: "429 upstream_error", calls: [3]int{1, 3, 1}, attempts: 3, advice: llm.DoNotRetry},
		{name: "one fails, and not offered by the others", fail: [3]func() error{status(400)}, want: "400 upstream_error", calls: [3]int{1, 0, 0}, attempts: 1},
		{name: "too late at one", fail: [3]func() error{late}, want: "b:m", calls: [3]int{1, 1, 0}},
		{name: "too late at both", fail: [3]func() error{late, late}, want: "c:x", calls: [3]int{1, 1, 1}, falls: 1},
		{name: "too late at all", fail: [3]func() error{late, late, late}, want: "504 deadline_exceeded", calls: [3]int{1, 1, 1}},
		{name: "the deadline has passed", fail: [3]func() error{late}, as: func(req *llm.Request) { req.Deadline = time.Now() },
			want: "504 deadline_exceeded", calls: [3]int{1, 0, 0}},
		{name: "full", fail: [3]func() error{full(5 * time.Second)}, want: "b:m", calls: [3]int{1, 1, 0}},
		{name: "all full", fail: [3]func() error{full(5 * time.Second), full(9 * time.Second), full(2 * time.Second)}, want: "503 overloaded",
			calls: [3]int{1, 1, 1}, after: 2 * time.Second},
		{name: "full, and one fails", fail: [3]func() error{full(time.Second), status(429), full(time.Second)}, want: "429 upstream_error",
			calls: [3]int{1, 3, 1}, attempts: 3},
		{name: "too late, and all others fail", fail: [3]func() error{late, refused, refused}, want: "502 upstream_unreachable",
			calls: [3]int{1, 2, 1}, attempts: 3, falls: 1},
		{name: "one may have acted, and the others are full", fail: [3]func() error{cut, full(time.Second), full(time.Second)}, as: func(req *llm.Request) { req.Stream = true },
			want: "502 upstream_cut", calls: [3]int{1, 1, 1}, attempts: 1, advice: llm.DoNotRetry},
		{name: "one is lacking, and one may have acted", fail: [3]func() error{lacks, cut}, want: "502 upstream_cut",
			calls: [3]int{1, 1, 0}, attempts: 2, advice: llm.DoNotRetry},
		{name: "the pause would be too long", fail: [3]func() error{status(429, time.Second), full(3 * time.Second), full(2 * time.Second)},
			as:   func(req *llm.Request) { req.Deadline = time.Now().Add(time.Second) },
			want: "503 overloaded", calls: [3]int{1, 1, 1}, attempts: 1, after: 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var fakes []*fake
			for i, name := range []string{"a", "b", "c"} {
				f := &fake{name: name}
				if c.fail[i] != nil {
					f.serve = always(c.fail[i])
				}
				fakes = append(fakes, f)
			}
			cfg := Default()
			cfg.Fallbacks = map[string][]string{"m": {"c/x"}}
			r := setupStatic(t, cfg, map[string][]string{"a": {"m"}, "b": {"m"}, "c": {"x"}}, fakes...)
			req := chat("m")
			req.Deadline = time.Now().Add(time.Minute)
			if c.as != nil {
				c.as(req)
			}
			got, e := askErr(t, r, req)
			is(t, c.name, got, c.want)
			for i, f := range fakes {
				if f.count() != c.calls[i] {
					t.Errorf("%s: %s was asked %d times, want %d", c.name, f.name, f.count(), c.calls[i])
				}
			}
			if e != nil && (e.Attempts != c.attempts || e.Advice != c.advice || c.after > 0 && e.RetryAfter != c.after) {
				t.Errorf("%s: %d attempts, advice %d, Retry-After %v", c.name, e.Attempts, e.Advice, e.RetryAfter)
			}
			var retries uint64
			for o := range r.retries {
				retries += r.retries[o].Load()
			}
			if falls := r.fallbacks.Load(); retries != uint64(max(c.attempts-1, 0)) || falls != c.falls || r.retries[busy].Load() > 0 {
				t.Errorf("%s: %d retries, %d fallbacks", c.name, retries, falls)
			}
			idle(t, r)
		})
	}
}

// TestRefusedIsNoAttempt: the reply says how often the request was sent.
func TestRefusedIsNoAttempt(t *testing.T) {
	for _, fail := range []func() error{full(time.Second), late} {
		r := serving(t, Default(), &fake{name: "a", serve: always(fail)}, &fake{name: "b"})
		var out recorder
		if err := r.Serve(t.Context(), chat("m"), &out); err != nil || out.head.Attempts > 1 {
			t.Errorf("%d attempts, %v", out.head.Attempts, err)
		}
	}
}

// TestLeavesUnsent: a request whose client leaves while it waits for its turn at another
// upstream was not sent there, be it as a retry or to a fallback; whoever had it before
// may have acted on it.
func TestLeavesUnsent(t *testing.T) {
	for _, c := range []struct {
		before      func() error
		queued      bool
		attempts    int
		unprocessed bool
	}{
		{status(429), true, 1, true},
		{transport(502, "upstream_cut", false), true, 1, false},
		{status(429), false, 2, false},
	} {
		ctx, leave := context.WithCancel(t.Context())
		a := &fake{name: "a", serve: always(c.before)}
		b := &fake{name: "b", serve: func(context.Context, int, *llm.Request, llm.Sink) error {
			leave()
			if c.queued {
				return llm.Unsent(ctx.Err())
			}
			return llm.After(ctx.Err(), time.Second, 0, 0)
		}}
		cfg := Default()
		cfg.Fallbacks = map[string][]string{"m": {"b/x"}}
		r := setupStatic(t, cfg, map[string][]string{"a": {"m"}, "b": {"x"}}, a, b)
		req := chat("m")
		req.Stream = true
		e := llm.AsError(r.Serve(ctx, req, &recorder{}))
		if e.Fault != llm.Left || e.Attempts != c.attempts || e.Unprocessed != c.unprocessed || b.count() != 1 {
			t.Errorf("%v: fault %v, %d attempts, unprocessed: %v", c.before(), e.Fault, e.Attempts, e.Unprocessed)
		}
		var retries uint64
		for o := range r.retries {
			retries += r.retries[o].Load()
		}
		if again := uint64(c.attempts - 1); retries != again || r.fallbacks.Load() != again || r.byName["b"].results[cancelled].Load() != 1 {
			t.Errorf("%v: %d retries, %d fallbacks, %d cancelled", c.before(), retries, r.fallbacks.Load(), r.byName["b"].results[cancelled].Load())
		}
		idle(t, r)
		leave()
	}
}

// TestLeavesQueued: that a client waited for its turn until it left says nothing of how
// soon an upstream answers.
func TestLeavesQueued(t *testing.T) {
	for _, queued := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := func(ctx context.Context, _ int, req *llm.Request, _ llm.Sink) error {
				begun := time.Now()
				if req.ID != "leaves" {
					return sleep(ctx, 100*time.Millisecond)
				}
				<-ctx.Done()
				if queued {
					return llm.After(ctx.Err(), time.Since(begun), 0, 0)
				}
				return ctx.Err()
			}
			r := serving(t, Default(), &fake{name: "a", serve: h}, &fake{name: "b", serve: h})
			for range 4 {
				ask(t, r, chat("m"))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			req := chat("m")
			req.ID = "leaves"
			if err := r.Serve(ctx, req, &recorder{}); err == nil {
				t.Error("it was answered")
			}
			most := 0.0
			for _, name := range []string{"a", "b"} {
				for _, e := range r.byName[name].load.replicas.find("m").latest() {
					most = max(most, e.seconds(r.clock.Now()))
				}
			}
			if slow := most > 0.11; slow == queued {
				t.Errorf("queued: %v; first events are expected after %.1f s", queued, most)
			}
		})
	}
}

// TestKnownWhereAnswered: a conversation is known at the upstream that answered it, and
// at none that refused it or failed, whether others could be asked or not.
func TestKnownWhereAnswered(t *testing.T) {
	had := func(r *Router) uint64 {
		var p prefix
		p.read(talk(0, 1), "m")
		return r.prefixes.had(p.marks[p.n-1].hash)
	}
	for name, fail := range map[string]func() error{"full": full(time.Second), "too late": late, "fails": refused, "is limited": status(429, time.Minute)} {
		// Whichever is asked first refuses.
		n := 0
		h := func(ctx context.Context, _ int, _ *llm.Request, _ llm.Sink) error {
			if n++; n == 1 {
				return fail()
			}
			return nil
		}
		a, b := &fake{name: "a", serve: h}, &fake{name: "b", serve: h}
		r := serving(t, Default(), a, b)
		got := ask(t, r, talk(0, 1))
		if at := r.byName[got[:1]]; at == nil || had(r) != at.load.bit {
			t.Errorf("%s: answered by %s, known at %b", name, got, had(r))
		}
		if n != 2 {
			t.Errorf("%s: asked %d times", name, n)
		}
		next, calls := got[:1], map[string]int{"a": a.count(), "b": b.count()}
		is(t, name+": the next turn", ask(t, r, talk(0, 1, 2, 3)), got)
		if calls[next]+1 != map[string]int{"a": a.count(), "b": b.count()}[next] || n != 3 {
			t.Errorf("%s: the next turn went astray", name)
		}
	}
	// The only one that can be asked now.
	r := serving(t, Default(), &fake{name: "a"}, &fake{name: "b"})
	r.byName["a"].cooling.start("m", time.Minute)
	ask(t, r, talk(0, 1))
	if had(r) != r.byName["b"].load.bit {
		t.Errorf("the only one: known at %b", had(r))
	}
	// What nobody answers, and what only a fallback does, is known nowhere.
	cfg := Default()
	cfg.Fallbacks = map[string][]string{"m": {"c/x"}}
	none := always(full(time.Second))
	r = setupStatic(t, cfg, map[string][]string{"a": {"m"}, "b": {"m"}, "c": {"x"}},
		&fake{name: "a", serve: none}, &fake{name: "b", serve: none}, &fake{name: "c"})
	is(t, "fallback", ask(t, r, talk(0, 1)), "c:x")
	if r.prefixes.buckets.Load() != nil {
		t.Error("something is known of what a fallback answered")
	}
}

// TestQueueIsNoTime: how long a request waits for its turn at the gateway says nothing
// of how long the upstream takes, but those that wait are load.
func TestQueueIsNoTime(t *testing.T) {
	const took, queue = 100 * time.Millisecond, 20 * time.Second
	for name, serve := range map[string]func(ctx context.Context, out llm.Sink) error{
		"answered": func(ctx context.Context, out llm.Sink) error {
			if err := sleep(ctx, queue+took); err != nil {
				return err
			}
			return out.Start(&llm.Head{Status: 200, Queued: queue})
		},
		"timed out": func(ctx context.Context, _ llm.Sink) error {
			if err := sleep(ctx, queue+took); err != nil {
				return err
			}
			e := transport(504, codeTimeout, false)().(*llm.Error)
			e.Queued = queue
			return e
		},
		"refused in the end": func(ctx context.Context, _ llm.Sink) error {
			if err := sleep(ctx, queue); err != nil {
				return err
			}
			e := full(time.Second)().(*llm.Error)
			e.Queued = queue
			return e
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			queued := false
			a := llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
				if queued {
					return serve(ctx, out)
				}
				if err := sleep(ctx, took); err != nil {
					return err
				}
				return answer(out, "a")
			})
			r := balanced(t, balanceLeastLoaded, nil, a, quick())
			rep := r.ups[0].load.replicas.make("m")
			for range 3 {
				if err := r.Serve(t.Context(), chat("up0/m"), discard{}); err != nil {
					t.Fatal(err)
				}
			}
			queued = true
			done := make(chan error, 1)
			go func() { done <- r.Serve(t.Context(), chat("up0/m"), discard{}) }()
			synctest.Wait()
			if rep.inFlight.Load() != 1 {
				t.Error("one that waits is no load")
			}
			<-done
			if got := rep.expected(r.clock.Now(), 0); got < 0.09 || got > 0.11 {
				t.Errorf("%s: %.3f s are expected, want %v", name, got, took)
			}
			idle(t, r)
		})
	}
	// Those that were queued are no load that the upstream is known to bear.
	rep := &replica{}
	rep.first[0].observe(time.Second, took, 0)
	rep.first[0].observe(2*time.Second, took, untold)
	rep.inFlight.Store(24)
	if got := rep.expected(2*time.Second, 0); got < 0.39 || got > 0.41 {
		t.Errorf("with 24 in flight %.3f s", got)
	}
}

// TestRefusedProbe: a request that is to find out whether an upstream or its model is
// back, and is refused before it was sent, decides nothing; the next one finds out.
func TestRefusedProbe(t *testing.T) {
	for name, fail := range map[string]func() error{"connections": refused, "model": status(500)} {
		for _, refusal := range []func() error{full(time.Second), late} {
			synctest.Test(t, func(t *testing.T) {
				what := fail
				a := &fake{name: "a", serve: func(context.Context, int, *llm.Request, llm.Sink) error {
					if what != nil {
						return what()
					}
					return nil
				}}
				cfg := oneAttempt()
				r := serving(t, cfg, a)
				for range cfg.Breaker.Failures {
					ask(t, r, chat("m"))
				}
				n := a.count()
				if _, e := askErr(t, r, chat("m")); a.count() != n || e == nil || e.Fault != llm.Unavailable {
					t.Fatalf("%s: the breaker is closed", name)
				}
				time.Sleep(cfg.Breaker.OpenFor)
				what = refusal
				for range 3 { // each finds out
					ask(t, r, chat("m"))
				}
				if a.count() != n+3 || r.ups[0].load.back.Load() != 0 {
					t.Errorf("%s: %d probes, back at %d", name, a.count()-n, r.ups[0].load.back.Load())
				}
				what = nil
				is(t, name, ask(t, r, chat("m")), "a:m")
				if h := r.Health()[0]; h.Breaker != "closed" || len(h.Failing) > 1 {
					t.Errorf("%s: %+v", name, h)
				}
			})
		}
	}
}

// TestRefusalsDoNotEject: a replica that is full for all that it gets is no outlier,
// and not one that others do better than.
func TestRefusalsDoNotEject(t *testing.T) {
	for _, refusal := range []func() error{full(time.Second), late} {
		a, b := &fake{name: "a", serve: always(refusal)}, &fake{name: "b"}
		r := serving(t, Default(), a, b)
		for range 50 {
			is(t, "a request", ask(t, r, chat("m")), "b:m")
		}
		if r.ups[0].load.ejections.Load() != 0 || r.ups[0].circuits.find("m") != nil || r.ups[0].cooling.left("m") != 0 || a.count() == 0 {
			t.Errorf("%d ejections, cools for %v, asked %d times", r.ups[0].load.ejections.Load(), r.ups[0].cooling.left("m"), a.count())
		}
	}
}
