package openai

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
	"sluice/internal/upstream"
)

// TestWaited: a whole reply is waited for until its end, a stream until its
// first event, which comments before it are not, and one in pieces until its
// head.
func TestWaited(t *testing.T) {
	const pause = 30 * time.Millisecond
	for _, c := range []struct {
		name, contentType string
		parts             []string // with a pause before each
		least             int      // pauses that are waited for
	}{
		{"whole", "application/json", []string{"{", "}"}, 2},
		{"stream", "text/event-stream", []string{": c\n\n", "data: 1\n\n", "data: [DONE]\n\n"}, 2},
		{"pieces", "audio/mpeg", []string{"a", "b"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			more := make(chan struct{}, len(c.parts))
			h := newHandler(t, server(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", c.contentType)
				rc := http.NewResponseController(w)
				for i, part := range c.parts {
					_ = rc.Flush()
					if i >= c.least {
						<-more // the reply has begun
					} else {
						time.Sleep(pause)
					}
					_, _ = io.WriteString(w, part)
				}
			}), nil)
			begun := time.Now()
			var started time.Duration
			out := &sink{onStart: func() error {
				started = time.Since(begun)
				for range c.parts {
					more <- struct{}{}
				}
				return nil
			}}
			if err := h.Serve(t.Context(), chat(`{"model":"m"}`, false), out); err != nil {
				t.Fatal(err)
			}
			if w := out.head.Waited; w < time.Duration(c.least)*pause || w <= 0 || w > started || out.head.Attempts != 1 {
				t.Errorf("waited %v of %v, %d attempts", w, started, out.head.Attempts)
			}
		})
	}
}

// TestQueued: what a call waits for a connection that is in use is told apart, in the
// head of its reply as in its error.
func TestQueued(t *testing.T) {
	const pause = 30 * time.Millisecond
	for name, c := range map[string]struct {
		contentType, body string
		status            int
	}{
		"whole":  {"application/json", "{}", 200},
		"stream": {"text/event-stream", "data: 1\n\ndata: [DONE]\n\n", 200},
		"pieces": {"audio/mpeg", "a", 200},
		"error":  {"application/json", `{"error":{"message":"no"}}`, 400},
		"late":   {"application/json", "{}", 504},
	} {
		t.Run(name, func(t *testing.T) {
			arrived, release := make(chan struct{}, 2), make(chan struct{}, 2)
			h := newHandler(t, server(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				arrived <- struct{}{}
				<-release
				w.Header().Set("Content-Type", c.contentType)
				if c.status == 400 {
					w.WriteHeader(c.status)
				}
				_, _ = io.WriteString(w, c.body)
			}), func(_ *Config, tc *upstream.Config, _ *upstream.StreamConfig) {
				tc.MaxConnections, tc.MaxKeepaliveConnections, tc.WarmConnections = 1, 1, 0
			})
			var wg sync.WaitGroup
			wg.Go(func() {
				if out, err := serve(t, h, chat("{}", false)); out.head.Queued > 0 || err != nil && llm.AsError(err).Queued > 0 {
					t.Errorf("the first call queued for %v, %v", out.head.Queued, err)
				}
			})
			<-arrived
			answered := make(chan struct{})
			wg.Go(func() {
				defer close(answered)
				begun, req := time.Now(), chat("{}", name == "stream")
				if c.status == 504 {
					req.Deadline = begun.Add(pause)
				}
				out, err := serve(t, h, req)
				queued, waited, took := out.head.Queued, out.head.Waited, time.Since(begun)
				if e, ok := err.(*llm.Error); ok && e.Status == c.status {
					queued = e.Queued
				} else if err != nil || c.status != 200 {
					t.Errorf("%v", err)
				}
				if name != "late" && queued < pause/2 || queued+waited > took {
					t.Errorf("queued for %v and waited %v of %v", queued, waited, took)
				}
			})
			if name == "late" {
				<-answered
			} else {
				testkit.Until(t, "the second call waits", func() bool {
					var found perf.Condition
					h.client.Examine(func(p perf.Condition) { found = p })
					return found.State == perf.Degraded
				})
				time.Sleep(pause)
				release <- struct{}{}
				<-arrived
			}
			release <- struct{}{}
			wg.Wait()
		})
	}
}
