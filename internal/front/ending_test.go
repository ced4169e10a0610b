package front

import (
	"bufio"
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// sluggish is an observer that has no processor for a while.
type sluggish struct{ told atomic.Int64 }

func (s *sluggish) Observe(x *perf.Exchange) {
	if !x.Own {
		time.Sleep(20 * time.Millisecond)
		s.told.Add(1)
	}
}

// TestEndings: whoever has seen the end of a reply, of any kind, and asks at once
// what there was, is told of it.
func TestEndings(t *testing.T) {
	var observer sluggish
	var knew atomic.Int64
	large := strings.Repeat("x", 3*engineBuffer)
	routes := []Route{{Method: "GET", Path: ownPath, Handler: JSON(func(context.Context, *llm.Request) ([]byte, error) {
		knew.Store(observer.told.Load())
		return []byte(`{}`), nil
	})}}
	s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		switch req.Model {
		case "small":
			return sendUnary(out, `{}`)
		case "large":
			return sendUnary(out, large)
		case "pieces":
			h := llm.Head{Status: 200, Kind: llm.Pieces, Length: int64(2 * len(large))}
			if err := out.Start(&h); err != nil {
				return err
			}
			return out.Send([]llm.Event{{Raw: []byte(large)}, {Raw: []byte(large)}})
		}
		if err := startStream(out); err != nil {
			return err
		}
		if req.Model == "failed" {
			_ = out.Send(events("data: 1\n\n"))
			return llm.Errorf(502, "upstream_cut", "Cut.")
		}
		return out.Send(events("data: 1\n\n", map[string]string{"chat": "data: [DONE]\n\n", "response": "event: response.completed\ndata: {}\n\n"}[req.Model]))
	}, Options{Observers: []perf.Observer{&observer}, Routes: routes, Metrics: llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		knew.Store(observer.told.Load())
		return llm.SendWhole(out, "text/plain", nil)
	})}, withAdmin)
	s.endings.patience = time.Hour // of none is it more than its observer that is waited for

	// ends reads as much as a client that knows the API reads.
	ends := map[string]func(r io.Reader) error{
		"small":    func(r io.Reader) error { _, err := io.CopyN(io.Discard, r, 2); return err },
		"large":    func(r io.Reader) error { _, err := io.CopyN(io.Discard, r, int64(len(large))); return err },
		"pieces":   func(r io.Reader) error { _, err := io.CopyN(io.Discard, r, int64(2*len(large))); return err },
		"chat":     until("data: [DONE]"),
		"response": until("event: response.completed"),
		"failed":   until("data: {\"error\""),
	}
	want := int64(0)
	for _, e := range engines {
		client := e.client(t, s)
		asker := e.client(t, s)
		for model, end := range ends {
			for _, path := range []string{ownPath, "/metrics"} {
				api := chatPath
				if model == "response" {
					api = "/v1/responses"
				}
				req := newRequest(t, t.Context(), "POST", s.url(api), `{"model":"`+model+`","stream":true}`)
				req.Header.Set("Authorization", "Bearer key-team")
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if err := end(resp.Body); err != nil {
					t.Fatalf("%s: %v", model, err)
				}
				want++
				ask := newRequest(t, t.Context(), "GET", s.url(path), "")
				ask.Header.Set("Authorization", "Bearer key-boss")
				if resp, body := do(t, asker, ask); resp.StatusCode != 200 || knew.Load() != want {
					t.Errorf("%s %s, then %s: %d %s; it knew of %d, not of %d", e.name, model, path, resp.StatusCode, body, knew.Load(), want)
					want = knew.Load()
				}
				resp.Body.Close()
			}
		}
	}
}

// until reads lines up to one that begins so.
func until(begin string) func(io.Reader) error {
	return func(r io.Reader) error {
		for b := bufio.NewReader(r); ; {
			line, err := b.ReadString('\n')
			if err != nil || strings.HasPrefix(line, begin) {
				return err
			}
		}
	}
}

// TestEndingsAreNotWaitedForLong: a client that does not take its reply delays
// others' reports by a bounded time; what is under way without having ended, by
// none.
func TestEndingsAreNotWaitedForLong(t *testing.T) {
	e := newEndings()
	e.patience = 30 * time.Millisecond
	e.count[1].Add(1)
	begun := time.Now()
	done := make(chan struct{})
	for range 10 {
		go func() { e.wait(); done <- struct{}{} }()
	}
	for range 10 {
		<-done
	}
	if time.Since(begun) < e.patience {
		t.Error("it did not wait")
	}
	e.count[1].Add(-1)
	e.patience = time.Hour
	e.wait()

	// Under load there is always one that may be at its end: it is enough that
	// those are gone that were there.
	stop := make(chan struct{})
	go func() {
		defer close(done)
		place := -1
		for ; ; time.Sleep(time.Millisecond) {
			next := int(e.turn.Load() % 2)
			e.count[next].Add(1)
			if place >= 0 {
				e.count[place].Add(-1)
			}
			place = next
			select {
			case <-stop:
				e.count[place].Add(-1)
				return
			default:
			}
		}
	}()
	for range 5 {
		e.wait()
	}
	close(stop)
	<-done
}
