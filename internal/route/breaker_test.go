package route

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/monotonic"
	"sluice/internal/testkit"
)

func oneAttempt() Config {
	cfg := Default()
	cfg.Retry.MaxAttempts = 1
	return cfg
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		a := &fake{name: "a"}
		a.serve = func(context.Context, int, *llm.Request, llm.Sink) error {
			if down {
				return refused()
			}
			return nil
		}
		r := serving(t, oneAttempt(), a)
		for range r.cfg.Breaker.Failures {
			is(t, "closed", ask(t, r, chat("m")), "502 upstream_unreachable")
		}
		// Each attempt that fails doubles the time until the next.
		for i, wait := range []time.Duration{625, 1250, 2500, 5000, 10000, 10000} {
			wait *= time.Millisecond
			time.Sleep(wait / 5)
			_, e := askErr(t, r, chat("m"))
			if e == nil || e.Status != 503 || e.Code != "upstream_unavailable" || e.RetryAfter != seconds(wait*4/5) || a.count() != 5+i {
				t.Errorf("open for %v: %+v, %d calls", wait, e, a.count())
			}
			is(t, "state", r.Health()[0].Breaker, "open")
			time.Sleep(wait * 4 / 5)
			is(t, "state", r.Health()[0].Breaker, "half-open")
			if i == 5 {
				break
			}
			is(t, "probe", ask(t, r, chat("m")), "502 upstream_unreachable")
			is(t, "open again", ask(t, r, chat("m")), "503 upstream_unavailable")
		}
		down = false
		is(t, "probe", ask(t, r, chat("m")), "a:m")
		is(t, "state", r.Health()[0].Breaker, "closed")
		is(t, "closed", ask(t, r, chat("m")), "a:m")
		if h := r.Health()[0]; h.Failures != 0 || h.RetryIn != 0 {
			t.Errorf("health %+v", h)
		}
		// What has been well for long begins anew, and what fails again soon goes on.
		for _, c := range []struct{ well, wait time.Duration }{
			{r.cfg.Breaker.OpenFor, 625 * time.Millisecond}, {r.cfg.Breaker.OpenFor - 1, 1250 * time.Millisecond}, {0, 2500 * time.Millisecond},
		} {
			time.Sleep(c.well)
			down = true
			for range r.cfg.Breaker.Failures {
				is(t, "closed", ask(t, r, chat("m")), "502 upstream_unreachable")
			}
			if got := r.Health()[0].RetryIn; got != c.wait {
				t.Errorf("after %v in which it was well it is open for %v", c.well, got)
			}
			time.Sleep(c.wait)
			down = false
			is(t, "probe", ask(t, r, chat("m")), "a:m")
		}
	})
}

// What counts as a failure of the upstream.
func TestBreakerJudges(t *testing.T) {
	for _, c := range []struct {
		name  string
		fail  func() error
		opens bool
	}{
		{"connect error", refused, true}, {"cut", transport(502, codeCut, false), true},
		{"timeout", transport(504, codeTimeout, false), true}, {"500", status(500), true}, {"503", status(503), true},
		{"429", status(429), false}, {"400", status(400), false}, {"401", status(401), false}, {"501", status(501), false},
		{"503 in the stream", inStream(503), true}, {"400 in the stream", inStream(400), false},
		{"another gateway's code in the stream", func() error { return &llm.Error{Fault: llm.Told, Status: 503, Code: codeBusy} }, true},
		{"busy", transport(503, codeBusy, true), false}, {"a lack of the gateway's own", lacks, false}, {"internal", func() error { return fmt.Errorf("x") }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &fake{name: "a", serve: always(c.fail)}
			r := serving(t, oneAttempt(), a)
			for range 20 {
				_ = r.Serve(t.Context(), chat("m"), &recorder{})
			}
			if opened := a.count() == 5; opened != c.opens {
				t.Errorf("%s: %d calls", c.name, a.count())
			}
		})
	}
	// A success between failures begins the count anew.
	a := &fake{name: "a", serve: func(_ context.Context, n int, _ *llm.Request, _ llm.Sink) error {
		if n%5 != 0 {
			return refused()
		}
		return nil
	}}
	r := serving(t, oneAttempt(), a)
	for range 50 {
		ask(t, r, chat("m"))
	}
	if a.count() != 50 {
		t.Errorf("%d calls", a.count())
	}
}

// What the gateway refuses itself, as it cannot be sent or the client's body is at
// fault, says nothing of the upstream: neither that it fails nor that it works.
func TestOwnRefusalsTellNothing(t *testing.T) {
	for name, own := range map[string]func() error{
		"cannot be sent":     func() error { return llm.Errorf(400, "invalid_request", "m") },
		"the body is large":  func() error { return llm.Errorf(413, "request_too_large", "m") },
		"the body fails":     func() error { return fmt.Errorf("read body: %w", llm.Errorf(408, "timeout", "m")) },
		"no such connection": transport(501, "upgrade_not_supported", false),
		"internal":           func() error { return llm.Errorf(500, "internal_error", "m") },
	} {
		a := &fake{name: "a", serve: func(_ context.Context, n int, _ *llm.Request, _ llm.Sink) error {
			if n%3 == 0 {
				return own()
			}
			return refused()
		}}
		r := serving(t, oneAttempt(), a)
		for range 20 {
			ask(t, r, chat("m"))
		}
		if h := r.Health()[0]; a.count() != 7 || h.Breaker != "open" || len(h.Failing) > 0 {
			t.Errorf("%s: %d calls, %+v", name, a.count(), h)
		}
	}
}

// TestToldAfterLeaving: clients leave at the event that tells of an error, which is
// the upstream's for all that.
func TestToldAfterLeaving(t *testing.T) {
	a := &fake{name: "a", serve: func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
		if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream}); err != nil {
			return err
		}
		return &llm.Error{Fault: llm.Told, Status: 502, Code: "x", Message: "m"}
	}}
	r := serving(t, oneAttempt(), a)
	for range r.cfg.Breaker.Failures {
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if err := r.Serve(ctx, chat("m"), &recorder{}); err == nil {
			t.Error("no error")
		}
	}
	if h := r.Health()[0]; len(h.Failing) != 1 || h.Failing[0].Breaker != "open" {
		t.Errorf("health %+v", h)
	}
}

// Nor does it where nobody takes the event any more: it is the upstream that failed.
func TestToldToNobody(t *testing.T) {
	a := &fake{name: "a", serve: func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
		_ = answer(out, "data: {\"error\":{}}\n\n")
		return &llm.Error{Fault: llm.Told, Status: 502, Code: "x", Message: "m"}
	}}
	r := serving(t, oneAttempt(), a)
	for range 5 {
		if err := r.Serve(t.Context(), chat("m"), &recorder{fail: errors.New("the client has left")}); err == nil {
			t.Fatal("no error")
		}
	}
	if n := r.ups[0].results[failed].Load(); n != 5 || len(r.Health()[0].Failing) != 1 {
		t.Errorf("%d failures, health %+v", n, r.Health()[0])
	}
}

// One request at a time tries an open upstream. A probe whose client leaves
// decides nothing, and one that never returns is given up.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", serve: always(refused)}
		r := serving(t, oneAttempt(), a)
		for range 5 {
			ask(t, r, chat("m"))
		}
		time.Sleep(10 * time.Second)
		a.serve = func(ctx context.Context, _ int, _ *llm.Request, _ llm.Sink) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		probe := func() {
			wg.Go(func() { _ = r.Serve(ctx, chat("m"), &recorder{}) })
			synctest.Wait()
		}
		probe()
		is(t, "while a probe is under way", ask(t, r, chat("m")), "503 upstream_unavailable")
		is(t, "state", r.Health()[0].Breaker, "half-open")
		cancel()
		wg.Wait()
		ctx, cancel = context.WithCancel(t.Context())
		probe() // at once: the one before said nothing
		if a.count() != 7 {
			t.Errorf("%d calls", a.count())
		}
		time.Sleep(10 * time.Second)
		a.serve = nil
		is(t, "the probe is given up", ask(t, r, chat("m")), "a:m")
		is(t, "state", r.Health()[0].Breaker, "closed")
		cancel()
		wg.Wait()
		is(t, "state", r.Health()[0].Breaker, "closed")
	})
}

// A stream may last: that it begins closes the breaker.
func TestProbeStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", serve: always(refused)}
		r := serving(t, oneAttempt(), a)
		for range 5 {
			ask(t, r, chat("m"))
		}
		time.Sleep(10 * time.Second)
		a.serve = func(ctx context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream}); err != nil {
				return err
			}
			time.Sleep(time.Minute)
			return transport(502, codeCut, false)()
		}
		done := make(chan error)
		go func() { done <- r.Serve(t.Context(), streamed(chat("m")), &recorder{}) }()
		synctest.Wait()
		is(t, "state", r.Health()[0].Breaker, "closed")
		// The cut is the model's.
		if err := <-done; err == nil || r.Health()[0].Failures != 0 || r.ups[0].circuits.find("m").breaker.failures.Load() != 1 {
			t.Errorf("%v, health %+v", err, r.Health()[0])
		}
	})
}

// With one upstream open the others get its share; with all open nothing is
// asked, and the client is told when the first of them may be back.
func TestAllOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &fake{name: "a", serve: always(refused)}, &fake{name: "b"}
		r := serving(t, oneAttempt(), a, b)
		for range 20 {
			is(t, "one fails", ask(t, r, chat("m")), "b:m")
		}
		if a.count() != 5 {
			t.Errorf("a was asked %d times", a.count())
		}
		time.Sleep(600 * time.Millisecond)
		b.serve = always(refused)
		for range 5 {
			is(t, "both fail", ask(t, r, chat("m")), "502 upstream_unreachable")
		}
		_, e := askErr(t, r, chat("m"))
		if e == nil || e.Status != 503 || e.RetryAfter != time.Second || !e.Unprocessed || r.Health()[0].RetryIn != 25*time.Millisecond {
			t.Errorf("got %+v, %+v", e, r.Health()[0])
		}
	})
}

// TestStall: upstreams that all fail for a second are asked again soon after, not ten seconds later.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		stalled := func(context.Context, int, *llm.Request, llm.Sink) error {
			if time.Since(from) < 1400*time.Millisecond {
				return transport(504, codeTimeout, false)()
			}
			return nil
		}
		r := serving(t, oneAttempt(), &fake{name: "a", serve: stalled}, &fake{name: "b", serve: stalled})
		for ask(t, r, chat("m")) != "a:m" {
			time.Sleep(10 * time.Millisecond)
			if time.Since(from) > 2*time.Second {
				t.Fatal("it is not asked again")
			}
		}
	})
}

// An old request that ends late does not close the breaker.
func TestLateSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a"}
		a.serve = func(_ context.Context, n int, _ *llm.Request, _ llm.Sink) error {
			if n == 1 {
				time.Sleep(500 * time.Millisecond)
				return nil
			}
			return refused()
		}
		r := serving(t, oneAttempt(), a)
		done := make(chan string)
		go func() { done <- ask(t, r, chat("m")) }()
		synctest.Wait()
		for range 5 {
			ask(t, r, chat("m"))
		}
		is(t, "old request", <-done, "a:m")
		is(t, "state", r.Health()[0].Breaker, "open")
	})
}

func TestConcurrent(t *testing.T) {
	a, b := &fake{name: "a", serve: func(_ context.Context, n int, _ *llm.Request, _ llm.Sink) error {
		if n%3 != 0 {
			return status(503, time.Millisecond)()
		}
		return nil
	}}, &fake{name: "b", serve: func(_ context.Context, n int, _ *llm.Request, _ llm.Sink) error {
		if n%2 != 0 {
			return refused()
		}
		return nil
	}}
	cfg := Default()
	cfg.Retry.BaseDelay, cfg.Breaker.OpenFor = time.Microsecond, time.Millisecond
	r := serving(t, cfg, a, b)
	r.rand = func() float64 { return float64(time.Now().UnixNano()%1000) / 1000 }
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				_ = r.Serve(t.Context(), chat("m"), &recorder{})
				r.Health()
			}
		})
	}
	wg.Wait()
}

type discard struct{}

func (discard) Start(*llm.Head) error  { return nil }
func (discard) Send([]llm.Event) error { return nil }

// quick is an upstream that costs nothing.
func quick() llm.Handler {
	head, events := &llm.Head{Status: 200}, []llm.Event{{Raw: []byte("x")}}
	return llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		if err := out.Start(head); err != nil {
			return err
		}
		return out.Send(events)
	})
}

func quickRouter(tb testing.TB) *Router {
	cfg := Default()
	cfg.Aliases = map[string]string{"alias": "m"}
	var ups []Upstream
	for _, name := range []string{"a", "b", "c"} {
		ups = append(ups, Upstream{Name: name, Handler: quick(), Models: []string{"m", name + "-only"}})
	}
	r, err := New(cfg, ups, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestServeAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	r := quickRouter(t)
	r.ups[0].circuits.make(r.ups[0], "m").fails(failed, new(llm.Error), false) // finding it costs nothing
	for _, model := range []string{"m", "alias", "a/m", "b-only"} {
		req := chat(model)
		n := testing.AllocsPerRun(1000, func() {
			if err := r.Serve(context.Background(), req, discard{}); err != nil {
				t.Fatal(err)
			}
		})
		if n > 1 {
			t.Errorf("%s: %v allocations, at most 1", model, n)
		}
	}
}

func BenchmarkServe(b *testing.B) {
	r := quickRouter(b)
	for _, model := range []string{"m", "a/m", "b-only"} {
		b.Run(model, func(b *testing.B) {
			req := chat(model)
			b.ReportAllocs()
			for b.Loop() {
				_ = r.Serve(context.Background(), req, discard{})
			}
		})
	}
}

func BenchmarkBreaker(b *testing.B) {
	br := breaker{clock: monotonic.New(), cfg: Default().Breaker}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if probe, ok := br.enter(); ok {
				br.succeed(probe)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if probe, ok := br.enter(); ok {
					br.succeed(probe)
				}
			}
		})
	})
}
