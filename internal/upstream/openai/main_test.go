package openai

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/testkit"
	"sluice/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "sk-upstream/secret+0123=="

// sink keeps a reply.
type sink struct {
	head    llm.Head
	starts  int
	events  [][]byte
	sends   int
	failed  int // events that are marked so
	onSend  func(n int) error
	onStart func() error
}

func (s *sink) Start(h *llm.Head) error {
	s.head, s.starts = *h, s.starts+1
	s.head.Header = slices.Clone(h.Header) // which is used again
	if s.onStart != nil {
		return s.onStart()
	}
	return nil
}

func (s *sink) Send(events []llm.Event) error {
	s.sends++
	for _, e := range events {
		s.events = append(s.events, bytes.Clone(e.Raw))
		if e.Failed {
			s.failed++
		}
	}
	if s.onSend != nil {
		return s.onSend(s.sends)
	}
	return nil
}

func (s *sink) text() string { return string(bytes.Join(s.events, nil)) }

// newHandler makes a handler of the upstream at base.
func newHandler(t testing.TB, base string, change func(*Config, *upstream.Config, *upstream.StreamConfig)) *Handler {
	t.Helper()
	cfg, tc := Config{BaseURL: base, APIKey: llm.NewSecret(testKey)}, upstream.Default()
	tc.PoolTimeout, tc.ConnectTimeout, tc.TLSTimeout = time.Minute, time.Minute, time.Minute // which no busy machine runs into
	sc := upstream.StreamConfig{FlushInterval: time.Millisecond}
	if change != nil {
		change(&cfg, &tc, &sc)
	}
	u, err := url.Parse(cfg.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := upstream.New(tc, upstream.Options{
		Name: "up", BaseURL: u, Proxy: func(*url.URL) (*url.URL, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	h, err := New(cfg, "up", c, sc)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// server serves with net/http.
func server(t testing.TB, f http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return srv.URL
}

// script answers every request on a bare socket: f writes the reply's bytes,
// and the connection is closed after it. gone is closed when the test ends.
func script(t testing.TB, f func(c net.Conn, gone <-chan struct{})) string {
	t.Helper()
	return "http://" + testkit.Listen(t, func(_ int, c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return // a warmed connection that was not used
		}
		_, _ = io.Copy(io.Discard, req.Body)
		f(c, t.Context().Done())
	})
}

// says is a script that writes some text.
func says(t testing.TB, text string) string {
	return script(t, func(c net.Conn, _ <-chan struct{}) { _, _ = io.WriteString(c, text) })
}

func chat(body string, stream bool) *llm.Request {
	return &llm.Request{
		Op: llm.Chat, ID: "r1", Method: "POST", Path: "/v1/chat/completions", Model: "m", UpstreamModel: "m",
		Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}, Stream: stream, Body: []byte(body),
	}
}

// call serves a request, with a bound on the test's patience.
func serve(t testing.TB, h *Handler, req *llm.Request) (*sink, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out := new(sink)
	err := h.Serve(ctx, req, out)
	return out, err
}

// wantError checks an error that came before anything was started.
func wantError(t testing.TB, out *sink, err error, status int, code string) *llm.Error {
	t.Helper()
	e, ok := err.(*llm.Error) // it is the type itself that is promised
	if !ok {
		t.Fatalf("error %T %v, want *llm.Error", err, err)
	}
	fault, ours := map[string]llm.Fault{
		"upstream_timeout": llm.TimedOut, "upstream_cut": llm.Cut, "upstream_bad_reply": llm.BadReply, "upstream_unreachable": llm.Unreachable,
		"upstream_event_too_large": llm.TooLarge, "upstream_redirect": llm.Unusable, "upstream_empty": llm.Unusable,
	}[code]
	if !ours {
		if fault = llm.Answered; e.Fault == llm.Told {
			fault = llm.Told
		}
	}
	if e.Status != status || e.Code != code || e.Fault != fault || e.Upstream != "up" {
		t.Errorf("error %+v, want status %d, code %s, %v", e, status, code, fault)
	}
	if out.starts != 0 && status != 502 {
		t.Errorf("the reply was started")
	}
	return e
}

const okHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

func chunk(s string) string {
	var b strings.Builder
	const hex = "0123456789abcdef"
	n := len(s)
	b.WriteByte(hex[n>>12&15])
	b.WriteByte(hex[n>>8&15])
	b.WriteByte(hex[n>>4&15])
	b.WriteByte(hex[n&15])
	b.WriteString("\r\n" + s + "\r\n")
	return b.String()
}
