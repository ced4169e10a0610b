package admit

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/priority"
	"sluice/internal/testkit"
)

// varied is an upstream that copes with whatever it is asked. Its first events differ
// log-normally.
type varied struct {
	mu            sync.Mutex
	r             *rand.Rand
	median, sigma float64       // of the first event, the former in seconds
	rest          time.Duration // of the reply
	fails         float64       // share of the calls that are answered 503 at once
}

func (v *varied) Serve(ctx context.Context, _ *llm.Request, out llm.Sink) error {
	v.mu.Lock()
	first := time.Duration(v.median * min(20, math.Exp(v.sigma*v.r.NormFloat64())) * float64(time.Second))
	fails := v.r.Float64() < v.fails
	v.mu.Unlock()
	if fails {
		return &llm.Error{Fault: llm.Answered, Status: 503}
	}
	if err := sleep(ctx, first); err != nil {
		return err
	}
	if err := out.Start(&llm.Head{Status: 200}); err != nil {
		return err
	}
	return sleep(ctx, v.rest)
}

// set changes it while it is in use.
func (v *varied) set(change func()) {
	v.mu.Lock()
	change()
	v.mu.Unlock()
}

// refused is how many calls the gateway has refused.
func (c *crowd) refused() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.errs[5] {
		if e.Fault == llm.Busy {
			n++
		}
	}
	return n
}

// TestBeginsBusy has a gateway begin under load: the quick answers are there first.
func TestBeginsBusy(t *testing.T) {
	testkit.Simulation(t)
	for seed := range uint64(3) {
		for _, sigma := range []float64{0.6, 1} {
			for _, pause := range []time.Duration{50 * time.Millisecond, 20 * time.Millisecond} {
				synctest.Test(t, func(t *testing.T) {
					l := New(Default(), "up", 200)
					all := newCrowd()
					all.run(t.Context(), l.Stage(&varied{r: rand.New(rand.NewPCG(seed, 1)), median: 2, sigma: sigma}), rand.New(rand.NewPCG(seed, 2)), 5000, pause, 5)
					all.wg.Wait()
					if n := all.refused(); n > 0 || l.control.cuts > 3 {
						t.Errorf("seed %d, sigma %v, every %v: %d refused, %d cuts", seed, sigma, pause, n, l.control.cuts)
					}
				})
			}
		}
	}
}

// chats is the kind of small chats.
func chats(stream bool) int {
	kind, _ := kindOf(&llm.Request{Op: llm.Chat, Stream: stream})
	return kind
}

// TestSome503 has a fifth of the calls fail, whatever the load.
func TestSome503(t *testing.T) {
	testkit.Simulation(t)
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			v := &varied{r: rand.New(rand.NewPCG(seed, 3)), median: 2, sigma: 0.6}
			l := New(Default(), "up", 200)
			all, r := newCrowd(), rand.New(rand.NewPCG(seed, 4))
			all.run(t.Context(), l.Stage(v), r, 600, time.Second, 5)
			v.set(func() { v.fails = 0.2 })
			all.run(t.Context(), l.Stage(v), r, 8000, 50*time.Millisecond, 5)
			all.wg.Wait()
			b := l.control.of("m").baselines[chats(true)].seconds
			t.Logf("%d refused, limit %d, baseline %.1f s, %d cuts", all.refused(), l.control.limit, b, l.control.cuts)
			if n := all.refused(); n > 8000*5/100 || b < 3 || b > 9 {
				t.Errorf("seed %d: %d refused, limit %d, baseline %.1f s", seed, n, l.control.limit, b)
			}
		})
	}
}

// TestAfter503 has all calls fail for a minute.
func TestAfter503(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			v := &varied{r: rand.New(rand.NewPCG(seed, 5)), median: 0.5, rest: 5 * time.Second}
			l := New(Default(), "up", 200)
			all, r := newCrowd(), rand.New(rand.NewPCG(seed, 6))
			all.run(t.Context(), l.Stage(v), r, 500, 100*time.Millisecond, 5)
			v.set(func() { v.fails = 1 })
			all.run(t.Context(), l.Stage(v), r, 600, 100*time.Millisecond, 5)
			v.set(func() { v.fails = 0 })
			all.run(t.Context(), l.Stage(v), r, 1200, 100*time.Millisecond, 5)
			all.wg.Wait()
			if n := all.refused(); n > 1800*5/100 || l.control.limit < 60 {
				t.Errorf("seed %d: %d refused, limit %d", seed, n, l.control.limit)
			}
		})
	}
}

// TestSlowerNoise has an upstream whose times vary become slower at any load.
func TestSlowerNoise(t *testing.T) {
	testkit.Simulation(t)
	for seed := range uint64(3) {
		for _, sigma := range []float64{0.3, 0.6, 1} {
			for _, times := range []float64{3, 6} {
				synctest.Test(t, func(t *testing.T) {
					v := &varied{r: rand.New(rand.NewPCG(seed, 7)), median: 1, sigma: sigma, rest: 5 * time.Second}
					l := New(Default(), "up", 200)
					all, r := newCrowd(), rand.New(rand.NewPCG(seed, 8))
					all.run(t.Context(), l.Stage(v), r, 1000, 500*time.Millisecond, 5)
					all.run(t.Context(), l.Stage(v), r, 1000, 100*time.Millisecond, 5)
					v.set(func() { v.median = times })
					all.run(t.Context(), l.Stage(v), r, 6000, 100*time.Millisecond, 5)
					first := all.refused()
					all.run(t.Context(), l.Stage(v), r, 6000, 100*time.Millisecond, 5)
					all.wg.Wait()
					last := all.refused() - first
					t.Logf("seed %d, sigma %v, %v times slower: %d and %d of 6000 refused; limit %d, %d cuts, %d restored", seed, sigma, times, first, last, l.control.limit, l.control.cuts, l.control.relearnt)
					if first > 6000*25/100 || last > 6000*3/100 {
						t.Errorf("seed %d, sigma %v, %v times slower: %d and %d of 6000 refused", seed, sigma, times, first, last)
					}
				})
			}
		}
	}
}

// TestImportant asks for three times what an upstream can do, all of a sudden, through a
// pool of connections that holds far more calls than it works at. Half a minute later what
// is left of the queue at the upstream is short enough for important calls, and it has
// gone on with all that it can do from the beginning, and has refused no important call.
func TestImportant(t *testing.T) {
	const capacity, patience, seeds = 40, 8 * time.Second, 4
	mean := 0.0
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 9))
			slots := make(chan struct{}, capacity)
			var mu sync.Mutex // of r
			l := New(Default(), "up", 200)
			h := l.Stage(newPool(200, llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				defer func() { <-slots }()
				mu.Lock()
				takes := time.Second/2 + time.Duration(r.Int64N(int64(time.Second)))
				mu.Unlock()
				if err := sleep(ctx, takes); err != nil {
					return err
				}
				return out.Start(&llm.Head{Status: 200})
			})))
			var wg sync.WaitGroup
			run := func(d time.Duration, rate float64) *crowd {
				c := newCrowd()
				for end := time.Now().Add(d); time.Now().Before(end); {
					mu.Lock()
					pause, p := time.Duration(r.ExpFloat64()/rate*float64(time.Second)), llm.PriorityNormal
					if r.IntN(10) == 0 {
						p = llm.PriorityHigh
					}
					mu.Unlock()
					time.Sleep(pause)
					wg.Go(func() {
						begun := time.Now()
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						defer cancel()
						req := request(p)
						req.Stream, req.Deadline = false, begun.Add(patience)
						err := h.Serve(ctx, req, &client{})
						c.mu.Lock()
						defer c.mu.Unlock()
						if err == nil {
							c.took[p] = append(c.took[p], time.Since(begun))
						} else {
							c.errs[p] = append(c.errs[p], llm.AsError(err))
						}
					})
				}
				return c
			}
			calm := run(30*time.Second, capacity/2)
			time.Sleep(5 * time.Second)
			begins := run(30*time.Second, 3*capacity)
			before := begins.answered()
			over := run(30*time.Second, 3*capacity)
			after := begins.answered() - before + over.answered()
			wg.Wait()
			b := l.control.of("m").baselines[chats(false)].seconds
			times := float64(over.p99(8)) / float64(calm.p99(8))
			mean += times / seeds
			t.Logf("seed %d: %d and %d of %d answered; p99 of high priority %.2f times %v; limit %d, baseline %.2f s", seed, before, after, 30*capacity, times, calm.p99(8), l.control.limit, b)
			if before < 30*capacity*90/100 || after < 30*capacity*93/100 || len(begins.errs[8])+len(over.errs[8]) > 0 || b > 1.6 {
				t.Errorf("seed %d: %d and %d of %d answered, %d of high priority refused; limit %d, baseline %.2f s", seed, before, after, 30*capacity, len(begins.errs[8])+len(over.errs[8]), l.control.limit, b)
			}
		})
	}
	if mean > 1.5 {
		t.Errorf("the p99 of high priority is %.2f times that of half the load", mean)
	}
}

// pool is one of connections, for which calls wait by priority.
type pool struct {
	next  llm.Handler
	mu    sync.Mutex
	free  int
	queue priority.Queue[chan struct{}]
}

func newPool(n int, next llm.Handler) *pool { return &pool{next: next, free: n} }

func (p *pool) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	since := time.Now()
	p.mu.Lock()
	if p.free > 0 {
		p.free--
		p.mu.Unlock()
	} else {
		it := &priority.Item[chan struct{}]{Value: make(chan struct{})}
		p.queue.Push(it, req.Priority)
		p.mu.Unlock()
		select {
		case <-it.Value:
		case <-ctx.Done():
			p.mu.Lock()
			gone := p.queue.Remove(it)
			p.mu.Unlock()
			if !gone {
				p.leave()
			}
			return ctx.Err()
		}
	}
	defer p.leave()
	return p.next.Serve(ctx, req, waited{out, time.Since(since)})
}

func (p *pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if it := p.queue.Pop(); it != nil {
		close(it.Value)
	} else {
		p.free++
	}
}

// waited is a reply to a call that waited for a connection.
type waited struct {
	llm.Sink
	queued time.Duration
}

func (w waited) Start(h *llm.Head) error {
	h.Queued += w.queued
	return w.Sink.Start(h)
}

// TestNoLongerOverloaded has an upstream that was overloaded cope with any number of calls,
// but be half as slow again with each. The limit is not kept down for that.
func TestNoLongerOverloaded(t *testing.T) {
	testkit.Simulation(t)
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			const capacity, service, calls = 40, 2 * time.Second, 8000
			slots := make(chan struct{}, capacity)
			var copes atomic.Bool
			l := New(Default(), "up", 200)
			h := l.Stage(llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
				takes := service*8/10 + rand.N(service*4/10)
				if copes.Load() {
					takes = takes * 3 / 2
				} else {
					slots <- struct{}{}
					defer func() { <-slots }()
				}
				time.Sleep(takes)
				return out.Start(&llm.Head{Status: 200})
			}))
			all, r := newCrowd(), rand.New(rand.NewPCG(seed, 10))
			all.run(t.Context(), h, r, 1000, 2*service/capacity, 5)
			all.run(t.Context(), h, r, calls, service/capacity/2, 5)
			held, overloaded := l.control.limit, all.refused()
			copes.Store(true)
			all.run(t.Context(), h, r, calls, service/capacity/2, 5)
			before := all.refused()
			meanwhile := before - overloaded
			all.run(t.Context(), h, r, calls, service/capacity/2, 5)
			n := all.refused() - before
			all.wg.Wait()
			t.Logf("limit %d, then %d; %d and %d of %d refused", held, l.control.limit, meanwhile, n, calls)
			if held > 70 || meanwhile > calls*35/100 || n > calls/100 {
				t.Errorf("limit %d, then %d; %d and %d of %d refused", held, l.control.limit, meanwhile, n, calls)
			}
		})
	}
}

// TestClientsLeave asks for three times what an upstream can do, and clients leave
// before they are answered. That is evidence, or none at all would ever be.
func TestClientsLeave(t *testing.T) {
	testkit.Simulation(t)
	for _, patience := range []time.Duration{7 * time.Second, 12 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			const capacity, service = 40, 4 * time.Second
			slots := make(chan struct{}, capacity)
			l := New(Default(), "up", 200)
			h := l.Stage(llm.HandlerFunc(func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				defer func() { <-slots }()
				if err := sleep(ctx, service); err != nil {
					return err
				}
				return out.Start(&llm.Head{Status: 200})
			}))
			r := rand.New(rand.NewPCG(1, 2))
			var wg sync.WaitGroup
			var mu sync.Mutex
			answered := 0
			run := func(n int, pause time.Duration) {
				for range n {
					time.Sleep(time.Duration(r.ExpFloat64() * float64(pause)))
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						defer cancel()
						req := request(5)
						req.Deadline = time.Now().Add(patience)
						if h.Serve(ctx, req, &client{}) == nil {
							mu.Lock()
							answered++
							mu.Unlock()
						}
					})
				}
			}
			run(2000, 2*service/capacity)
			run(3000, service/capacity/3)
			mu.Lock()
			before := answered
			mu.Unlock()
			begun := time.Now()
			run(12000, service/capacity/3)
			best := time.Since(begun).Seconds() * capacity / service.Seconds()
			wg.Wait()
			t.Logf("patience %v: %d of %.0f that could be, limit %d", patience, answered-before, best, l.control.limit)
			if float64(answered-before) < 0.6*best {
				t.Errorf("patience %v: %d answered of %.0f that could be; limit %d", patience, answered-before, best, l.control.limit)
			}
		})
	}
}

// TestBogusModels: names that nothing answers to take no place for good.
func TestBogusModels(t *testing.T) {
	l := New(Default(), "up", 200)
	h := l.Stage(llm.HandlerFunc(func(_ context.Context, req *llm.Request, out llm.Sink) error {
		if req.UpstreamModel[0] == 'b' {
			return &llm.Error{Fault: llm.Answered, Status: 404}
		}
		return out.Start(&llm.Head{Status: 200})
	}))
	ask := func(model string) {
		req := request(5)
		req.UpstreamModel = model
		_ = h.Serve(t.Context(), req, &client{})
	}
	for i := range 2 * maxModels {
		ask(fmt.Sprint("bogus-", i))
	}
	for i := range maxModels + 2 {
		ask(fmt.Sprint("real-", i))
		ask("real-2") // always used
	}
	models := l.control.models
	if len(models) != maxModels || models["real-2"] == nil || models["real-0"] != nil || models[fmt.Sprint("real-", maxModels+1)] == nil {
		t.Errorf("%d are known", len(models))
	}
}
