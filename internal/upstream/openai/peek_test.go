package openai

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/upstream"
)

func typed(contentType string) string {
	if contentType == "" {
		return "HTTP/1.1 200 OK\r\n"
	}
	return "HTTP/1.1 200 OK\r\nContent-Type: " + contentType + "\r\n"
}

// Events of a streamed call leave as they come whatever their type is, and the
// upstream's type, or that it gave none, reaches the client.
func TestEventsOfAnyType(t *testing.T) {
	for _, contentType := range []string{"", "application/json", "application/json; charset=utf-8", "text/plain", "text/html", "application/octet-stream"} {
		for _, begin := range []string{"", "\ufeff", "\n\n", ": hello\n\n", "event: x\n"} {
			// The upstream goes on only when the first event was sent on.
			passed := make(chan struct{}, 10)
			h := newHandler(t, script(t, func(c net.Conn, _ <-chan struct{}) {
				_, _ = io.WriteString(c, typed(contentType)+"Transfer-Encoding: chunked\r\n\r\n")
				for i := range len(begin + "da") { // byte by byte
					_, _ = io.WriteString(c, chunk((begin + "da")[i:i+1]))
				}
				_, _ = io.WriteString(c, chunk(event[2:]))
				<-passed
				_, _ = io.WriteString(c, chunk(last)+"0\r\n\r\n")
			}), nil)
			out := &sink{onSend: func(int) error { passed <- struct{}{}; return nil }}
			if err := h.Serve(t.Context(), chat(`{}`, true), out); err != nil || out.text() != begin+event+last {
				t.Errorf("%q, %q: %q %v", contentType, begin, out.text(), err)
			}
			if out.head.Kind != llm.EventStream || out.head.Get("Content-Type") != contentType {
				t.Errorf("%q, %q: head %+v", contentType, begin, out.head)
			}
		}
	}
}

// They are looked at as events too: a cut is one, and comments wait.
func TestEventsOfAnyTypeAreEvents(t *testing.T) {
	for reply, want := range map[string]struct{ text, code string }{
		"Transfer-Encoding: chunked\r\n\r\n" + chunk(event+"data: par"): {event, "upstream_cut"},
		"\r\n" + event:                {event, "upstream_cut"},
		"\r\n" + event + last:         {event + last, ""},
		"\r\n: wait\n\n":              {"", "upstream_cut"},
		"Content-Length: 5\r\n\r\nda": {"", "upstream_cut"},
	} {
		out, err := serve(t, newHandler(t, says(t, typed("application/json")+reply), nil), chat(`{}`, true))
		if out.text() != want.text {
			t.Errorf("%q: %q", reply, out.text())
		}
		if want.code != "" {
			wantError(t, out, err, 502, want.code)
		} else if err != nil {
			t.Error(err)
		}
	}
}

// What is no event goes as it does without a stream: an upstream that answers
// every call with a whole reply gives one, the rest goes on as it comes.
func TestNoEventsForAStream(t *testing.T) {
	for _, c := range []struct {
		contentType, body string
		op                llm.Operation
		kind              llm.ReplyKind
	}{
		{"application/json", `{"id":1}`, llm.Chat, llm.Unary},
		{"application/json", " \n\t{\"id\":1}", llm.Chat, llm.Unary},
		{"application/json", `[1]`, llm.Passthrough, llm.Unary},
		{"", `{"id":1}`, llm.Chat, llm.Unary},
		{"", `{"id":1}`, llm.Passthrough, llm.Pieces},
		{"application/json", "", llm.Passthrough, llm.Unary},
		{"application/json", strings.Repeat("\n", 100_000) + "{}", llm.Chat, llm.Pieces},
		{"application/json", "database: not an event", llm.Passthrough, llm.Pieces},
		{"text/plain", `{"id":1}`, llm.Chat, llm.Pieces},
		{"audio/mpeg", "\xff\xfb\x90", llm.Passthrough, llm.Pieces},
		{"", "\xef\xbb", llm.Passthrough, llm.Pieces},
		{"application/json", "{" + strings.Repeat(" ", maxUnary) + "}", llm.Chat, llm.Pieces},
	} {
		req := chat(`{}`, true)
		req.Op = c.op
		for _, framing := range []string{fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(c.body), c.body), fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(c.body), c.body)} {
			if c.body == "" {
				framing = "Content-Length: 0\r\n\r\n"
			}
			out, err := serve(t, newHandler(t, says(t, typed(c.contentType)+framing), nil), req)
			if err != nil || out.text() != c.body || out.head.Kind != c.kind || out.head.Get("Content-Type") != c.contentType {
				t.Errorf("%q, %.20q: %.60q, kind %d, %v", c.contentType, c.body, out.text(), out.head.Kind, err)
			}
		}
	}
}

// dribble is a body that gives a piece of white space each second.
type dribble struct{ idle time.Duration }

func (d *dribble) SetIdleTimeout(t time.Duration) { d.idle = t }
func (*dribble) Gather(time.Duration)             {}
func (d *dribble) Next() ([]byte, error) {
	time.Sleep(min(d.idle, time.Second))
	if d.idle <= time.Second {
		return nil, os.ErrDeadlineExceeded
	}
	return []byte(" "), nil
}

// White space does not extend the time that the first event has, as comments do not.
func TestPeekEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		time.Sleep(time.Second) // for the head
		_, _, err := peek(&dribble{}, upstream.StreamConfig{FirstEventTimeout: 10 * time.Second, IdleTimeout: time.Minute}, begun)
		if took := time.Since(begun); !errors.Is(err, os.ErrDeadlineExceeded) || took != 10*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// FuzzKindOf: what a beginning shows is what every longer one shows.
func FuzzKindOf(f *testing.F) {
	for _, s := range []string{event, "event: x", "{\"a\":1}", " \r\n[", "\ufeffdata:", "\xef\xbb", "retry", "idle", ":"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		seen := unknown
		for n := range len(b) + 1 {
			is := kindOf(b[:n])
			if seen != unknown && is != seen {
				t.Fatalf("%q shows %d, with more %d", b[:n-1], seen, is)
			}
			seen = is
		}
	})
}
