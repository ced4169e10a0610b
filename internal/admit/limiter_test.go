package admit

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// engine is an upstream that serves so many calls at once, and has the others wait.
// The first event comes after a quarter of the service, and the rest after half of it
// to all of it, as replies differ in length.
type engine struct {
	slots   chan struct{}
	service time.Duration
	serve   func(ctx context.Context) error // in place of all that, where it is not nil
}

func newEngine(n int, service time.Duration) *engine {
	return &engine{slots: make(chan struct{}, n), service: service}
}

func (g *engine) Serve(ctx context.Context, _ *llm.Request, out llm.Sink) error {
	if g.serve != nil {
		return g.serve(ctx)
	}
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-g.slots }()
	if err := sleep(ctx, g.service/4); err != nil {
		return err
	}
	if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1}); err != nil {
		return err
	}
	return sleep(ctx, g.service/2+rand.N(g.service/2))
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// client takes a reply.
type client struct{ head llm.Head }

func (c *client) Start(h *llm.Head) error { c.head = *h; return nil }
func (*client) Send([]llm.Event) error    { return nil }

func request(p llm.Priority) *llm.Request {
	return &llm.Request{Op: llm.Chat, Method: "POST", UpstreamModel: "m", Stream: true, Urgency: llm.Urgency{Priority: p}}
}

// crowd asks at a rate for a time and tells of each answer by priority.
type crowd struct {
	mu   sync.Mutex
	took map[llm.Priority][]time.Duration
	errs map[llm.Priority][]*llm.Error
	wg   sync.WaitGroup
}

func newCrowd() *crowd {
	return &crowd{took: make(map[llm.Priority][]time.Duration), errs: make(map[llm.Priority][]*llm.Error)}
}

// run asks n times, each after pause on average, for any of the priorities.
func (c *crowd) run(ctx context.Context, h llm.Handler, r *rand.Rand, n int, pause time.Duration, priorities ...llm.Priority) {
	for range n {
		time.Sleep(time.Duration(r.ExpFloat64() * float64(pause)))
		p := priorities[r.IntN(len(priorities))]
		c.wg.Go(func() {
			begun := time.Now()
			err := h.Serve(ctx, request(p), &client{})
			c.mu.Lock()
			defer c.mu.Unlock()
			if err == nil {
				c.took[p] = append(c.took[p], time.Since(begun))
				return
			}
			c.errs[p] = append(c.errs[p], llm.AsError(err))
		})
	}
}

func (c *crowd) answered() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, list := range c.took {
		n += len(list)
	}
	return n
}

func (c *crowd) p99(p llm.Priority) time.Duration {
	list := slices.Sorted(slices.Values(c.took[p]))
	if len(list) == 0 {
		return 0
	}
	return list[len(list)*99/100]
}

// idle reports whether nothing is left of any call.
func (l *Limiter) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight == 0 && l.queue.Len() == 0
}

// TestOverload asks an upstream for three times as much as it can do. It goes on
// doing nearly as much as it can, important calls take hardly longer than they do
// when there is nothing else, and the rest is refused soon, with a time that is kept.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity, service = 40, 4 * time.Second
		g := newEngine(capacity, service)
		l := New(Default(), "up", 200)
		h := l.Stage(g)
		r := rand.New(rand.NewPCG(1, 2))
		calm := newCrowd()
		calm.run(t.Context(), h, r, 2000, service/capacity*2, 5, 8) // half of what it can
		calm.wg.Wait()
		if len(calm.errs) > 0 || l.control.limit != 200 || calm.p99(8) > service*13/10 {
			t.Fatalf("with half of the load: %d refused, limit %d, p99 %v", len(calm.errs[5])+len(calm.errs[8]), l.control.limit, calm.p99(8))
		}
		settle, over := newCrowd(), newCrowd()
		settle.run(t.Context(), h, r, 3000, service/capacity/3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 8)
		begun, before := time.Now(), settle.answered()
		over.run(t.Context(), h, r, 12000, service/capacity/3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 8)
		took := time.Since(begun)
		done := float64(over.answered()+settle.answered()-before) / took.Seconds()
		if best := capacity / service.Seconds(); done < 0.9*best {
			t.Errorf("%.2f calls a second, want 90%% of %.2f", done, best)
		}
		settle.wg.Wait()
		over.wg.Wait()
		t.Logf("%.2f calls a second; p99 high %v, normal %v; limit %d, %d cuts, %d raises, %d restored; refused %v",
			done, over.p99(8), over.p99(5), l.control.limit, l.control.cuts, l.control.raises, l.control.relearnt, l.refused)
		if over.p99(8) > calm.p99(8)*3/2 || len(over.errs[8]) > 0 {
			t.Errorf("of high priority: p99 %v, %d refused", over.p99(8), len(over.errs[8]))
		}
		for _, e := range over.errs[5] {
			if e.Status != 503 || e.Fault != llm.Busy || e.RetryAfter < time.Second || e.RetryAfter > time.Minute || !e.Unprocessed || e.Queued > l.cfg.QueueTimeout {
				t.Fatalf("refused with %+v", e)
			}
		}
		if l.control.limit >= 100 || !l.idle() {
			t.Errorf("the limit is %d", l.control.limit)
		}
	})
}

// TestCopes has the time to first event differ as those of language models do, by
// more than a magnitude, in waves of load that the upstream copes with. The limit
// stays where it is.
func TestCopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		var mu sync.Mutex
		h := llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
			mu.Lock()
			first := time.Duration(float64(time.Second) * min(20, expNorm(r)))
			mu.Unlock()
			if err := sleep(ctx, first); err != nil {
				return err
			}
			if err := out.Start(&llm.Head{Status: 200}); err != nil {
				return err
			}
			return sleep(ctx, 10*time.Second)
		})
		l := New(Default(), "up", 200)
		s := l.Stage(h)
		all := newCrowd()
		rate := rand.New(rand.NewPCG(5, 6))
		for wave := range 20 {
			all.run(t.Context(), s, rate, 1000, time.Second/time.Duration(1+wave%4*4), 5)
		}
		all.wg.Wait()
		t.Logf("limit %d, %d cuts, %d waited", l.control.limit, l.control.cuts, l.wait.Distribution().Count)
		if n := len(all.errs[5]); n > 0 || l.wait.Distribution().Count > 0 {
			t.Errorf("%d refused, %d had to wait; %d cuts", n, l.wait.Distribution().Count, l.control.cuts)
		}
	})
}

// TestSlower has an upstream become slower, however few calls it has: to hold calls
// back is of no use, and the limit comes back.
func TestSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newEngine(1000, 2*time.Second)
		l := New(Default(), "up", 200)
		h := l.Stage(g)
		r := rand.New(rand.NewPCG(7, 8))
		all := newCrowd()
		all.run(t.Context(), h, r, 1000, 50*time.Millisecond, 5)
		all.wg.Wait()
		g.service = 12 * time.Second
		all.run(t.Context(), h, r, 3000, 200*time.Millisecond, 5)
		all.wg.Wait()
		t.Logf("%d cuts, %d refused", l.control.cuts, len(all.errs[5]))
		if l.control.limit < 200 || l.control.relearnt != 1 || len(all.errs[5]) > 3000*15/100 {
			t.Errorf("limit %d, restored %d times, %d refused", l.control.limit, l.control.relearnt, len(all.errs[5]))
		}
	})
}

// TestDeadlines asks for three times what an upstream can do, and each client leaves
// after a time that it says. Hardly any call is sent that cannot be answered until then.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity, service, patience, calls = 8, time.Second, 4 * time.Second, 3000
		cfg := Default()
		cfg.MaxConcurrency = capacity
		l := New(cfg, "up", 200)
		answered, late, wasted, slowest := 0, 0, 0, time.Duration(0)
		var mu sync.Mutex
		h := l.Stage(llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
			if err := sleep(ctx, service*8/10+rand.N(service*4/10)); err != nil {
				mu.Lock()
				wasted++
				mu.Unlock()
				return err
			}
			return out.Start(&llm.Head{Status: 200})
		}))
		r := rand.New(rand.NewPCG(11, 12))
		var wg sync.WaitGroup
		begun := time.Now()
		for range calls {
			time.Sleep(time.Duration(r.ExpFloat64() * float64(service) / capacity / 3))
			wg.Go(func() {
				begun := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				req := request(5)
				req.Deadline = begun.Add(patience)
				err := h.Serve(ctx, req, &client{})
				mu.Lock()
				defer mu.Unlock()
				switch e, ok := errors.AsType[*llm.Error](err); {
				case err == nil:
					answered++
				case ok && e.Status == 504:
					late++
					slowest = max(slowest, time.Since(begun))
				case ctx.Err() == nil:
					t.Error(err)
				}
			})
		}
		took := time.Since(begun)
		wg.Wait()
		best := int(took.Seconds() / service.Seconds() * capacity)
		t.Logf("%d answered of %d that could be, %d sent for nothing, %d refused, after %v at most", answered, best, wasted, late, slowest)
		if answered < best*95/100 || wasted > best*3/100 || answered+wasted+late != calls || slowest > patience-service/2 {
			t.Errorf("%d answered of %d that could be, %d sent for nothing, %d refused, after %v at most", answered, best, wasted, late, slowest)
		}
	})
}

// TestClumps has an upstream end its calls nearly all at once, again and again. How long
// the queue is known to be does not depend on when that was: what cannot have its turn in
// time is refused at once.
func TestClumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity, service, calls = 40, time.Second, 12000
		cfg := Default()
		cfg.MaxConcurrency, cfg.QueueTimeout = capacity, 4*time.Second
		l := New(cfg, "up", 200)
		h := l.Stage(llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
			if err := sleep(ctx, service); err != nil {
				return err
			}
			return out.Start(&llm.Head{Status: 200})
		}))
		r := rand.New(rand.NewPCG(13, 14))
		var mu sync.Mutex
		var wg sync.WaitGroup
		answered, atOnce, later := 0, 0, 0
		begun := time.Now()
		for range calls {
			time.Sleep(time.Duration(r.ExpFloat64() * float64(service) / capacity / 3))
			wg.Go(func() {
				begun := time.Now()
				err := h.Serve(t.Context(), request(5), &client{})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					answered++
				case time.Since(begun) == 0:
					atOnce++
				default:
					later++
				}
			})
		}
		best := int(time.Since(begun).Seconds() / service.Seconds() * capacity)
		wg.Wait()
		t.Logf("%d answered of %d that could be; %d refused at once, %d later", answered, best, atOnce, later)
		if answered < best*98/100 || later > (atOnce+later)/10 {
			t.Errorf("%d answered of %d that could be; %d refused at once, %d later", answered, best, atOnce, later)
		}
	})
}

// TestFailures has an upstream say that more than 20 calls are too many, and takes what it
// says for evidence; that a key has used up what it may is none.
func TestFailures(t *testing.T) {
	for status, comesDown := range map[int]bool{503: true, 529: true, 429: false, 400: false} {
		synctest.Test(t, func(t *testing.T) {
			l := New(Default(), "up", 50)
			var asked atomic.Int64
			h := llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
				defer asked.Add(-1)
				many := asked.Add(1) > 20
				time.Sleep(time.Second)
				if many {
					return &llm.Error{Fault: llm.Answered, Status: status}
				}
				return out.Start(&llm.Head{Status: 200})
			})
			all := newCrowd()
			all.run(t.Context(), l.Stage(h), rand.New(rand.NewPCG(1, 1)), 1000, 25*time.Millisecond, 5)
			all.wg.Wait()
			if down := l.control.limit < 50; down != comesDown {
				t.Errorf("of %d: limit %d", status, l.control.limit)
			}
		})
	}
}

// TestEndings has calls end in any way, at any time. None is left, and each has one
// answer.
func TestEndings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 10))
		cfg := Default()
		cfg.MaxConcurrency, cfg.MinConcurrency, cfg.QueueSize, cfg.QueueTimeout = 3, 3, 5, 700*time.Millisecond
		l := New(cfg, "up", 200)
		h := l.Stage(llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
			l.mu.Lock()
			if l.inFlight > 3 {
				t.Errorf("%d are under way", l.inFlight)
			}
			l.mu.Unlock()
			if req.ID == "panic" {
				panic("handler")
			}
			if err := sleep(ctx, 500*time.Millisecond); err != nil {
				return err
			}
			if req.ID == "fail" {
				return errors.New("broken")
			}
			return out.Start(&llm.Head{Status: 200})
		}))
		var wg sync.WaitGroup
		answers := 0
		var mu sync.Mutex
		for range 3000 {
			time.Sleep(time.Duration(r.IntN(int(250 * time.Millisecond))))
			req := request(llm.Priority(r.IntN(10)))
			ctx, cancel := context.WithCancel(t.Context())
			switch r.IntN(8) {
			case 0:
				req.ID = "panic"
			case 1:
				req.ID = "fail"
			case 2, 3:
				time.AfterFunc(time.Duration(r.IntN(int(2*time.Second))), cancel)
			case 4:
				req.Deadline = time.Now().Add(time.Duration(r.IntN(int(2 * time.Second))))
			}
			if r.IntN(3) == 0 {
				req.Turn = new(llm.Turn)
				lends, to, until := time.Duration(r.IntN(int(time.Second))), llm.Priority(r.IntN(10)), time.Now().Add(time.Duration(r.IntN(int(2*time.Second))))
				wg.Go(func() {
					time.Sleep(lends)
					req.Lend(to, until)
				})
			}
			wg.Go(func() {
				defer cancel()
				defer func() {
					if p := recover(); p != nil && req.ID != "panic" {
						panic(p)
					}
					mu.Lock()
					answers++
					mu.Unlock()
				}()
				begun := time.Now()
				c := &client{}
				err := h.Serve(ctx, req, c)
				e, ok := errors.AsType[*llm.Error](err)
				switch {
				case ok && (e.Fault == llm.Left || e.Fault == llm.Internal): // the client left, or it is broken
					if sent := time.Since(begun) - e.Queued; sent < 0 || sent > 500*time.Millisecond {
						t.Errorf("queued for %v of %v: %v", e.Queued, time.Since(begun), err)
					}
				case !ok && err != nil && time.Since(begun) > 500*time.Millisecond:
					t.Errorf("is not told that it was queued, after %v: %v", time.Since(begun), err)
				case ok && e.Status == 504:
					if _, d := req.Now(); d.IsZero() || time.Now().After(d) {
						t.Errorf("dropped at %v with the deadline %v", time.Now(), d)
					}
				case ok && e.Status != 503:
					t.Error(err)
				case ok && time.Since(begun) > cfg.QueueTimeout:
					t.Errorf("refused after %v", time.Since(begun))
				case ok && e.Queued != time.Since(begun):
					t.Errorf("queued for %v, is told %v", time.Since(begun), e.Queued)
				case err == nil && c.head.Queued != time.Since(begun)-500*time.Millisecond:
					t.Errorf("queued for %v, is told %v", time.Since(begun)-500*time.Millisecond, c.head.Queued)
				}
			})
		}
		wg.Wait()
		if answers != 3000 || !l.idle() {
			t.Errorf("%d answers; %d under way, %d wait", answers, l.inFlight, l.queue.Len())
		}
		for why, n := range l.refused {
			if n == 0 {
				t.Errorf("none was refused because of %v", cause(why))
			}
		}
	})
}

// TestLeft: a client that leaves is one that left, whether its call had to wait or not;
// and where it left before its turn nothing was sent.
func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.MaxConcurrency, cfg.MinConcurrency = 1, 1
		h := New(cfg, "up", 1).Stage(llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, _ llm.Sink) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		var wg sync.WaitGroup
		for _, c := range []struct {
			leaves, queued time.Duration
			unsent         bool
		}{{2 * time.Second, 0, false}, {time.Second, time.Second, true}, {3 * time.Second, 2 * time.Second, false}} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), c.leaves)
				defer cancel()
				err := h.Serve(ctx, request(5), &client{})
				if e := llm.AsError(err); e.Fault != llm.Left || !errors.Is(err, context.DeadlineExceeded) || e.Unprocessed != c.unsent || e.Queued != c.queued {
					t.Errorf("after %v: %v, unprocessed: %v, queued for %v: %v", c.leaves, e.Fault, e.Unprocessed, e.Queued, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
	})
}

// TestNotNeeded: that a client left before there was an answer tells of overload; that a
// call which took as long was ended for a cause of its own does not.
func TestNotNeeded(t *testing.T) {
	for cause, want := range map[error]int{nil: 1, errors.New("not needed any more"): 0} {
		synctest.Test(t, func(t *testing.T) {
			cfg := Default()
			l := New(cfg, "up", 100)
			h := l.Stage(llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
				if req.ID == "ends" {
					<-ctx.Done()
					return ctx.Err()
				}
				time.Sleep(time.Second)
				return out.Start(&llm.Head{Status: 200})
			}))
			for range warm {
				if err := h.Serve(t.Context(), request(5), &client{}); err != nil {
					t.Fatal(err)
				}
			}
			ctx, end := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Minute, func() { end(cause) })
			req := request(5)
			req.ID = "ends"
			if err := h.Serve(ctx, req, &client{}); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if l.control.window.breaches != want {
				t.Errorf("%v: %d are late, want %d", cause, l.control.window.breaches, want)
			}
		})
	}
}

// TestExamine: a limiter is not well while it refuses calls, and for a while after.
func TestExamine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.MaxConcurrency, cfg.MinConcurrency, cfg.QueueSize = 1, 1, 0
		l := New(cfg, "up", 200)
		h := l.Stage(llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			return out.Start(&llm.Head{Status: 200})
		}))
		is := func(state perf.State, text string) {
			t.Helper()
			l.Examine(func(c perf.Condition) {
				if c.Component != "upstream/up/admission" || c.State != state || c.Error != text || c.Advice == "" != (state == perf.Healthy) {
					t.Errorf("%+v", c)
				}
			})
		}
		ask := func(n int) {
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { _ = h.Serve(t.Context(), request(5), &client{}) })
			}
			wg.Wait()
		}
		ask(1)
		is(perf.Healthy, "")
		ask(3)
		is(perf.Degraded, "2 calls of 4 were refused lately (50 %), at a limit of 1 at once")
		time.Sleep(period)
		ask(1)
		is(perf.Degraded, "2 calls of 5 were refused lately (40 %), at a limit of 1 at once")
		time.Sleep(period)
		is(perf.Healthy, "")
		ask(1)
		time.Sleep(time.Hour)
		is(perf.Healthy, "")
		ask(2)
		is(perf.Degraded, "1 calls of 2 were refused lately (50 %), at a limit of 1 at once")
	})
}

// slowClient reads nothing of a reply until it is told to.
type slowClient struct {
	client
	read chan struct{}
}

func (c *slowClient) Send([]llm.Event) error { <-c.read; return nil }

// TestSlowReader: a slot is free when the upstream has nothing left to do, which is so of a
// reply that is here as a whole. A stream that is not read to its end has its upstream wait.
func TestSlowReader(t *testing.T) {
	for kind, free := range map[llm.ReplyKind]bool{llm.Unary: true, llm.EventStream: false, llm.Pieces: false} {
		synctest.Test(t, func(t *testing.T) {
			cfg := Default()
			cfg.MaxConcurrency, cfg.MinConcurrency, cfg.QueueSize = 1, 1, 0
			l := New(cfg, "up", 200)
			h := l.Stage(llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
				if err := out.Start(&llm.Head{Status: 200, Kind: kind}); err != nil {
					return err
				}
				return out.Send([]llm.Event{{}})
			}))
			slow := &slowClient{read: make(chan struct{})}
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := h.Serve(t.Context(), request(5), slow); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			if err := h.Serve(t.Context(), request(5), &client{}); (err == nil) != free {
				t.Errorf("kind %d: beside a slow reader %v", kind, err)
			}
			close(slow.read)
			wg.Wait()
			if !l.idle() {
				t.Errorf("kind %d: %d are under way", kind, l.inFlight)
			}
		})
	}
}

// TestForgets: that an upstream was slow an hour ago is no reason to refuse a call.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.MaxConcurrency, cfg.MinConcurrency, cfg.QueueTimeout = 2, 2, time.Hour
		l := New(cfg, "up", 200)
		takes := time.Minute
		h := l.Stage(llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
			if err := sleep(ctx, takes); err != nil {
				return err
			}
			return out.Start(&llm.Head{Status: 200})
		}))
		ask := func(n int, patience time.Duration) (refused int) {
			var wg sync.WaitGroup
			var mu sync.Mutex
			for range n {
				wg.Go(func() {
					req := request(5)
					req.Deadline = time.Now().Add(patience)
					if h.Serve(t.Context(), req, &client{}) != nil {
						mu.Lock()
						refused++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			return refused
		}
		ask(20, 24*time.Hour)
		if n := ask(6, 30*time.Second); n != 4 {
			t.Errorf("while it is slow %d of 6 are refused, which no call would be in time for", n)
		}
		time.Sleep(time.Hour)
		takes = 100 * time.Millisecond
		if n := ask(6, 30*time.Second); n > 0 {
			t.Errorf("an hour later %d of 6 are refused", n)
		}
		// What comes after a pause is known within a few calls.
		for range few {
			ask(1, time.Minute)
		}
		if b := l.control.of("m").baselines[chats(true)]; b.answered(l.clock.Now()) > time.Second {
			t.Errorf("they are expected to take %v", b.answered(l.clock.Now()))
		}
	})
}

// TestPasses: what is no work for a model waits for nothing.
func TestPasses(t *testing.T) {
	cfg := Default()
	cfg.MaxConcurrency, cfg.MinConcurrency, cfg.QueueSize = 1, 1, 0
	l := New(cfg, "up", 200)
	l.inFlight = 1
	asked := 0
	h := l.Stage(llm.HandlerFunc(func(context.Context, *llm.Request, llm.Sink) error { asked++; return nil }))
	for _, req := range []*llm.Request{{Op: llm.ListModels, Method: "GET"}, {Op: llm.Passthrough, Method: "GET"}, {Op: llm.Passthrough, Method: "POST", Upgrade: "websocket"}} {
		if err := h.Serve(t.Context(), req, &client{}); err != nil {
			t.Error(err)
		}
	}
	if err := h.Serve(t.Context(), request(9), &client{}); err == nil || asked != 3 {
		t.Errorf("%d calls passed, %v", asked, err)
	}
}

func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	s, req, c := passing()
	if n := testing.AllocsPerRun(1000, func() { _ = s.Serve(context.Background(), req, c) }); n > 0 {
		t.Errorf("a call that finds room costs %v allocations", n)
	}
}

func passing() (llm.Handler, *llm.Request, llm.Sink) {
	head := &llm.Head{Status: 200}
	return New(Default(), "up", 200).Stage(llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error { return out.Start(head) })), request(5), &client{}
}

func BenchmarkRoom(b *testing.B) {
	s, req, c := passing()
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Serve(context.Background(), req, c)
	}
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"max_concurrency: must not be negative, is -1":        func(c *Config) { c.MaxConcurrency = -1 },
		"min_concurrency: must be at least 1, is 0":           func(c *Config) { c.MinConcurrency = 0 },
		"min_concurrency: 4 is more than max_concurrency (3)": func(c *Config) { c.MaxConcurrency = 3 },
		"tolerance: 1 is not above 1 and up to 100":           func(c *Config) { c.Tolerance = 1 },
		"latency_target: must not be negative, is -1s":        func(c *Config) { c.LatencyTarget = -time.Second },
		"queue_size: -1 is not from 0 to 1000000":             func(c *Config) { c.QueueSize = -1 },
		"queue_timeout: 0s is not a time above 0":             func(c *Config) { c.QueueTimeout = 0 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// expNorm is of a log-normal distribution with the sigma 1.
func expNorm(r *rand.Rand) float64 { return math.Exp(r.NormFloat64()) }
