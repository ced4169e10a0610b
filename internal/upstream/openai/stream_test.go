package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/upstream"
)

const event, last = "data: {\"choices\":[]}\n\n", "data: [DONE]\n\n"

func TestFirstEventLeavesAtOnce(t *testing.T) {
	// The upstream goes on only when the first event was sent on.
	passed := make(chan struct{}, 10)
	h := newHandler(t, script(t, func(c net.Conn, _ <-chan struct{}) {
		_, _ = io.WriteString(c, okHead+"Transfer-Encoding: chunked\r\n\r\n")
		for range 3 {
			_, _ = io.WriteString(c, chunk(event))
			<-passed
		}
		_, _ = io.WriteString(c, chunk(last)+"0\r\n\r\n")
	}), nil)
	out := &sink{onSend: func(int) error { passed <- struct{}{}; return nil }}
	if err := h.Serve(t.Context(), chat(`{}`, true), out); err != nil || out.text() != event+event+event+last {
		t.Errorf("%q %v", out.text(), err)
	}
	if out.head.Kind != llm.EventStream || out.head.Length != -1 || out.head.Get("Content-Type") != "text/event-stream" {
		t.Errorf("head %+v", out.head)
	}
}

func TestEnds(t *testing.T) {
	const chunked = okHead + "Transfer-Encoding: chunked\r\n\r\n"
	completed := "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n"
	unnamed := "data: {\"type\":\"response.incomplete\"}\n\n"
	tests := []struct {
		name  string
		op    llm.Operation
		reply string
		want  string // what is sent on
		code  string // "" for a sound end
	}{
		{"whole", llm.Chat, chunked + chunk(event+last) + "0\r\n\r\n", event + last, ""},
		{"framed, no [DONE]", llm.Chat, chunked + chunk(event) + "0\r\n\r\n", event, ""},
		{"framed, tail", llm.Chat, chunked + chunk(event+"data: x") + "0\r\n\r\n", event + "data: x", ""},
		{"only a tail", llm.Chat, chunked + chunk("data: x") + "0\r\n\r\n", "data: x", ""},
		{"cut in framing", llm.Chat, chunked + chunk(event+"data: par"), event, "upstream_cut"},
		{"cut after [DONE]", llm.Chat, chunked + chunk(event+last), event + last, ""},
		{"closed after [DONE]", llm.Chat, okHead + "\r\n" + event + last, event + last, ""},
		{"closed, [DONE] unterminated", llm.Completion, okHead + "\r\n" + event + "data: [DONE]", event + "data: [DONE]", ""},
		{"closed, no [DONE]", llm.Chat, okHead + "\r\n" + event, event, "upstream_cut"},
		{"closed, half an event", llm.Chat, okHead + "\r\n" + event + "data: {", event, "upstream_cut"},
		{"closed, response", llm.Response, okHead + "\r\n" + event + completed, event + completed, ""},
		{"closed, unnamed response", llm.Response, okHead + "\r\n" + event + unnamed, event + unnamed, ""},
		{"closed, response cut", llm.Response, okHead + "\r\n" + event, event, "upstream_cut"},
		{"closed, unknown end", llm.Passthrough, okHead + "\r\n" + event, event, ""},
		{"length", llm.Chat, okHead + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(event)) + event, event, ""},
		{"empty", llm.Chat, chunked + "0\r\n\r\n", "", "upstream_empty"},
		{"comments only", llm.Chat, chunked + chunk(": wait\n\n: wait\n\n: t") + "0\r\n\r\n", "", "upstream_empty"},
		{"comments only, passthrough", llm.Passthrough, chunked + chunk(": a\n\n: b") + "0\r\n\r\n", ": a\n\n: b", ""},
		{"malformed JSON", llm.Chat, chunked + chunk("data: {oops\n\n"+last) + "0\r\n\r\n", "data: {oops\n\n" + last, ""},
		{"malformed JSON, response", llm.Response, chunked + chunk("data: {\"type\":\n\ndata: [\n\n") + "0\r\n\r\n", "data: {\"type\":\n\ndata: [\n\n", ""},
		{"reset at once", llm.Chat, chunked, "", "upstream_cut"},
		{"no head", llm.Chat, "HTTP/1.1 20", "", "upstream_cut"},
		{"nonsense", llm.Chat, "hello\r\n\r\n", "", "upstream_bad_reply"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := chat(`{}`, true)
			req.Op = test.op
			out, err := serve(t, newHandler(t, says(t, test.reply), nil), req)
			if out.text() != test.want {
				t.Errorf("sent %q, want %q", out.text(), test.want)
			}
			if test.code != "" {
				wantError(t, out, err, 502, test.code)
			} else if err != nil {
				t.Error(err)
			}
			if started := out.starts == 1; started != (test.want != "") || out.starts > 1 {
				t.Errorf("started %d times", out.starts)
			}
		})
	}
}

// TestClosed: where the gateway says that a stream is whole the stream has to have said so, however
// soundly it ended.
func TestClosed(t *testing.T) {
	const part, end = "data: {\"candidates\":[{\"content\":{}}]}\n\n", "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n"
	told := "data: {\"error\":{\"code\":503,\"message\":\"m\"}}\n\n"
	for _, c := range []struct{ body, want, code string }{
		{part + end, part + end, ""},
		{part + end + "data: {}\n\n", part + end + "data: {}\n\n", ""},
		{part + strings.TrimSpace(end), part + strings.TrimSpace(end), ""},
		{part, part, "upstream_cut"},
		{part + end[:30], part, "upstream_cut"},
		{"", "", "upstream_cut"},
		{part + told, part + told, "upstream_error"},
	} {
		for _, closed := range []bool{true, false} {
			req := chat(`{}`, true)
			req.Op, req.Closed = llm.GenerateContent, closed
			reply := okHead + "Transfer-Encoding: chunked\r\n\r\n"
			if c.body != "" {
				reply += chunk(c.body)
			}
			out, err := serve(t, newHandler(t, says(t, reply+"0\r\n\r\n"), nil), req)
			if !closed && c.code == "upstream_cut" {
				if c.body != "" && (err != nil || out.text() != c.body) {
					t.Errorf("%q as it comes: %q, %v", c.body, out.text(), err)
				}
				continue
			}
			if out.text() != c.want || (err == nil) != (c.code == "") {
				t.Errorf("%q: %q, %v", c.body, out.text(), err)
			}
			if c.code == "upstream_cut" {
				wantError(t, out, err, 502, c.code)
			}
		}
	}
}

// TestUnsoundReplies: what ends where the connection does and is no JSON was cut only where
// something is missing at its end.
func TestUnsoundReplies(t *testing.T) {
	for body, code := range map[string]string{
		`{"choices":[{"message":{"content":"so"`: "upstream_cut",
		`{"choices":[{"message":{}}`:             "upstream_cut",
		``:                                       "upstream_cut",
		"{\"choices\":[{\"message\":{\"content\":\"\xff\xfe\"}}]}":            "upstream_bad_reply",
		`{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`: "upstream_bad_reply",
		`{"choices":[}]}`: "upstream_bad_reply",
	} {
		reply := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body
		out, err := serve(t, newHandler(t, says(t, reply), nil), chat(`{}`, false))
		wantError(t, out, err, 502, code)
	}
}

func TestCommentsWaitForTheFirstEvent(t *testing.T) {
	var atEvent bool
	h := newHandler(t, script(t, func(c net.Conn, _ <-chan struct{}) {
		_, _ = io.WriteString(c, okHead+"\r\n")
		for range 3 {
			_, _ = io.WriteString(c, ": wait\r\n\r\n")
			time.Sleep(5 * time.Millisecond)
		}
		_, _ = io.WriteString(c, event+last)
	}), nil)
	out := new(sink)
	out.onSend = func(n int) error {
		if n == 1 {
			atEvent = strings.HasSuffix(out.text(), "}\n\n") || strings.HasSuffix(out.text(), last)
		}
		return nil
	}
	if err := h.Serve(t.Context(), chat(`{}`, true), out); err != nil || out.text() != strings.Repeat(": wait\r\n\r\n", 3)+event+last {
		t.Errorf("%q %v", out.text(), err)
	}
	if !atEvent {
		t.Error("comments were sent before the first event")
	}
}

func TestManyCommentsDoNotWait(t *testing.T) {
	comments := strings.Repeat(": "+strings.Repeat("x", 1000)+"\n\n", 100)
	out, err := serve(t, newHandler(t, says(t, okHead+"\r\n"+comments), nil), chat(`{}`, true))
	wantError(t, out, err, 502, "upstream_cut")
	if out.starts != 1 || out.text() != comments {
		t.Errorf("started %d times, %d bytes", out.starts, len(out.text()))
	}
}

func TestEventTooLarge(t *testing.T) {
	h := newHandler(t, says(t, okHead+"\r\n"+event+"data: "+strings.Repeat("x", 5000)+"\n\n"+last),
		func(_ *Config, _ *upstream.Config, s *upstream.StreamConfig) { s.MaxEventBytes = 1000 })
	out, err := serve(t, h, chat(`{}`, true))
	wantError(t, out, err, 502, "upstream_event_too_large")
	if out.text() != event {
		t.Errorf("sent %q", out.text())
	}
}

func TestStalls(t *testing.T) {
	// Each upstream says something and then nothing for ever.
	tests := []struct{ name, says, sent string }{
		{"no head", "", ""},
		{"no first event", okHead + "\r\n", ""},
		{"half a first event", okHead + "\r\ndata: {", ""},
		{"between events", okHead + "\r\n" + event, event},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler(t, script(t, func(c net.Conn, gone <-chan struct{}) {
				_, _ = io.WriteString(c, test.says)
				<-gone
			}), func(_ *Config, c *upstream.Config, _ *upstream.StreamConfig) {
				if c.IdleTimeout = 60 * time.Millisecond; test.sent == "" {
					c.FirstEventTimeout = 50 * time.Millisecond
				}
			})
			out, err := serve(t, h, chat(`{}`, true))
			e, ok := err.(*llm.Error) // it is the type itself that is promised
			if !ok || e.Status != 504 || e.Code != "upstream_timeout" || out.text() != test.sent {
				t.Errorf("%v, sent %q", err, out.text())
			}
		})
	}
}

func TestCommentsDoNotExtendTheFirstEventTimeout(t *testing.T) {
	h := newHandler(t, script(t, func(c net.Conn, _ <-chan struct{}) {
		_, err := io.WriteString(c, okHead+"\r\n")
		for err == nil {
			time.Sleep(5 * time.Millisecond)
			_, err = io.WriteString(c, ": wait\n\n")
		}
	}), func(_ *Config, _ *upstream.Config, s *upstream.StreamConfig) {
		s.FirstEventTimeout, s.IdleTimeout = 100*time.Millisecond, time.Minute
	})
	out, err := serve(t, h, chat(`{}`, true))
	wantError(t, out, err, 504, "upstream_timeout")
	if out.starts != 0 {
		t.Error("started")
	}
}

func TestCancelEndsTheUpstream(t *testing.T) {
	for _, says := range []string{"", okHead + "\r\n", okHead + "\r\n" + event, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"} {
		closed := make(chan time.Time, 1)
		begun := make(chan struct{})
		h := newHandler(t, script(t, func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, says)
			close(begun)
			_, _ = c.Read(make([]byte, 1))
			closed <- time.Now()
		}), nil)
		ctx, cancel := context.WithCancel(context.Background())
		var left time.Time
		go func() {
			<-begun
			time.Sleep(20 * time.Millisecond)
			left = time.Now()
			cancel()
		}()
		err := h.Serve(ctx, chat(`{}`, true), new(sink))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		select {
		case at := <-closed: // how soon depends on the machine
			t.Logf("%q: the upstream saw it after %v", says, at.Sub(left))
		case <-time.After(time.Minute):
			t.Fatalf("%q: the upstream did not see it", says)
		}
	}
}

// pipe is a body whose pieces come at given times.
type pipe struct {
	begun  time.Time
	at     []time.Duration
	piece  string
	passed int
}

func (p *pipe) SetIdleTimeout(time.Duration) {}
func (p *pipe) Gather(d time.Duration)       { time.Sleep(d) }

// Next returns all that has come, as a socket does.
func (p *pipe) Next() ([]byte, error) {
	if p.passed == len(p.at) {
		return nil, io.EOF
	}
	time.Sleep(p.at[p.passed] - time.Since(p.begun))
	var b []byte
	for p.passed < len(p.at) && p.at[p.passed] <= time.Since(p.begun) {
		b = append(b, p.piece...)
		p.passed++
	}
	return b, nil
}

func TestPacing(t *testing.T) {
	every := func(n int, d time.Duration) (at []time.Duration) {
		for i := range n {
			at = append(at, time.Duration(i)*d)
		}
		return at
	}
	tests := []struct {
		name         string
		at           []time.Duration
		flush        time.Duration
		sends        int
		late, latest time.Duration // how late any event is at most; when all is over
	}{
		{"fast", every(100, 100*time.Microsecond), time.Millisecond, 11, time.Millisecond, 11 * time.Millisecond},
		{"fast, not paced", every(100, 100*time.Microsecond), 0, 100, 0, 10 * time.Millisecond},
		{"slow", every(50, 20*time.Millisecond), time.Millisecond, 50, 0, time.Second},
		{"burst", []time.Duration{0, 0, 0, 20e6, 20e6, 20e6 + 1e5, 20e6 + 2e5, 20e6 + 3e5}, time.Millisecond, 4, time.Millisecond, 23 * time.Millisecond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipe{begun: time.Now(), at: test.at, piece: event}
				s := &stream{api: known.StreamOf(llm.Chat), cfg: upstream.StreamConfig{FlushInterval: test.flush}, fast: true}
				out, seen := new(sink), 0
				out.onSend = func(int) error {
					for ; seen < len(out.events); seen++ {
						if late := time.Since(p.begun) - test.at[seen]; late > test.late || seen == 0 && late > 0 {
							t.Errorf("event %d is %v late", seen, late)
						}
					}
					return nil
				}
				if err := s.run(p, out, "up"); err != nil || seen != len(test.at) {
					t.Errorf("%d events, %v", seen, err)
				}
				if took := time.Since(p.begun); out.sends > test.sends || took > test.latest {
					t.Errorf("%d sends in %v, want %d in %v", out.sends, took, test.sends, test.latest)
				}
			})
		})
	}
}

// A panic while a stream is asked for, on a goroutine of its own, is the caller's, and
// the next request is not touched by it.
func TestPanicAside(t *testing.T) {
	h := newHandler(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\ndata: [DONE]\n\n")
	}), nil)
	panics := func() (p any) {
		defer func() { p = recover() }()
		req := chat("{}", true)
		req.Body, req.BodyReader, req.BodyLen = nil, panicking{}, 10
		_, _ = serve(t, h, req)
		return nil
	}
	if p := panics(); !strings.HasPrefix(fmt.Sprint(p), "body\n") || !strings.Contains(fmt.Sprint(p), "panicking.Read") {
		t.Errorf("panic: %v", p)
	}
	if out, err := serve(t, h, chat("{}", true)); err != nil || len(out.events) != 2 {
		t.Errorf("%q, %v", out.events, err)
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("body") }
