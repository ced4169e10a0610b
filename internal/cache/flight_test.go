package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// callers asks the same n times at once. Each answer and error is its own.
func (f *fixture) callers(n int, req func() *llm.Request) (all []*client, errs []error) {
	all, errs = make([]*client, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		all[i] = &client{}
		wg.Go(func() { errs[i] = f.stage.Serve(context.Background(), req(), all[i]) })
	}
	wg.Wait()
	return all, errs
}

// A crowd that asks the same costs one call, whole replies and streams alike.
func TestStampede(t *testing.T) {
	const n = 1000
	for name, req := range map[string]func() *llm.Request{
		"whole":     func() *llm.Request { return chat("hi") },
		"stream":    func() *llm.Request { return chat("hi", streamed) },
		"embedding": func() *llm.Request { return embed(`["a","b"]`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
					time.Sleep(time.Second)
					switch {
					case r.Op == llm.Embedding:
						return embedded("")(ctx, n, r, out)
					case !r.Stream:
						return answer(out, chatReply("x"))
					}
					for i, e := range events("a", "b", "c") {
						time.Sleep(time.Second)
						if i == 0 {
							_ = out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1})
						}
						if err := out.Send([]llm.Event{{Raw: []byte(e)}}); err != nil {
							return err
						}
					}
					return nil
				}
				all, errs := f.callers(n, req)
				count := map[llm.CacheStatus]int{}
				for i, c := range all {
					if errs[i] != nil || string(c.body) != string(all[0].body) || c.starts != 1 {
						t.Fatalf("%d: %v, %s, started %d times", i, errs[i], c, c.starts)
					}
					count[c.head.Cache]++
				}
				if f.up.count() != 1 || count[llm.CacheCoalesced] != n-1 || len(all[0].body) == 0 {
					t.Errorf("%d calls, %v", f.up.count(), count)
				}
				if f.flights.recorded.Load() != 0 || len(f.flights.underWay) != 0 {
					t.Errorf("%d bytes and %d flights are left", f.flights.recorded.Load(), len(f.flights.underWay))
				}
			})
		})
	}
}

// TestToldToAll: an event that tells of an error is that to all who share the call,
// and is not stored.
func TestToldToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		fault := &llm.Error{Status: 503, Code: "overloaded", Fault: llm.Told, Ended: true}
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			time.Sleep(time.Second)
			_ = out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1})
			_ = out.Send([]llm.Event{{Raw: []byte("data: 1\n\n")}})
			time.Sleep(time.Second)
			_ = out.Send([]llm.Event{{Raw: []byte("data: {\"error\":{}}\n\n"), Failed: true}})
			return fault
		}
		for i := range 2 {
			all, errs := f.callers(5, func() *llm.Request { return chat("hi", streamed) })
			for n, c := range all {
				if !errors.Is(errs[n], fault) || c.failed != 1 || c.had() != 2 {
					t.Errorf("caller %d: %v, %d events of which %d tell of it", n, errs[n], c.had(), c.failed)
				}
			}
			if f.up.count() != i+1 {
				t.Errorf("%d calls", f.up.count())
			}
		}
	})
}

// And so does each of a whole reply that has an error in it.
func TestSharedWholeFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			time.Sleep(time.Second)
			_ = out.Start(&llm.Head{Status: 200, Kind: llm.Unary})
			_ = out.Send([]llm.Event{{Raw: []byte(`{"error":{},"choices":[]}`), Failed: true}})
			return &llm.Error{Status: 502, Fault: llm.Told, Ended: true}
		}
		all, _ := f.callers(3, func() *llm.Request { return chat("hi") })
		for i, c := range all {
			if c.failed != 1 || c.events != 1 {
				t.Errorf("%d: %d of %d events", i, c.failed, c.events)
			}
		}
	})
}

// slowly is an upstream that sends an event each second.
func slowly(texts ...string) func(context.Context, int, *llm.Request, llm.Sink) error {
	return func(ctx context.Context, _ int, _ *llm.Request, out llm.Sink) error {
		for i, e := range events(texts...) {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			if i == 0 {
				if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1}); err != nil {
					return err
				}
			}
			if err := out.Send([]llm.Event{{Raw: []byte(e)}}); err != nil {
				return err
			}
		}
		return nil
	}
}

// call asks in the background. The result is there when done is closed.
type call struct {
	client
	cancel context.CancelFunc
	err    error
	done   chan struct{}
}

func (f *fixture) start(req *llm.Request) *call {
	c := &call{done: make(chan struct{})}
	f.startWith(c, req)
	return c
}

func (f *fixture) startWith(c *call, req *llm.Request) {
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(c.done)
		c.err = f.stage.Serve(ctx, req, &c.client)
	}()
}

// Who joins late has what was sent so far at once, and then the live rest.
func TestLateJoiner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.serve = slowly("a", "b", "c")
		first := f.start(chat("hi", streamed))
		time.Sleep(2500 * time.Millisecond)
		late := f.start(chat("hi", streamed))
		synctest.Wait()
		if late.had() != 2 || late.head.Cache != llm.CacheCoalesced || late.head.Kind != llm.EventStream {
			t.Errorf("%d events at once: %s", late.had(), &late.client)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if late.had() != 3 || first.had() != 3 {
			t.Errorf("%d and %d events", late.had(), first.had())
		}
		<-late.done
		<-first.done
		want := strings.Join(events("a", "b", "c"), "")
		if string(late.body) != want || string(first.body) != want || f.up.count() != 1 {
			t.Errorf("got %s and %s", late.body, first.body)
		}
	})
}

// Whoever leaves, the others have their reply; when the last one has left, the
// upstream is told to stop.
func TestCancellation(t *testing.T) {
	for _, kind := range []string{"whole", "stream"} {
		for _, leave := range [][]int{{0}, {1}, {0, 1}, {2, 0}, {0, 1, 2}, {2, 1, 0}} {
			t.Run(fmt.Sprint(kind, leave), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFixture(t, nil)
					stopped := errors.New("not stopped")
					f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
						stopped = nil
						defer func() { stopped = ctx.Err() }()
						if r.Stream {
							return slowly("a", "b", "c", "d")(ctx, n, r, out)
						}
						select {
						case <-time.After(5 * time.Second):
							return answer(out, chatReply("x"))
						case <-ctx.Done():
							return ctx.Err()
						}
					}
					req := func() *llm.Request {
						if kind == "stream" {
							return chat("hi", streamed)
						}
						return chat("hi")
					}
					var calls []*call
					for range 3 {
						calls = append(calls, f.start(req()))
						synctest.Wait()
					}
					time.Sleep(2500 * time.Millisecond)
					left := map[int]bool{}
					for _, i := range leave {
						calls[i].cancel()
						left[i] = true
						synctest.Wait()
						// The first caller's goroutine carries the call for the others.
						if i > 0 || len(leave) == len(calls) && len(left) == len(calls) {
							<-calls[i].done
						}
					}
					for i, c := range calls {
						<-c.done
						if left[i] != errors.Is(c.err, context.Canceled) {
							t.Errorf("caller %d: %v", i, c.err)
						}
						if !left[i] && len(c.body) == 0 {
							t.Errorf("caller %d has no reply", i)
						}
						c.cancel()
					}
					if f.up.count() != 1 || (stopped != nil) != (len(leave) == len(calls)) {
						t.Errorf("%d calls, stopped: %v", f.up.count(), stopped)
					}
				})
			})
		}
	}
}

// An error is for those who were waiting; who comes later asks anew.
func TestSharedError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		fault := &llm.Error{Status: 503, Message: "busy"}
		f.up.serve = func(_ context.Context, n int, _ *llm.Request, out llm.Sink) error {
			time.Sleep(time.Second)
			if n == 1 {
				return fault
			}
			return answer(out, chatReply("x"))
		}
		_, errs := f.callers(5, func() *llm.Request { return chat("hi") })
		for i, err := range errs {
			if !errors.Is(err, fault) {
				t.Errorf("%d: %v", i, err)
			}
		}
		f.expect(t, chat("hi"), "MISS "+chatReply("x"))
	})
}

// A stream that breaks off breaks off for all.
func TestSharedCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		fault := errors.New("cut")
		f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
			time.Sleep(time.Second)
			_ = answerAs(out, llm.EventStream, events("a")[:1])
			return fault
		}
		all, errs := f.callers(3, func() *llm.Request { return chat("hi", streamed) })
		for i, c := range all {
			if !errors.Is(errs[i], fault) || string(c.body) != events("a")[0] {
				t.Errorf("%d: %v after %s", i, errs[i], c)
			}
		}
	})
}

// A handler that panics harms its own caller alone: the others have an error.
func TestPanicUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.serve = func(context.Context, int, *llm.Request, llm.Sink) error {
			time.Sleep(time.Second)
			panic("a fault of the handler")
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				defer func() { _ = recover() }()
				if err := f.stage.Serve(context.Background(), chat("hi"), &client{}); !errors.Is(err, errAbandoned) {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if f.up.count() != 1 || len(f.flights.underWay) != 0 {
			t.Errorf("%d calls, %d under way", f.up.count(), len(f.flights.underWay))
		}
	})
}

// A client that does not read, or that fails, the first one too, holds up
// nobody else.
func TestSlowClients(t *testing.T) {
	for slow := range 3 {
		for _, fails := range []bool{false, true} {
			t.Run(fmt.Sprint(slow, fails), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFixture(t, nil)
					f.up.serve = slowly("a", "b", "c", "d", "e")
					resume := make(chan struct{})
					fault := errors.New("broken pipe")
					var calls []*call
					for i := range 3 {
						c := &call{done: make(chan struct{})}
						if i == slow {
							c.sent = func() error {
								if c.had() < 2 {
									return nil
								}
								if fails {
									return fault
								}
								<-resume
								return nil
							}
						}
						f.startWith(c, chat("hi", streamed))
						synctest.Wait()
						calls = append(calls, c)
					}
					time.Sleep(6 * time.Second)
					synctest.Wait()
					want := strings.Join(events("a", "b", "c", "d", "e"), "")
					for i, c := range calls {
						if i != slow && string(c.body) != want {
							t.Errorf("caller %d has %s", i, c.body)
						}
					}
					close(resume)
					for i, c := range calls {
						<-c.done
						c.cancel()
						if (i == slow && fails) != (c.err != nil) {
							t.Errorf("caller %d: %v", i, c.err)
						}
						if c.err == nil && string(c.body) != want {
							t.Errorf("caller %d has %s", i, c.body)
						}
					}
				})
			})
		}
	}
}

// Nor does a first caller who is slow to take a whole reply.
func TestSlowFirstClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			time.Sleep(time.Second)
			return answer(out, chatReply("x"))
		}
		resume := make(chan struct{})
		first := &call{done: make(chan struct{})}
		first.sent = func() error { <-resume; return nil }
		f.startWith(first, chat("hi"))
		synctest.Wait()
		f.expect(t, chat("hi"), "COALESCED "+chatReply("x"))
		synctest.Wait() // until it is stored as well
		f.expect(t, chat("hi"), "HIT "+chatReply("x"))
		close(resume)
		<-first.done
		if first.err != nil || string(first.body) != chatReply("x") {
			t.Errorf("%v, %s", first.err, &first.client)
		}
	})
}

// A stream whose only client has been blocked for a while is not joined: what
// comes next would have to wait for it.
func TestStuckIsNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.serve = slowly("a", "b")
		resume := make(chan struct{})
		c := &call{done: make(chan struct{})}
		c.sent = func() error { <-resume; return nil }
		f.startWith(c, chat("hi", streamed))
		time.Sleep(1500 * time.Millisecond)
		f.ask(t, chat("hi", streamed))
		if f.up.count() != 2 {
			t.Errorf("%d calls", f.up.count())
		}
		close(resume)
		<-c.done
	})
}

// A reply of 30 MiB reaches all who asked, in little memory: what is recorded
// stays within a window once it is too long to be joined.
func TestLargeReply(t *testing.T) {
	for _, kind := range []llm.ReplyKind{llm.Pieces, llm.EventStream} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, nil)
			const piece, pieces = 64 << 10, 480
			var most int64
			f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
				time.Sleep(time.Second)
				if err := out.Start(&llm.Head{Status: 200, Kind: kind, Length: -1}); err != nil {
					return err
				}
				b := []byte("data: " + strings.Repeat("x", piece-8) + "\n\n")
				for i := range pieces {
					if i == pieces/2 {
						time.Sleep(time.Second) // for one who comes too late
					}
					if err := out.Send([]llm.Event{{Raw: b}}); err != nil {
						return err
					}
					most = max(most, f.flights.recorded.Load())
				}
				return nil
			}
			late := make(chan *client)
			go func() {
				time.Sleep(1500 * time.Millisecond)
				late <- f.ask(t, chat("hi", streamed))
			}()
			all, errs := f.callers(4, func() *llm.Request { return chat("hi", streamed) })
			for i, c := range append(all, <-late) {
				if i < 4 && errs[i] != nil || len(c.body) != piece*pieces {
					t.Errorf("%d bytes", len(c.body))
				}
			}
			if f.up.count() != 2 || most > window+minJoinable+piece || f.flights.recorded.Load() != 0 {
				t.Errorf("%d calls, at most %d bytes recorded, now %d", f.up.count(), most, f.flights.recorded.Load())
			}
			if n := f.store.entries.EstimatedSize(); n != 0 {
				t.Errorf("%d entries", n)
			}
		})
	}
}

// Without coalescing, and with no-cache, each call is its own.
func TestNotCoalesced(t *testing.T) {
	for name, test := range map[string]struct {
		coalesce bool
		req      *llm.Request
	}{
		"off":      {false, chat("hi")},
		"no-cache": {true, chat("hi", policy(llm.CachePolicy{NoCache: true}))},
		"no-store": {true, chat("hi", policy(llm.CachePolicy{NoStore: true}))},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, func(c *Config, _ *Options) { c.Coalesce = test.coalesce })
			f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
				time.Sleep(time.Second)
				return answer(out, chatReply("x"))
			}
			f.callers(3, func() *llm.Request { return test.req })
			if f.up.count() != 3 {
				t.Errorf("%s: %d calls", name, f.up.count())
			}
		})
	}
}

// TestRefusedForItsKey: where keys share replies, a caller whose call was another key's,
// which has used up what it may, asks by itself; one of the same key is refused with it.
func TestRefusedForItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config, _ *Options) { c.Scope = ScopeGlobal })
		limited := llm.Errorf(429, "rate_limit_exceeded", "x")
		limited.Fault = llm.Limited
		f.up.serve = func(_ context.Context, _ int, r *llm.Request, out llm.Sink) error {
			time.Sleep(time.Second)
			if r.Tenant == "limited" {
				return limited
			}
			return answer(out, chatReply(r.Tenant))
		}
		of := func(tenant string) *llm.Request {
			r := chat("hi")
			r.Tenant = tenant
			return r
		}
		var all sync.WaitGroup
		for i, tenant := range []string{"limited", "limited", "limited", "free", "free", "other"} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				err := f.stage.Serve(context.Background(), of(tenant), &client{})
				if refused := errors.Is(err, limited); refused != (tenant == "limited") || err != nil && !refused {
					t.Errorf("caller %d, %s: %v", i, tenant, err)
				}
			})
		}
		all.Wait()
		if n := f.up.count(); n != 2 {
			t.Errorf("%d calls", n)
		}
	})
}

// A flight is used again: whoever joins a call, leaves it or cannot take its reply, all
// have the reply to their own request, and it is the cache that keeps no more than that.
func TestFlightsAreUsedAgain(t *testing.T) {
	f := newFixture(t, nil)
	var calm atomic.Bool
	f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
		text := string(r.Body)
		if calm.Load() {
			return answer(out, chatReply(text))
		}
		if n%5 == 0 {
			select { // leaves time to join, and to leave
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
		switch {
		case n%7 == 0:
			return llm.Errorf(502, "failed", "%s", text)
		case r.Stream:
			return answerAs(out, llm.EventStream, events(text, text))
		}
		return answer(out, chatReply(text))
	}
	var wg sync.WaitGroup
	var whole atomic.Int64
	for worker := range 8 {
		wg.Go(func() {
			for i := range 300 {
				req := chat(fmt.Sprintf("<%d>", (worker+i)%5+5*(i/3)), policy(llm.CachePolicy{HasMaxAge: i%2 == 0}))
				if i%3 == 0 {
					streamed(req)
				}
				ctx, cancel := context.WithCancel(context.Background())
				if i%11 == 0 {
					time.AfterFunc(time.Duration(i)*time.Microsecond, cancel)
				}
				c := &client{}
				if i%13 == 0 {
					c.sent = func() error { return errors.New("the client takes no more") }
				}
				err := f.stage.Serve(ctx, req, c)
				cancel()
				own := strings.Trim(fmt.Sprintf("%q", req.Body), `"`)
				if e, ok := errors.AsType[*llm.Error](err); ok && e.Message != string(req.Body) {
					t.Errorf("%s failed as %s", req.Body, e.Message)
				}
				if s := string(c.body); s != "" && !strings.Contains(s, own) {
					t.Errorf("%s was answered with %s", req.Body, s)
				}
				if err == nil {
					whole.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := f.flights.recorded.Load(); n != 0 || len(f.flights.underWay) != 0 || whole.Load() < 100 {
		t.Errorf("%d bytes and %d calls are left of %d", n, len(f.flights.underWay), whole.Load())
	}
	calm.Store(true)
	var again *flight
	for n := 0; again == nil && n < 1000; n++ { // a pool may lose some
		f.ask(t, chat(fmt.Sprint("one more ", 2*n)))
		again, _ = f.flights.landed.Get().(*flight)
	}
	if again == nil {
		t.Fatal("no flight is kept")
	}
	if again.shared != nil || again.log != nil || again.client != nil || again.out != nil || again.lookup != nil || len(again.head.Header) != 0 {
		t.Errorf("a flight keeps %+v", again)
	}
}
