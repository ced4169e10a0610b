package gateway

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// failing is how a fault comes about and what becomes of it.
type failing struct {
	// upstream has a connection, and says when a completion is asked for; nil: nobody
	// listens.
	upstream func(c net.Conn, at chan<- struct{})
	change   func(cfg *config.Config) // nil for none
	first    bool                     // another request goes before
	stream   bool

	code    string // that the client and the access log are told
	outcome string // at the upstream, "" for a request that did not come to it
	class   string

	elsewhere string // the test that brings it about instead
}

// TestFaults brings each fault about, over sockets, and sees what routing and the
// figures make of it.
func TestFaults(t *testing.T) {
	for f, c := range [llm.Faults]failing{
		llm.Declined:     {change: func(cfg *config.Config) { cfg.Server.MaxBodyBytes = 1 }, code: "request_too_large", class: "invalid_request"},
		llm.Limited:      {change: func(cfg *config.Config) { cfg.RateLimit.RequestsPerMinute = 1 }, first: true, code: "rate_limit_exceeded", class: "rate_limited"},
		llm.Left:         {elsewhere: "admit: TestLeft"},
		llm.Internal:     {elsewhere: "front: TestPanic"},
		llm.Unavailable:  {change: func(cfg *config.Config) { cfg.Route.Breaker.Failures = 1 }, first: true, code: "upstream_unavailable", class: "server_error"},
		llm.Lacking:      {elsewhere: "cmd/sluice: TestFewDescriptors"},
		llm.ShuttingDown: {elsewhere: "front: TestDrain"},
		llm.Busy: {upstream: hang, change: func(cfg *config.Config) {
			h := &cfg.Upstreams[0].HTTPClient
			h.MaxConnections, h.MaxKeepaliveConnections, h.WarmConnections, h.PoolTimeout = 1, 1, 0, 500*time.Millisecond
			cfg.Admit.MaxConcurrency, cfg.Admit.MinConcurrency = 2, 1 // or the second would wait to be admitted
		}, first: true, code: "upstream_busy", outcome: "busy", class: "upstream_error"},
		llm.Replaced:    {elsewhere: "upstream: TestClose"},
		llm.TooLate:     {elsewhere: "TestAdmission"},
		llm.Unreachable: {code: "upstream_unreachable", outcome: "unreachable", class: "upstream_error"},
		llm.Refused: {upstream: refuseStreams, change: func(cfg *config.Config) { cfg.Upstreams[0].HTTPClient.H2C = true },
			code: "upstream_refused", outcome: "unreachable", class: "upstream_error"},
		llm.TimedOut: {upstream: hang, change: func(cfg *config.Config) { cfg.Upstreams[0].HTTPClient.ResponseHeaderTimeout = 50 * time.Millisecond },
			code: "upstream_timeout", outcome: "timeout", class: "timeout"},
		llm.Cut: {upstream: says("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 999\r\n\r\ndata: {}\n\n"), stream: true,
			code: "upstream_cut", outcome: "cut", class: "cut"},
		llm.BadReply: {upstream: says("HTTP/1.1 what\r\n\r\n"), code: "upstream_bad_reply", outcome: "cut", class: "upstream_error"},
		llm.TooLarge: {upstream: says(reply(200, "application/json\r\nContent-Encoding: gzip", zipped(`{"text":"too much"}`))), change: func(cfg *config.Config) { cfg.Upstreams[0].HTTPClient.MaxReplyBytes = 4 },
			code: "upstream_reply_too_large", outcome: "failed", class: "upstream_error"},
		llm.Unusable: {upstream: says("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"), code: "upstream_redirect", outcome: "failed", class: "upstream_error"},
		// Whatever it calls it, it is the upstream's own.
		llm.Answered: {upstream: says(reply(504, "application/json", `{"error":{"message":"late","code":"upstream_timeout"}}`)),
			code: "upstream_timeout", outcome: "failed", class: "upstream_error"},
		llm.Told: {upstream: says(reply(200, "text/event-stream", "data: {\"choices\":[]}\n\n"+`data: {"error":{"message":"busy","code":"upstream_busy"}}`+"\n\n")), stream: true,
			code: "upstream_busy", outcome: "failed", class: "stream_error"},
	} {
		t.Run(llm.Fault(f).String(), func(t *testing.T) {
			switch {
			case c.elsewhere != "":
				t.Skip(c.elsewhere)
			case c.class == "":
				t.Fatal("nothing brings it about")
			}
			c.test(t)
		})
	}
}

func (c *failing) test(t *testing.T) {
	address, at := testkit.Vacant(t), make(chan struct{}, 9)
	if c.upstream != nil {
		address = testkit.Listen(t, func(_ int, conn net.Conn) { c.upstream(conn, at) })
	}
	cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL=http://"+address+"/v1")
	cfg.Route.Retry.MaxAttempts = 1
	if c.change != nil {
		c.change(cfg)
	}
	var log testkit.Buffer
	g, err := New(cfg, Options{Version: "test", AccessLog: &log})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)
	ctx, leave := context.WithTimeout(t.Context(), time.Minute)
	defer leave()
	ask := func(ctx context.Context, said string) { // none joins another's call
		body := fmt.Sprintf(`{"model":"one/m","stream":%v,"messages":[{"role":"user","content":%q}]}`, c.stream, said)
		req, _ := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", strings.NewReader(body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return // it was first
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body) // which may be cut
	}
	if c.first && c.upstream == nil {
		ask(ctx, "first")
	} else if c.first {
		held := make(chan struct{})
		go func() { defer close(held); ask(ctx, "first") }()
		defer func() { leave(); <-held }()
		select {
		case <-at:
		case <-ctx.Done():
			t.Fatal("the first request did not come to the upstream")
		}
	}
	ask(ctx, "second")
	want := fmt.Sprintf(" error=%s code=%s ", c.class, c.code)
	testkit.Until(t, "a line of the access log with"+want, func() bool { return strings.Contains(log.String(), want) })
	_, page := get(t, url+"/metrics")
	for _, o := range []string{"failed", "unreachable", "busy", "lacking", "timeout", "cut", "internal"} {
		count := 0
		if o == c.outcome || o == "unreachable" && c.upstream == nil && c.first {
			count = 1
		}
		if line := fmt.Sprintf("sluice_route_requests_total{outcome=%q,upstream=\"one\"} %d\n", o, count); !strings.Contains(page, line) {
			t.Errorf("not in /metrics: %s", line)
		}
	}
}

// says makes an upstream that has no list of models and answers all else with a text,
// after which it closes the connection.
func says(text string) func(net.Conn, chan<- struct{}) {
	return func(c net.Conn, at chan<- struct{}) {
		if asked(c, at) {
			_, _ = io.WriteString(c, text)
		}
	}
}

// hang answers nothing.
func hang(c net.Conn, at chan<- struct{}) {
	if asked(c, at) {
		_, _ = io.Copy(io.Discard, c)
	}
}

// asked waits for a request that is none for a list of models.
func asked(c net.Conn, at chan<- struct{}) bool {
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, req.Body)
		if req.Method == http.MethodPost {
			at <- struct{}{}
			return true
		}
		_, _ = io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	}
}

// refuseStreams speaks HTTP/2 and takes no stream.
func refuseStreams(c net.Conn, _ chan<- struct{}) {
	if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			_ = f.WriteRSTStream(frame.StreamID, http2.ErrCodeRefusedStream)
		}
	}
}

// reply is a whole reply of a type, which may be followed by more fields.
func reply(status int, contentType, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d x\r\nContent-Length: %d\r\nContent-Type: %s\r\n\r\n%s", status, len(body), contentType, body)
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}
