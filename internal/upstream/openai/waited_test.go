package openai

import (
	"io"
	"net/http"
	"testing"
	"time"
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
