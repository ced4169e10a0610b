package cache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// late has an upstream answer after a second, which it says in its head.
type late struct{ next llm.Handler }

func (l late) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	time.Sleep(time.Second)
	return l.next.Serve(ctx, req, waited{out})
}

type waited struct{ llm.Sink }

func (w waited) Start(h *llm.Head) error {
	h.Waited, h.Attempts, h.Queued, h.Batch = time.Second, 2, time.Millisecond, 3
	return w.Sink.Start(h)
}

// TestWaited: the request that makes the call has waited for it, one that joins
// it cannot say, and one that is answered from the cache has not.
func TestWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
			if r.Op == llm.Embedding {
				return embedded("")(ctx, n, r, out)
			}
			return answer(out, chatReply("x"))
		}
		f.stage = f.Stage(late{f.up}, groups{}, false)
		check := func(what string, c *client, waited time.Duration, attempts int) {
			t.Helper()
			queued, batch := time.Duration(0), 0
			if attempts > 0 {
				queued, batch = time.Millisecond, 3
			} else if waited < 0 {
				batch = 3
			}
			if c.head.Queued != queued || c.head.Batch != batch {
				t.Errorf("%s (%v): queued %v, a call of %d", what, c.head.Cache, c.head.Queued, c.head.Batch)
			}
			if c.head.Waited != waited || c.head.Attempts != attempts {
				t.Errorf("%s (%v): waited %v, %d attempts", what, c.head.Cache, c.head.Waited, c.head.Attempts)
			}
		}
		all, _ := f.callers(2, func() *llm.Request { return chat("hi") })
		for _, c := range all {
			if c.head.Cache == llm.CacheMiss {
				check("first", c, time.Second, 2)
			} else {
				check("joined", c, -1, 0)
			}
		}
		one := func(req *llm.Request) *client {
			all, errs := f.callers(1, func() *llm.Request { return req })
			if errs[0] != nil {
				t.Fatal(errs[0])
			}
			return all[0]
		}
		check("hit", one(chat("hi")), 0, 0)
		check("bypass", one(chat("hi", policy(llm.CachePolicy{NoStore: true}))), time.Second, 2)
		check("all inputs", one(embed(`["a","b"]`)), time.Second, 2)
		check("a part of them", one(embed(`["a","c"]`)), time.Second, 2)
		check("none of them", one(embed(`["b","c"]`)), 0, 0)

		// The smaller request is refused, and the whole one is sent.
		f.up.then(func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
			if len(inputs(t, r.Body)) == 1 {
				return &llm.Error{Status: 400, Fault: llm.Answered}
			}
			return embedded("")(ctx, n, r, out)
		})
		check("refused first", one(embed(`["a","d"]`)), 2*time.Second, 2)
	})
}
