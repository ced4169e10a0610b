package route

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// server answers after a time, and no more than some requests at once: the others
// wait. at is when it does no longer do as it did.
type server struct {
	took  time.Duration
	slots chan struct{} // nil for no limit
	count int
	mu    sync.Mutex
}

func (s *server) Serve(_ context.Context, _ *llm.Request, out llm.Sink) error {
	s.mu.Lock()
	s.count++
	took := s.took
	s.mu.Unlock()
	if s.slots != nil {
		s.slots <- struct{}{}
		defer func() { <-s.slots }()
	}
	time.Sleep(took)
	return answer(out, "x")
}

// arriving sends requests at random moments, so many a second on average, and gives
// how long each took, sorted.
func arriving(t *testing.T, r *Router, perSecond float64, d time.Duration) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	random := rand.New(rand.NewPCG(1, 2))
	for begun := time.Now(); time.Since(begun) < d; time.Sleep(time.Duration(random.ExpFloat64() / perSecond * 1e9)) {
		wg.Go(func() {
			sent := time.Now()
			if err := r.Serve(t.Context(), chat("m"), discard{}); err != nil {
				t.Error(err)
			}
			mu.Lock()
			took = append(took, time.Since(sent))
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took
}

// seeded gives the same random numbers each time, to any goroutines.
func seeded() func() float64 {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(3, 4))
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64()
	}
}

func balanced(t testing.TB, balance string, weights []int, handlers ...llm.Handler) *Router {
	cfg := Default()
	cfg.Balance = balance
	var ups []Upstream
	for i, h := range handlers {
		u := Upstream{Name: fmt.Sprint("up", i), Handler: h, Models: []string{"m"}}
		if weights != nil {
			u.Weight = weights[i]
		}
		ups = append(ups, u)
	}
	r, err := New(cfg, ups, Options{Rand: seeded()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// idle checks that nothing is counted as under way.
func idle(t testing.TB, r *Router) {
	t.Helper()
	for _, up := range r.ups {
		if n := up.load.inFlight.Load(); n != 0 {
			t.Errorf("%s: %d in flight", up.Name, n)
		}
		kept := up.load.replicas.kept.Load()
		if kept == nil {
			continue
		}
		for model, rep := range *kept {
			for i := range rep.first {
				if n := rep.first[i].waiting.Load(); n != 0 {
					t.Errorf("%s: %s: %d waiting", up.Name, model, n)
				}
			}
			if n := rep.inFlight.Load(); n != 0 {
				t.Errorf("%s: %s: %d in flight", up.Name, model, n)
			}
		}
	}
}

// TestSlowerReplica: of two replicas one is three times slower.
func TestSlowerReplica(t *testing.T) {
	for _, c := range []struct {
		name      string
		slots     int
		perSecond float64
		ratio     float64 // of the P99 by load to that by weight, at most
	}{
		{"any number at once", 0, 20, 0.5}, {"any number at once, few requests", 0, 5, 0.5}, {"any number at once, many requests", 0, 100, 0.5},
		{"four at once", 4, 30, 0.5}, {"four at once, few requests", 4, 10, 0.5}, {"sixteen at once", 16, 130, 0.5},
	} {
		p99 := make(map[string]time.Duration)
		for _, balance := range balances() {
			synctest.Test(t, func(t *testing.T) {
				quick, slow := &server{took: 100 * time.Millisecond}, &server{took: 300 * time.Millisecond}
				if c.slots > 0 {
					quick.slots, slow.slots = make(chan struct{}, c.slots), make(chan struct{}, c.slots)
				}
				r := balanced(t, balance, nil, quick, slow)
				took := arriving(t, r, c.perSecond, time.Minute)
				p99[balance] = took[len(took)*99/100]
				t.Logf("%-33s %-12s %5.1f %% to the slower one, P50 %v P99 %v", c.name, balance, 100*float64(slow.count)/float64(len(took)),
					took[len(took)/2].Round(time.Millisecond), p99[balance].Round(time.Millisecond))
				idle(t, r)
			})
		}
		for _, balance := range []string{balanceAuto, balanceLeastLoaded, balancePrefix} {
			if float64(p99[balance]) > c.ratio*float64(p99[balanceWeighted]) {
				t.Errorf("%s: P99 %v, by weight %v", balance, p99[balance], p99[balanceWeighted])
			}
		}
	}
}

// A replica that was slow is found out to be quick again within a minute, and one
// that becomes slow is avoided within a second or so.
func TestRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &server{took: 100 * time.Millisecond}, &server{took: 3 * time.Second}
		r := balanced(t, balanceLeastLoaded, nil, a, b)
		part := func(d time.Duration) float64 {
			a.count, b.count = 0, 0
			took := arriving(t, r, 50, d)
			return float64(b.count) / float64(len(took))
		}
		if p := part(time.Minute); p > 0.02 {
			t.Errorf("%.3f go to the slow one", p)
		}
		b.took = 100 * time.Millisecond
		part(time.Minute)
		if p := part(time.Minute); p < 0.4 || p > 0.6 {
			t.Errorf("%.3f go to the one that is quick again", p)
		}
		b.took = 3 * time.Second
		if p := part(time.Minute); p > 0.05 {
			t.Errorf("%.3f go to the one that is slow again", p)
		}
	})
}

// What a first request waits longer for, such as a connection, is not held against
// the replica.
func TestFirstTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &server{took: 50 * time.Millisecond}, &server{took: 50 * time.Millisecond}
		begun := time.Now()
		connecting := llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
			if time.Since(begun) < time.Second {
				time.Sleep(400 * time.Millisecond)
			}
			return b.Serve(ctx, req, out)
		})
		r := balanced(t, balanceLeastLoaded, nil, a, connecting)
		arriving(t, r, 20, 5*time.Second)
		a.count, b.count = 0, 0
		if took := arriving(t, r, 20, 10*time.Second); b.count < len(took)*2/5 {
			t.Errorf("%d of %d go to the one that had to connect", b.count, len(took))
		}
	})
}

// Where replicas do alike each has its weight's part, at any load.
func TestSharesByWeight(t *testing.T) {
	for _, balance := range balances() {
		for _, perSecond := range []float64{3, 100} {
			synctest.Test(t, func(t *testing.T) {
				all := []*server{{took: 200 * time.Millisecond}, {took: 200 * time.Millisecond}, {took: 200 * time.Millisecond}}
				took := arriving(t, balanced(t, balance, []int{5, 3, 2}, all[0], all[1], all[2]), perSecond, time.Minute)
				for i, want := range []float64{0.5, 0.3, 0.2} {
					if got := float64(all[i].count) / float64(len(took)); got < want-0.1 || got > want+0.1 {
						t.Errorf("%s, %v a second: %.2f to the one of %v", balance, perSecond, got, want)
					}
				}
			})
		}
	}
}

// One that hangs gets a few requests, and not one after the other.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &server{took: 50 * time.Millisecond}, &server{took: 10 * time.Minute}
		r := balanced(t, balanceLeastLoaded, nil, a, b)
		took := arriving(t, r, 100, time.Minute)
		if b.count > 8 {
			t.Errorf("%d of %d went to one that never answers", b.count, len(took))
		}
	})
}

// Whatever becomes of a request, it is not counted for ever.
func TestNothingStaysInFlight(t *testing.T) {
	ends := []func(ctx context.Context, out llm.Sink) error{
		func(context.Context, llm.Sink) error { return refused() },
		func(context.Context, llm.Sink) error { return status(500)() },
		func(_ context.Context, out llm.Sink) error { return answer(out, "x") },
		func(_ context.Context, out llm.Sink) error {
			_ = out.Start(&llm.Head{Status: 200, Kind: llm.EventStream})
			return transport(502, codeCut, false)()
		},
		func(ctx context.Context, _ llm.Sink) error { <-ctx.Done(); return ctx.Err() },
		func(context.Context, llm.Sink) error { panic("x") },
		func(context.Context, llm.Sink) error { return transport(504, codeTimeout, false)() },
	}
	synctest.Test(t, func(t *testing.T) {
		h := llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
			return ends[int(req.ID[0])%len(ends)](ctx, out)
		})
		cfg := Default()
		cfg.Breaker.OpenFor = time.Millisecond
		r, err := New(cfg, []Upstream{{Name: "a", Handler: h, Models: []string{"m", "own"}}, {Name: "b", Handler: h, Models: []string{"m"}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 500 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			wg.Go(func() {
				defer cancel()
				defer func() { _ = recover() }()
				req := chat([]string{"m", "own", "a/m"}[i%3])
				req.ID, req.Stream = string(rune('a'+i%26)), i%2 == 0
				_ = r.Serve(ctx, req, &recorder{})
			})
		}
		wg.Wait()
		idle(t, r)
	})
}

// A conversation that goes on stays where it is while others come and go, moves
// where that one has too much to do, and comes back to it.
func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*server
		var handlers []llm.Handler
		for range 5 {
			s := &server{took: 100 * time.Millisecond}
			all, handlers = append(all, s), append(handlers, s)
		}
		r := balanced(t, balanceAuto, nil, handlers...)
		where := func(ids ...int) int {
			for _, s := range all {
				s.count = 0
			}
			if err := r.Serve(t.Context(), talk(ids...), discard{}); err != nil {
				t.Fatal(err)
			}
			return slices.IndexFunc(all, func(s *server) bool { return s.count > 0 })
		}
		homes := make(map[int]int)
		for c := range 40 {
			homes[c] = where(0, 100+c)
		}
		used := make(map[int]int)
		for c, home := range homes {
			used[home]++
			ids := []int{0, 100 + c}
			for turn := range 10 {
				ids = append(ids, 1000+100*c+turn, 9000+100*c+turn)
				if at := where(ids...); at != home {
					t.Fatalf("turn %d of conversation %d went to %d, not %d", turn, c, at, home)
				}
			}
		}
		if len(used) < 5 {
			t.Errorf("conversations went to %v", used)
		}
		// Its home is full of requests.
		home := homes[0]
		rep := r.ups[home].load.replicas.make("m")
		rep.inFlight.Add(10)
		away := where(0, 100, 1, 2)
		if away == home {
			t.Error("it stayed with one that has all to do")
		}
		if at := where(0, 100, 1, 2, 3, 4); at != away {
			t.Errorf("it went on to %d, not %d", at, away)
		}
		rep.inFlight.Add(-10)
		if at := where(0, 101); at != homes[1] {
			t.Error("another conversation moved")
		}
		got := make(reporter)
		r.Figures(got)
		if n := got[fmt.Sprint("route_picks_total upstream up", away, " cause bounded")]; n != 1 {
			t.Errorf("%v were moved", n)
		}
	})
}

// talk is a chat of messages that the numbers stand for: of the system, a user, an
// assistant, a user, …
func talk(ids ...int) *llm.Request {
	body := []byte(`{"model":"m","messages":[`)
	for i, id := range ids {
		role := "assistant"
		if i == 0 {
			role = "system"
		} else if i%2 == 1 {
			role = "user"
		}
		body = fmt.Appendf(body, `{"role":%q,"content":"this is what message %d says"},`, role, id)
	}
	body[len(body)-1] = ']'
	body = append(body, '}')
	return &llm.Request{Op: llm.Chat, Method: "POST", Path: "/v1/chat/completions", Model: "m", ModelSpan: llm.Span{Start: 9, End: 12}, Body: body, BodyLen: int64(len(body))}
}

// Other gateways, and one that was started again, bring most conversations to the
// same replicas, of which each has its part; with one more, few move.
func TestHashing(t *testing.T) {
	handlers := []llm.Handler{quick(), quick(), quick(), quick(), quick()}
	where := func(n int) (list []string) {
		r := balanced(t, balanceAuto, []int{1, 1, 1, 1, 4}[:n], handlers[:n]...)
		for c := range 800 {
			call := &call{router: r, req: *talk(0, 100+c)}
			call.targets = r.table.Load().resolve(nil, "m", 0, false)
			to, _ := call.choose()
			list = append(list, to.up.Name)
		}
		return list
	}
	four, again, five := where(4), where(4), where(5)
	moved, parts := 0, make(map[string]int)
	for i := range four {
		if four[i] != again[i] {
			t.Fatalf("conversation %d went to %s and then to %s", i, four[i], again[i])
		}
		if five[i] != four[i] && five[i] != "up4" {
			moved++
		}
		parts[five[i]]++
	}
	if moved > 0 || parts["up4"] < 350 || parts["up4"] > 450 || parts["up0"] < 70 || parts["up0"] > 130 {
		t.Errorf("%d moved to another than the new one; each has %v", moved, parts)
	}
}

// One that comes back has a small part at first, which grows.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &server{took: 50 * time.Millisecond}, &server{took: 50 * time.Millisecond}
		down := llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
			if b.took == 0 {
				return refused()
			}
			return b.Serve(ctx, req, out)
		})
		r := balanced(t, balanceAuto, nil, a, down)
		part := func(d time.Duration) float64 {
			a.count, b.count = 0, 0
			took := arriving(t, r, 50, d)
			return float64(b.count) / float64(len(took))
		}
		if p := part(10 * time.Second); p < 0.4 {
			t.Errorf("%.2f at first", p)
		}
		b.took = 0
		part(5 * time.Second)
		is(t, "breaker", r.Health()[1].Breaker, "open")
		time.Sleep(10 * time.Second)
		b.took = 50 * time.Millisecond
		for range 9 { // until one of them tries it
			ask(t, r, chat("m"))
		}
		is(t, "breaker", r.Health()[1].Breaker, "closed")
		early, late := part(5*time.Second), 0.0
		time.Sleep(25 * time.Second)
		if late = part(10 * time.Second); early > 0.3 || early == 0 || late < 0.4 {
			t.Errorf("%.2f soon after it came back, %.2f later", early, late)
		}
	})
}

// One that fails far more than the others is left alone for a while, however its
// failures are spread, but not where there is no other.
func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := func(_ context.Context, n int, _ *llm.Request, _ llm.Sink) error {
			if n%4 != 0 {
				return status(500)()
			}
			return nil
		}
		a, b, c := &fake{name: "a", serve: bad}, &fake{name: "b"}, &fake{name: "c"}
		r := serving(t, oneAttempt(), a, b, c)
		r.rand = seeded()
		for range 200 {
			ask(t, r, chat("m"))
		}
		h := r.Health()[0]
		if a.count() > 20 || len(h.Failing) != 1 || !h.Failing[0].Ejected || h.Breaker != "closed" || r.ups[0].load.ejections.Load() != 1 {
			t.Errorf("it was asked %d times, %+v", a.count(), h)
		}
		is(t, "advice", examined(r, "upstream/a").Advice[:42], "`m` fails far more often than at other ups")
		// The others fail too: better to ask it than nobody.
		b.serve, c.serve = always(refused), always(refused)
		for range 12 {
			ask(t, r, chat("m"))
		}
		n := a.count()
		a.serve = nil
		is(t, "no other", ask(t, r, chat("m")), "a:m")
		if a.count() != n+1 || r.ups[0].load.picks[ejected].Load() == 0 {
			t.Errorf("%d picks for want of others", r.ups[0].load.picks[ejected].Load())
		}
		// When its time is up one request tries it, and it is back.
		time.Sleep(10 * time.Second)
		is(t, "tried", ask(t, r, chat("m")), "a:m")
		if h := r.Health()[0]; len(h.Failing) > 0 {
			t.Errorf("%+v", h)
		}
		idle(t, r)
	})
}

func examined(r *Router, component string) (found perf.Condition) {
	r.Examine(func(c perf.Condition) {
		if c.Component == component {
			found = c
		}
	})
	return found
}

// No more than half are left alone, and none where most fail: it is no exception.
func TestEjectionIsBounded(t *testing.T) {
	for bad, want := range []int{0, 1, 2, 0, 0} {
		synctest.Test(t, func(t *testing.T) {
			var all []*fake
			for i := range 4 {
				f := &fake{name: fmt.Sprint(i)}
				if i < bad {
					f.serve = func(_ context.Context, n int, _ *llm.Request, _ llm.Sink) error {
						if n%3 != 0 {
							return status(500)()
						}
						return nil
					}
				}
				all = append(all, f)
			}
			r := serving(t, oneAttempt(), all...)
			r.rand = seeded()
			for range 2000 {
				ask(t, r, chat("m"))
			}
			got := 0
			for _, h := range r.Health() {
				for _, m := range h.Failing {
					if m.Ejected {
						got++
					}
				}
			}
			if got != want {
				t.Errorf("%d of 4 fail: %d are left alone, want %d", bad, got, want)
			}
		})
	}
}

// A new configuration takes over what is under way, what is known of times and
// where conversations are; an upstream that is new starts slowly.
func TestBalanceOutlivesReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := &server{took: time.Second}, &server{took: 3 * time.Second}, &server{took: time.Second}
		r := balanced(t, balanceAuto, nil, a, b)
		for i := range 20 {
			if err := r.Serve(t.Context(), talk(0, i), discard{}); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error)
		go func() { done <- r.Serve(t.Context(), talk(0, 100), discard{}) }()
		synctest.Wait()
		ups := []Upstream{{Name: "new", Handler: c, Models: []string{"m"}}}
		for _, up := range r.ups {
			ups = append(ups, up.Upstream)
		}
		next, err := New(Default(), ups, Options{Before: r, Rand: r.rand})
		if err != nil {
			t.Fatal(err)
		}
		under := int64(0)
		for _, up := range next.ups {
			under += up.load.inFlight.Load()
		}
		if under != 1 {
			t.Errorf("%d under way", under)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		idle(t, next)
		if next.ups[0].load.back.Load() == 0 || next.ups[1].load.back.Load() != 0 || next.ups[0].load.bit&(next.ups[1].load.bit|next.ups[2].load.bit) != 0 {
			t.Error("the new one does not start slowly, or is taken for another")
		}
		before := a.count
		for turn := range 5 {
			ids := []int{0, 100}
			for i := range turn {
				ids = append(ids, 200+i, 300+i)
			}
			if err := next.Serve(t.Context(), talk(ids...), discard{}); err != nil {
				t.Fatal(err)
			}
		}
		if a.count-before != 5 || c.count != 0 {
			t.Errorf("%d of 5 turns went where the conversation was", a.count-before)
		}
	})
}

// However many names clients think of, those of models that answer are kept.
func TestReplicasAreBounded(t *testing.T) {
	var rs replicas
	rs.make("m").first[0].observe(time.Second, time.Second, 0)
	for i := range 2 * maxReplicas {
		rs.make(fmt.Sprint("made up ", i))
	}
	if n := len(*rs.kept.Load()); n != maxReplicas || rs.find("m") == nil {
		t.Errorf("%d are kept, m: %v", n, rs.find("m"))
	}
	for _, r := range *rs.kept.Load() {
		r.inFlight.Add(1)
	}
	if rs.make("one more") != &rs.rest || rs.make(strings.Repeat("x", maxModelName+1)) != &rs.rest || rs.find("m") == nil {
		t.Error("one that is busy was dropped")
	}
}

// A choice costs no allocation, and no more for a large body than for its beginning.
func TestChoiceAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	for _, n := range []int{2, 8, 16} {
		c := picking(t, n, 100<<10)
		if got := testing.AllocsPerRun(100, func() { chosen(c) }); got > 0 {
			t.Errorf("%d replicas: %v allocations", n, got)
		}
	}
}

// picking is a call that is about to be sent to one of some replicas.
func picking(tb testing.TB, replicas, size int) *call {
	var handlers []llm.Handler
	for range replicas {
		handlers = append(handlers, quick())
	}
	r := balanced(tb, balanceAuto, nil, handlers...)
	ids := []int{0}
	for n := 0; n < size; n += 60 {
		ids = append(ids, n)
	}
	c := &call{router: r, req: *talk(ids...)}
	c.targets = r.table.Load().resolve(nil, "m", 0, false)
	for _, up := range r.ups {
		up.load.replicas.make("m").first[0].observe(time.Second, time.Second, 1)
	}
	chosen(c)
	return c
}

// chosen chooses a target, which takes the conversation.
func chosen(c *call) {
	if t, _ := c.choose(); c.choice.learns {
		c.stays(t.up)
	}
}

func BenchmarkChoose(b *testing.B) {
	for _, size := range []int{200, 10 << 10, 100 << 10, 1 << 20} {
		for _, n := range []int{2, 8, 64} {
			c := picking(b, n, size)
			for _, balance := range []string{balanceWeighted, balanceLeastLoaded, balancePrefix} {
				c.router.cfg.Balance = balance
				b.Run(fmt.Sprintf("%dKiB/%d/%s", size>>10, n, balance), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						chosen(c)
					}
				})
			}
		}
	}
}
