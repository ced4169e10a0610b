package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// direct is a Proxy option that keeps the environment out of a test.
func direct(*url.URL) (*url.URL, error) { return nil, nil }

// newClient makes a Client of a base URL. When the test ends everything must
// have been given back.
func newClient(t testing.TB, base string, change func(*Config, *Options)) *Client {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	cfg, o := Default(), Options{Name: "test", BaseURL: u, Proxy: direct}
	cfg.PoolTimeout, cfg.ConnectTimeout, cfg.TLSTimeout = time.Minute, time.Minute, time.Minute // which no busy machine runs into
	if change != nil {
		change(&cfg, &o)
	}
	c, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		testkit.Until(t, "all connections closed", func() bool { return c.pool.snapshot().open == 0 })
		created := c.stats.createdH1.Load() + c.stats.createdH2.Load()
		if closed := c.stats.closed.Load(); created != closed {
			t.Errorf("%d connections created, %d closed", created, closed)
		}
	})
	return c
}

func post(body string) *Call {
	return &Call{Method: "POST", Target: "/v1/chat/completions?a=b%20c", Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}, Body: [3][]byte{[]byte(body)}}
}

// fetch does a call and reads its reply whole.
func fetch(ctx context.Context, c *Client, call *Call) (*Reply, string, error) {
	r, err := c.Do(ctx, call)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	b, err := readAll(r)
	return r, string(b), err
}

func readAll(r *Reply) ([]byte, error) {
	var all bytes.Buffer
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all.Bytes(), nil
		}
		if err != nil {
			return all.Bytes(), err
		}
		all.Write(p)
	}
}

func wantError(t *testing.T, err error, status int, code string, unprocessed bool) {
	t.Helper()
	e, ok := errors.AsType[*llm.Error](err)
	fault, known := map[string]llm.Fault{
		"upstream_timeout": llm.TimedOut, "upstream_cut": llm.Cut, "upstream_bad_reply": llm.BadReply, "upstream_reply_too_large": llm.TooLarge,
		"upstream_busy": llm.Busy, "upstream_closed": llm.Replaced, "upstream_unreachable": llm.Unreachable, "upstream_refused": llm.Refused,
		"upgrade_not_supported": llm.Declined,
	}[code]
	if !ok || !known || e.Status != status || e.Code != code || e.Fault != fault || e.Unprocessed != unprocessed {
		t.Errorf("error %#v (%v), want %d %s %v unprocessed=%v", err, err, status, code, fault, unprocessed)
	}
	if ok && (!strings.Contains(e.Message, "pstream `test`") || strings.Contains(e.Message, "127.0.0.1")) {
		t.Errorf("the message is %q", e.Message)
	}
}

// serve runs a net/http server and counts the connections that it has open.
func serve(t testing.TB, h http.Handler, change func(*httptest.Server)) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var open atomic.Int64
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	start := (*httptest.Server).Start
	if change != nil {
		change(srv)
		if srv.TLS != nil || srv.EnableHTTP2 {
			start = (*httptest.Server).StartTLS
		}
	}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // some tests break off on purpose
	start(srv)
	t.Cleanup(func() {
		testkit.Until(t, "server's connections closed", func() bool { return open.Load() == 0 })
		srv.Close()
	})
	return srv, &open
}

// listen runs a raw server: f gets each connection, numbered from 0.
func listen(t testing.TB, f func(n int, c net.Conn)) string {
	t.Helper()
	return "http://" + testkit.Listen(t, f)
}

// echo answers with what it got.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Proto", r.Proto)
	w.Header().Set("X-Uri", r.RequestURI)
	// Whole, because net/http closes a connection that it answers on early.
	body, _ := io.ReadAll(r.Body)
	_, _ = w.Write(body)
})
