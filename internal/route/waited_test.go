package route

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// TestWaited: the attempts that failed and the pauses between them are waiting
// for upstreams too, as is that for model lists.
func TestWaited(t *testing.T) {
	const each = 100 * time.Millisecond
	router := func(t *testing.T, models []string, fails int) *Router {
		t.Helper()
		h := llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
			time.Sleep(each)
			if req.Op == llm.ListModels {
				return having("m")(ctx, 1, out)
			}
			if fails--; fails >= 0 {
				return status(503)()
			}
			return out.Start(&llm.Head{Status: 200, Attempts: 1, Waited: each})
		})
		r, err := New(Default(), []Upstream{{Name: "a", Models: models, Handler: h}, {Name: "b", Models: []string{"other"}, Handler: h}}, Options{Rand: func() float64 { return 0 }})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	check := func(t *testing.T, r *Router, req *llm.Request, attempts int, least time.Duration) {
		t.Helper()
		out, begun := &recorder{}, time.Now()
		if err := r.Serve(t.Context(), req, out); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); out.head.Waited != took || out.head.Attempts != attempts || took < least {
			t.Errorf("waited %v of %v, %d attempts, want %d", out.head.Waited, took, out.head.Attempts, attempts)
		}
	}
	for fails := range 3 {
		synctest.Test(t, func(t *testing.T) {
			check(t, router(t, []string{"m"}, fails), chat("m"), fails+1, time.Duration(fails+1)*each)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		err := router(t, []string{"m"}, 9).Serve(t.Context(), chat("m"), &recorder{})
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Attempts != 3 || e.Waited != time.Since(begun) || e.Waited < 3*each {
			t.Errorf("%+v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := router(t, nil, 0)
		start(t, r)
		check(t, r, chat("m"), 1, 2*each)
		time.Sleep(time.Minute)
		list := &llm.Request{Op: llm.ListModels, Method: "GET", Path: "/v1/models"}
		check(t, r, list, 0, 0)
		list.Cache.NoCache = true
		check(t, r, list, 0, each)
	})
}
