package upstream

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

func wantLack(t *testing.T, err error, unprocessed bool) {
	t.Helper()
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Status != 503 || e.Code != "gateway_overloaded" || e.Fault != llm.Lacking || e.Upstream != "" || e.Unprocessed != unprocessed {
		t.Errorf("%#v (%v), unprocessed should be %v", err, err, unprocessed)
	}
}

// A buffer that is refused is the gateway's lack: the call fails, no connection is
// lost or kept that is not sound, and the next call goes through. Max is changed
// between calls, while nobody asks for buffers.
func TestMemoryRefused(t *testing.T) {
	large := strings.Repeat("x", 300_000)
	for name, kind := range map[string]func(*httptest.Server){"h1": nil, "h1 TLS": withTLS, "h2": withH2} {
		t.Run(name, func(t *testing.T) {
			srv, open := serve(t, echo, kind)
			var buffers memory.Buffers
			c := newClient(t, srv.URL, func(_ *Config, o *Options) {
				if kind != nil {
					o.RootCAs = roots(srv)
				}
				o.Buffers = &buffers
			})
			well := func(body string) {
				t.Helper()
				if _, got, err := fetch(context.Background(), c, post(body)); err != nil || got != body {
					t.Errorf("%d bytes of %d, %v", len(got), len(body), err)
				}
				testkit.Until(t, "one connection", func() bool { return open.Load() == 1 })
			}
			made := func() uint64 { return c.stats.createdH1.Load() + c.stats.createdH2.Load() }
			well("hello")
			before := made()

			// Nothing is lent: over HTTP/1.1 nothing is sent either, and the connection
			// stays, but with TLS, where it has a small buffer of its own: the reply
			// cannot be read. Nor can it over HTTP/2, where its stream alone is reset.
			buffers.Max = -1
			_, _, err := fetch(context.Background(), c, post(large))
			wantLack(t, err, name == "h1")
			if name == "h1 TLS" {
				before++
			}
			if name != "h2" {
				_, _, err = fetch(context.Background(), c, &Call{Method: "POST", Target: "/", BodyReader: strings.NewReader(large), BodyLen: -1})
				wantLack(t, err, true)
			}
			buffers.Max = 0
			well(large)
			if n := made(); n != before {
				t.Errorf("%d connections made", n-before)
			}

			// Small ones are lent. HTTP/2 gets on with them. Over HTTP/1.1 the call is
			// sent and the reply not read, so its connection is given up, and the call
			// not repeated.
			buffers.Max = 8 << 10
			_, got, err := fetch(context.Background(), c, post(large))
			if name == "h2" {
				if err != nil || got != large {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			} else {
				wantLack(t, err, false)
			}
			buffers.Max = 0
			if name != "h2" {
				before++
			}
			well(large)
			if n := made(); n != before {
				t.Errorf("%d connections made, want %d", n, before)
			}
		})
	}
}

// A coded reply needs one buffer more.
func TestDecodingRefused(t *testing.T) {
	srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		_, _ = io.WriteString(z, "hello")
	}), withH2)
	buffers := memory.Buffers{Max: decodedPiece - 1}
	c := newClient(t, srv.URL, func(_ *Config, o *Options) { o.RootCAs, o.Buffers = roots(srv), &buffers })
	_, _, err := fetch(context.Background(), c, post(""))
	wantLack(t, err, false)
	buffers.Max = 0
	if _, got, err := fetch(context.Background(), c, post("")); err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// What a client sends through a connection that was switched needs a buffer too:
// without it both directions end.
func TestPourRefused(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(switches))
	withTLS(srv)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	var buffers memory.Buffers
	c := newClient(t, srv.URL, func(_ *Config, o *Options) { o.RootCAs, o.Buffers = roots(srv), &buffers })
	r, err := c.Do(context.Background(), upgrading())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buffers.Max = -1
	r.Pour(strings.NewReader("hello"))
	if got, err := readAll(r); strings.Contains(string(got), "bye") || err == nil {
		t.Errorf("%q, %v", got, err)
	}
}
