package simulator

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestCost: calls wait for a worker, and take what they and their items cost.
func TestCost(t *testing.T) {
	for _, test := range []struct {
		path, body string
		calls      int
		took       time.Duration
	}{
		{"embeddings", `{"model":"sim-embed?call-cost=10ms&item-cost=1ms","input":"a"}`, 8, 88 * time.Millisecond},
		{"embeddings", `{"model":"sim-embed?call-cost=10ms&item-cost=1ms&workers=2","input":"a"}`, 8, 44 * time.Millisecond},
		{"embeddings", `{"model":"sim-embed?call-cost=10ms&item-cost=1ms","input":["a","b","c","d"]}`, 2, 28 * time.Millisecond},
		{"completions", `{"model":"sim-chat?item-cost=5ms","prompt":["a","b"],"n":2}`, 1, 10 * time.Millisecond},
		{"chat/completions", `{"model":"sim-chat?call-cost=5ms&item-cost=2ms","messages":[{"role":"user","content":"hi"}]}`, 2, 14 * time.Millisecond},
		{"embeddings", `{"model":"sim-embed","input":["a","b"]}`, 4, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := New(Config{})
			begun := time.Now()
			var all sync.WaitGroup
			for range test.calls {
				all.Go(func() {
					if status := ask(t.Context(), s, test.path, test.body); status != 200 {
						t.Errorf("%s: %d", test.body, status)
					}
				})
			}
			all.Wait()
			if took := time.Since(begun); took != test.took {
				t.Errorf("%d of %s took %v, want %v", test.calls, test.body, took, test.took)
			}
		})
	}
}

// A client that leaves in line, or while it is worked for, takes nobody's time.
func TestCostLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		const body = `{"model":"sim-embed?call-cost=1s","input":"a"}`
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if status := ask(ctx, s, "embeddings", body); status != 0 {
					t.Errorf("status %d", status)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		leave()
		all.Wait()
		begun := time.Now()
		if status := ask(t.Context(), s, "embeddings", body); status != 200 || time.Since(begun) != time.Second {
			t.Errorf("status %d after %v", status, time.Since(begun))
		}
	})
	c := crews{teams: map[crew]*team{}}
	for i := range 2 * maxCrews {
		if c.find(crew{fmt.Sprint(i), 1}); len(c.teams) > maxCrews {
			t.Fatalf("%d crews are remembered", len(c.teams))
		}
	}
}

// Calls whose costs are spread take as long on average, and differ.
func TestCostSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		const calls = 50
		begun, seen := time.Now(), map[time.Duration]bool{}
		for range calls {
			before := time.Now()
			if status := ask(t.Context(), s, "embeddings", `{"model":"sim-embed?call-cost=10ms&cost-spread=50","input":"a"}`); status != 200 {
				t.Fatal(status)
			}
			took := time.Since(before)
			if seen[took] = true; took < 5*time.Millisecond || took > 15*time.Millisecond {
				t.Errorf("a call took %v", took)
			}
		}
		if mean := time.Since(begun) / calls; mean < 9800*time.Microsecond || mean > 10200*time.Microsecond || len(seen) < calls*9/10 {
			t.Errorf("calls took %v on average, %d different times", mean, len(seen))
		}
	})
}

// ask sends a request without a network; 0 is a reply that was given up.
func ask(ctx context.Context, s *Server, path, body string) (status int) {
	defer func() {
		if r := recover(); r != nil && r != http.ErrAbortHandler {
			panic(r)
		}
	}()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	s.ServeHTTP(w, r)
	return w.Code
}
