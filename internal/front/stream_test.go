package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// open sends a streaming request and returns its reply once it has begun.
func (s *site) open(t testing.TB, ctx context.Context, e speaker, path string) *http.Response {
	t.Helper()
	resp, err := e.client(t, s).Do(newRequest(t, ctx, "POST", s.url(path), streamBody))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestStream(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			more := make(chan struct{})
			s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
				if err := startStream(out); err != nil {
					return err
				}
				if err := out.Send(events("data: 1\n\n")); err != nil {
					return err
				}
				<-more
				return out.Send(events(": c\r\n\r\n", "data: 2\n\n", "data: tail"))
			})
			resp := s.open(t, t.Context(), e, chatPath)
			want := http.Header{"Content-Type": {"text/event-stream"}, "Cache-Control": {"no-cache"}, "X-Accel-Buffering": {"no"}, "X-Sluice-Upstream": {"up"}}
			for name := range want {
				if resp.Header.Get(name) != want.Get(name) {
					t.Errorf("%s: %q", name, resp.Header.Get(name))
				}
			}
			r := bufio.NewReader(resp.Body)
			// The handler sends nothing more until the first event has been read.
			if got := nextEvent(t, r); got != "data: 1\n\n" {
				t.Fatalf("first event %q", got)
			}
			close(more)
			rest, err := io.ReadAll(r)
			if err != nil || string(rest) != ": c\r\n\r\ndata: 2\n\ndata: tail" {
				t.Errorf("rest %q, %v", rest, err)
			}
		})
	}
}

// TestOneWrite counts the writes that reach the socket.
func TestOneWrite(t *testing.T) {
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		if err := startStream(out); err != nil {
			return err
		}
		return out.Send(events("data: 1\n\n", "data: 2\n\n", "data: 3\n\n"))
	})
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(streamBody), streamBody)
	buf := make([]byte, 64<<10)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(buf[:n]); !strings.HasPrefix(got, "HTTP/1.1 200") || !strings.Contains(got, "data: 3\n\n") {
		t.Errorf("the head and the events did not come in one piece: %q", got)
	}
	if n := s.stats.writes.Load(); n != 1 {
		t.Errorf("%d writes", n)
	}
}

func TestErrorEvent(t *testing.T) {
	for _, e := range engines {
		for path, want := range map[string]string{
			chatPath:        "data: {\"error\":{\"message\":\"the \\\"upstream\\\" failed\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_cut\"}}\n\n",
			"/v1/responses": "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_cut\",\"message\":\"the \\\"upstream\\\" failed\",\"param\":null,\"sequence_number\":2}\n\n",
		} {
			seen := make(seen, 1)
			s := startWith(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
				if err := errors.Join(startStream(out), out.Send(events("data: 1\n\n", "data: 2\n\n"))); err != nil {
					return err
				}
				fault := llm.Errorf(502, "upstream_cut", "the \"upstream\" failed")
				fault.Upstream = "up"
				return fault
			}, Options{Observers: []perf.Observer{seen}})
			b, err := io.ReadAll(s.open(t, t.Context(), e, path).Body)
			if !brokenOff(err) || string(b) != "data: 1\n\ndata: 2\n\n"+want {
				t.Errorf("%s %s: %q, %v", e.name, path, b, err)
			}
			if s.stats.aborts[abortUpstream].Load() != 1 {
				t.Error("not counted")
			}
			if x := seen.next(t); x.Class() != perf.Cut || s.stats.requests[x.Op][broken].Load() != 1 {
				t.Errorf("%s %s: of class %q, and %d counted as broken", e.name, path, x.Class(), s.stats.requests[x.Op][broken].Load())
			}
		}
	}
}

// brokenOff reports whether err, of reading a body, is how a stream ends that failed:
// without the last chunk, or reset with INTERNAL_ERROR.
func brokenOff(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || err != nil && strings.Contains(err.Error(), "INTERNAL_ERROR; received from peer")
}

// TestToldByUpstream: a stream whose own event tells of an error gets no second one
// and ends as its upstream's did; it has failed, also where its client leaves then.
func TestToldByUpstream(t *testing.T) {
	const failure = "data: {\"error\":{}}\n\n"
	for _, e := range engines {
		for _, c := range []struct {
			name         string
			ended, leave bool
			aborted      string
		}{{"ended", true, false, ""}, {"cut", false, false, perf.AbortUpstream}, {"left", true, true, perf.AbortClient}} {
			seen := make(seen, 1)
			s := startWith(t, func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
				if err := errors.Join(startStream(out), out.Send([]llm.Event{{Raw: []byte("data: 1\n\n")}, {Raw: []byte(failure), Failed: true}})); err != nil {
					return err
				}
				if c.leave {
					<-ctx.Done()
				}
				return &llm.Error{Status: 503, Code: "overloaded", Upstream: "up", Fault: llm.Told, Ended: c.ended}
			}, Options{Observers: []perf.Observer{seen}})
			ctx, leave := context.WithCancel(t.Context())
			r := bufio.NewReader(s.open(t, ctx, e, chatPath).Body)
			nextEvent(t, r)
			if got := nextEvent(t, r); got != failure {
				t.Errorf("%s %s: %q", e.name, c.name, got)
			}
			if c.leave {
				leave()
			} else if b, err := io.ReadAll(r); len(b) != 0 || c.ended != (err == nil) || !c.ended && !brokenOff(err) {
				t.Errorf("%s %s: then %q, %v", e.name, c.name, b, err)
			}
			x := seen.next(t)
			if x.Class() != perf.StreamError || x.Aborted != c.aborted || x.Code != "overloaded" || s.stats.requests[llm.Chat][broken].Load() != 1 {
				t.Errorf("%s %s: of class %q, aborted %q, code %q", e.name, c.name, x.Class(), x.Aborted, x.Code)
			}
			leave()
		}
	}
}

// TestToldByWholeReply: what a whole reply tells of counts, and the reply stays as
// it is.
func TestToldByWholeReply(t *testing.T) {
	const body = `{"status":"failed","error":{},"output":[]}`
	own := &llm.Error{Status: 502, Code: "server_error", Upstream: "up", Fault: llm.Told, Ended: true}
	for _, c := range []struct {
		err  error // nil, or that of a client that left, where the call was another's or went on by itself
		code string
	}{{own, "server_error"}, {nil, "upstream_error"}, {context.Canceled, "upstream_error"}} {
		for _, e := range engines {
			seen := make(seen, 1)
			s := startWith(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
				h := llm.Head{Status: 200, Length: int64(len(body)), Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}
				if err := errors.Join(out.Start(&h), out.Send([]llm.Event{{Raw: []byte(body), Failed: true}})); err != nil {
					return err
				}
				return c.err
			}, Options{Observers: []perf.Observer{seen}})
			res := s.open(t, t.Context(), e, "/v1/responses")
			if b, err := io.ReadAll(res.Body); string(b) != body || err != nil || res.StatusCode != 200 {
				t.Errorf("%s: %d %q, %v", e.name, res.StatusCode, b, err)
			}
			if x := seen.next(t); x.Class() != perf.StreamError || x.Aborted != "" || x.Code != c.code || x.Status != 200 {
				t.Errorf("%s, %v: of class %q, aborted %q, code %q, status %d", e.name, c.err, x.Class(), x.Aborted, x.Code, x.Status)
			}
		}
	}
}

// TestErrorEventOfUnreadBody: the error event reaches a client that is still sending
// its request, whose connection the kernel would reset.
func TestErrorEventOfUnreadBody(t *testing.T) {
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		return errors.Join(startStream(out), out.Send(events("data: 1\n\n")), llm.Errorf(502, "upstream_cut", "cut"))
	})
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST /v1/audio/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/x\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 50000))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if got := string(b); err != nil || !strings.Contains(got, `"code":"upstream_cut"}}`+"\n\n") || strings.HasSuffix(got, "\r\n0\r\n\r\n") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestErrorBeforeFirstEvent(t *testing.T) {
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		return errors.Join(startStream(out), llm.Errorf(502, "upstream_cut", "cut"))
	})
	resp := s.open(t, t.Context(), engines[0], chatPath)
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 502 || apiError(t, string(b)).Code != "upstream_cut" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
}

func TestClientLeaves(t *testing.T) {
	for _, e := range engines {
		for _, begun := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s begun=%v", e.name, begun), func(t *testing.T) {
				serving, ended := make(chan struct{}), make(chan time.Time, 1)
				s := start(t, func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
					if begun {
						if err := errors.Join(startStream(out), out.Send(events("data: 1\n\n"))); err != nil {
							return err
						}
					}
					close(serving)
					<-ctx.Done()
					ended <- time.Now()
					return ctx.Err()
				})
				ctx, leave := context.WithCancel(t.Context())
				client := e.client(t, s)
				done := make(chan struct{})
				go func() {
					defer close(done)
					resp, err := client.Do(newRequest(t, ctx, "POST", s.url(chatPath), streamBody))
					if err == nil {
						_, _ = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
				}()
				<-serving
				if begun {
					for s.stats.writes.Load() == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				left := time.Now()
				leave()
				select {
				case at := <-ended: // how soon depends on the machine
					t.Logf("noticed after %v", at.Sub(left))
				case <-time.After(patience):
					t.Fatal("not noticed")
				}
				<-done
			})
		}
	}
}

// chunk is an event with one delta.
func chunk(text string) string {
	return `data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]}` + "\n\n"
}

// TestSlowClient reads nothing until the handler is blocked: the buffer is
// bounded, text is merged, and none of it is lost.
func TestSlowClient(t *testing.T) {
	const total = 60_000
	var sent atomic.Int64
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		if err := startStream(out); err != nil {
			return err
		}
		for i := range total {
			if err := out.Send(events(chunk(string(rune('a' + i%26))))); err != nil {
				return err
			}
			sent.Add(1)
		}
		return out.Send(events("data: [DONE]\n\n"))
	}, func(_ *Config, sc *StreamConfig) { sc.BufferBytes = 64 << 10 })
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(streamBody), streamBody)
	// Wait until the handler makes no more progress.
	for last := int64(-1); ; {
		time.Sleep(200 * time.Millisecond)
		now := sent.Load()
		if now == last && now > 0 {
			break
		}
		last = now
	}
	if s.stats.merged.Load() == 0 {
		t.Error("nothing was merged")
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * patience))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	n, done := 0, false
	for event := range strings.SplitSeq(strings.TrimSuffix(string(b), "\n\n"), "\n\n") {
		if event == "data: [DONE]" {
			done = true
			continue
		}
		_, text, ok := strings.Cut(event, `"content":"`)
		text, _, ok2 := strings.Cut(text, `"`)
		if !ok || !ok2 {
			t.Fatalf("event %q", event)
		}
		for _, r := range text {
			if want := rune('a' + n%26); r != want {
				t.Fatalf("character %d is %q, want %q", n, r, want)
			}
			n++
		}
	}
	if n != total || !done {
		t.Errorf("%d of %d deltas, done %v", n, total, done)
	}
	t.Logf("%d sent before blocking, %d merged", sent.Load(), s.stats.merged.Load())
}

// TestDeadClient has a client that never reads: over HTTP/2 its connection lives
// and only the stream has no flow control left.
func TestDeadClient(t *testing.T) {
	filler := strings.Repeat("x", 32<<10)
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			ended := make(chan error, 1)
			s := start(t, func(ctx context.Context, _ *llm.Request, out llm.Sink) error {
				err := startStream(out)
				for err == nil {
					err = out.Send(events("data: " + filler + "\n\n"))
				}
				select {
				case <-ctx.Done():
				case <-time.After(patience):
					err = errors.New("the context lives on")
				}
				ended <- err
				return err
			}, func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = 300 * time.Millisecond })
			s.open(t, t.Context(), e, chatPath) // and never reads
			select {
			case err := <-ended:
				if err == nil || strings.Contains(err.Error(), "lives on") {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Fatal("the dead client was not noticed")
			}
			testkit.Until(t, "counted as slow", func() bool { return s.stats.aborts[abortSlow].Load() == 1 })
		})
	}
}

func TestHeartbeat(t *testing.T) {
	const beat = ": keep-alive\n\n"
	heartbeat := func(_ *Config, sc *StreamConfig) { sc.Heartbeat = 20 * time.Millisecond }
	for _, e := range engines {
		for _, c := range []struct {
			name string
			then func(llm.Sink) error
			want string
		}{
			{"events", func(out llm.Sink) error { return errors.Join(startStream(out), out.Send(events("data: 1\n\n"))) }, "data: 1\n\n"},
			{"error", func(llm.Sink) error { return llm.Errorf(429, "rate", "slow") },
				`data: {"error":{"message":"slow","type":"rate_limit_error","param":null,"code":"rate"}}` + "\n\n"},
			{"whole reply", func(out llm.Sink) error { return sendUnary(out, "{\n\"a\":1}") }, "data: {\ndata: \"a\":1}\n\n"},
			{"pieces", func(out llm.Sink) error { return out.Start(&llm.Head{Status: 200, Kind: llm.Pieces}) },
				`data: {"error":{"message":"The model service answered with something that is not an event stream, and cannot be made one.","type":"server_error","param":null,"code":"unexpected_reply"}}` + "\n\n"},
		} {
			t.Run(e.name+" "+c.name, func(t *testing.T) {
				heard := make(chan struct{})
				s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
					<-heard
					return c.then(out)
				}, heartbeat)
				resp := s.open(t, t.Context(), e, chatPath)
				r := bufio.NewReader(resp.Body)
				for range 2 {
					if got := nextEvent(t, r); got != beat {
						t.Fatalf("got %q", got)
					}
				}
				close(heard)
				b, err := io.ReadAll(r)
				failed := c.name == "error" || c.name == "pieces"
				if got := strings.ReplaceAll(string(b), beat, ""); got != c.want || failed && !brokenOff(err) || !failed && err != nil {
					t.Errorf("%q, %v", got, err)
				}
				if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
					t.Errorf("%d %v", resp.StatusCode, resp.Header)
				}
			})
		}
	}
}

func TestHeartbeatLeavesUnaryAlone(t *testing.T) {
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		time.Sleep(30 * time.Millisecond)
		return sendUnary(out, "{}")
	}, func(_ *Config, sc *StreamConfig) { sc.Heartbeat = time.Millisecond })
	if _, body := do(t, h1(t, s), newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)); body != "{}" {
		t.Errorf("%q", body)
	}
}

// TestManyStreams runs streams at once on one HTTP/2 connection and on many
// HTTP/1.1 ones: exchanges are used again and must not mix.
func TestManyStreams(t *testing.T) {
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		if err := startStream(out); err != nil {
			return err
		}
		for i := range 20 {
			if err := out.Send(events(fmt.Sprintf("data: %s %d\n\n", req.Model, i))); err != nil {
				return err
			}
		}
		return nil
	})
	for _, e := range engines {
		client := e.client(t, s)
		errs := make(chan error)
		const n = 40
		for i := range n {
			go func() {
				errs <- func() error {
					for j := range 5 {
						model := fmt.Sprintf("m-%d-%d", i, j)
						req := newRequest(t, t.Context(), "POST", s.url(chatPath), `{"stream":true,"model":"`+model+`"}`)
						resp, err := client.Do(req)
						if err != nil {
							return err
						}
						b, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if err != nil || strings.Count(string(b), model+" ") != 20 || strings.Count(string(b), "\n\n") != 20 {
							return fmt.Errorf("%s: %q, %v", model, b, err)
						}
					}
					return nil
				}()
			}()
		}
		for range n {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	}
}
