package memory

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

func sized(n int64) *Budget {
	b := new(Budget)
	b.Resize(n)
	return b
}

// Each kind of work has its own mark: what is large leaves room for what is small, and
// that for what has begun.
func TestMarks(t *testing.T) {
	b := sized(1000)
	a := b.Account("a")
	if err := a.Wait(t.Context(), 600, 0); err != nil {
		t.Fatal(err)
	}
	if a.Take(401) || !a.Take(400) {
		t.Error("what is small may fill the whole, and no more")
	}
	if a.More(101) || !a.More(100) {
		t.Error("what has begun may have a tenth more")
	}
	if b.Used() != 1100 || a.Held() != 1100 || b.refused.Load() != 2 {
		t.Errorf("%d used, %d held, %d refused", b.Used(), a.Held(), b.refused.Load())
	}
	a.Give(1100)
	if b.Used() != 0 || a.Held() != 0 {
		t.Errorf("%d used, %d held", b.Used(), a.Held())
	}
	if b.Account("a") != a || b.Account("b") == a {
		t.Error("an account for each name")
	}
}

// What asks for too much is not in the way of others even for a moment.
func TestHugeIsNotInTheWay(t *testing.T) {
	b := sized(1000)
	a := b.Account("a")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10_000 {
				if a.Take(1 << 40) {
					t.Error("granted")
				}
			}
		})
	}
	for range 10_000 {
		if !a.Take(1) {
			t.Error("refused")
		}
		a.Give(1)
	}
	wg.Wait()
}

// Without a bound, and without an account, everything is granted.
func TestUnbounded(t *testing.T) {
	var b Budget
	a := b.Account("a")
	if !a.Take(1<<50) || a.Wait(t.Context(), 1<<50, 0) != nil || b.Used() != 1<<51 {
		t.Error("refused")
	}
	var none *Account
	if !none.Take(1) || !none.More(1) || none.Wait(t.Context(), 1, 0) != nil || none.Begin(1) != nil {
		t.Error("refused")
	}
	none.Hold(1)
	none.Give(1)
}

// Those who wait have their turn in the order of their coming, and the one in front is
// not passed by smaller ones.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sized(1000)
		a := b.Account("a")
		a.Hold(600)
		var order []int64
		var mu sync.Mutex
		for _, n := range []int64{500, 100, 200} {
			go func() {
				if err := a.Wait(t.Context(), n, 0); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		if !b.Waiting() {
			t.Fatal("nobody waits")
		}
		for i, give := range []int64{100, 400, 100, 200} {
			a.Give(give)
			synctest.Wait()
			if want := []int{0, 1, 2, 3}[i]; len(order) != want {
				t.Fatalf("after %d: %v", i, order)
			}
		}
		if order[0] != 500 || order[1] != 100 || order[2] != 200 || b.Waiting() {
			t.Error(order)
		}
	})
}

// Nobody waits for longer than Patience, or than the client does, and whoever gives up
// is in nobody's way.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sized(1000)
		a := b.Account("a")
		a.Hold(500)
		begun := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		results := make(chan error, 3)
		go func() { results <- a.Wait(ctx, 300, 0) }()
		go func() { results <- a.Wait(t.Context(), 200, 0) }()
		synctest.Wait()
		if e := llm.AsError(<-results); e.Fault != llm.Left || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", e, time.Since(begun))
		}
		e := llm.AsError(<-results)
		if e.Fault != llm.Lacking || e.Status != 503 || e.RetryAfter <= 0 || time.Since(begun) != Patience {
			t.Errorf("%v after %v", e, time.Since(begun))
		}
		if err := a.Wait(t.Context(), 100, 0); err != nil || b.Waiting() || b.Used() != 600 {
			t.Errorf("%v; %d used", err, b.Used())
		}
		e = llm.AsError(a.Wait(t.Context(), 601, 0))
		if e.Status != 413 || time.Since(begun) != Patience {
			t.Errorf("%v: there never will be room for it", e)
		}
	})
}

// What can be had again makes room for what is asked for, as much as that takes.
func TestReclaim(t *testing.T) {
	b := sized(1000)
	a, cache := b.Account("a"), b.Account("cache")
	b.reclaim = func(n int64) { cache.Give(min(n, cache.Held())) }
	cache.Hold(900)
	if !a.Take(150) || cache.Held() != 850 {
		t.Errorf("%d cached", cache.Held())
	}
	if err := a.Wait(t.Context(), 400, 0); err != nil || cache.Held() != 50 {
		t.Errorf("%v, %d cached", err, cache.Held())
	}
	if a.Take(451) {
		t.Error("granted")
	}
	synctest.Test(t, func(t *testing.T) {
		go func() {
			time.Sleep(time.Second)
			a.Give(500) // the cache took what became free meanwhile
			cache.Hold(1000 - b.Used())
			b.relieve()
		}()
		if err := a.Wait(t.Context(), 550, 0); err != nil {
			t.Error(err)
		}
	})
}

// Nothing is lost and nothing granted twice when all go on at once.
func TestBudgetConcurrently(t *testing.T) {
	b := sized(1 << 20)
	cache := b.Account("cache")
	b.reclaim = func(n int64) { cache.Give(min(n, cache.Held())) }
	cache.Hold(1 << 18)
	var wg sync.WaitGroup
	for i := range 8 {
		a := b.Account([]string{"x", "y"}[i%2])
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for j := range 2000 {
				n := rand.Int64N(1 << 17)
				if j%3 == 0 {
					if a.Take(n) {
						a.Give(n)
					}
					continue
				}
				if err := a.Wait(ctx, n, 0); err != nil {
					var e *llm.Error
					if !errors.As(err, &e) {
						t.Error(err)
					}
					continue
				}
				if used := b.Used(); used > 1<<20 {
					t.Errorf("%d used", used)
				}
				a.Give(n)
			}
		})
	}
	wg.Wait()
	if b.Used() != cache.Held() || b.Waiting() || b.Account("x").Held() != 0 {
		t.Errorf("%d used, %d cached", b.Used(), cache.Held())
	}
}

func BenchmarkReserve(b *testing.B) {
	a := sized(1 << 30).Account("a")
	b.ReportAllocs()
	for b.Loop() {
		if a.Take(1024) {
			a.Give(1024)
		}
	}
}
