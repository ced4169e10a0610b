package front

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

const livePage = "/v1/performance/live"

// liveRoute is a route that streams one event and then more when it is told to.
// ended gets what the handler returned.
func liveRoute(more <-chan []byte, ended chan<- error) []Route {
	return []Route{{Method: "GET", Path: livePage, Live: true, Handler: streaming(func(ctx context.Context, send func([]byte) error) (err error) {
		defer func() { ended <- err }()
		for err = send([]byte("data: 1\n\n")); err == nil; {
			select {
			case b, ok := <-more:
				if !ok {
					return nil
				}
				err = send(b)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return err
	})}}
}

func (s *site) live(t *testing.T, ctx context.Context, e speaker, key string) *http.Response {
	t.Helper()
	req := newRequest(t, ctx, "GET", s.url(livePage), "")
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := e.client(t, s).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	return v
}

// TestLive has a live stream end in each of the ways that it can.
func TestLive(t *testing.T) {
	for _, e := range engines {
		for _, c := range []struct {
			name string
			end  func(s *site, leave func(), more chan []byte)
			err  error
		}{
			{"itself", func(_ *site, _ func(), more chan []byte) { close(more) }, nil},
			{"client", func(_ *site, leave func(), _ chan []byte) { leave() }, context.Canceled},
			{"drain", func(s *site, _ func(), _ chan []byte) { go s.Drain(context.Background()) }, context.Canceled},
			{"close", func(s *site, _ func(), _ chan []byte) { _ = s.Close() }, context.Canceled},
			{"swap", func(s *site, _ func(), _ chan []byte) {
				cfg, sc := testConfig()
				if _, err := s.Swap(cfg, sc, unary(`{}`)); err != nil {
					t.Error(err)
				}
			}, context.Canceled},
		} {
			t.Run(e.name+"/"+c.name, func(t *testing.T) {
				more, ended, seen := make(chan []byte), make(chan error, 1), make(seen, 1)
				s := startWith(t, unary(`{}`), Options{Routes: liveRoute(more, ended), Observers: []perf.Observer{seen}}, withAdmin)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				resp := s.live(t, ctx, e, "key-boss")
				if h := resp.Header; h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" {
					t.Errorf("header %v", h)
				}
				r := bufio.NewReader(resp.Body)
				nextEvent(t, r)
				more <- []byte("data: 2\n\n")
				if got := nextEvent(t, r); got != "data: 2\n\n" {
					t.Errorf("%q", got)
				}
				if n := s.inFlight.Load(); n != 0 {
					t.Errorf("a drain would wait for %d requests", n)
				}
				testkit.Until(t, "both writes have ended", func() bool { return s.stats.writes.Load() == 2 })
				c.end(s, leave, more)
				// A write under way when the connection is closed fails by itself.
				if err := await(t, ended); !errors.Is(err, c.err) && !(c.name == "close" && err != nil) {
					t.Errorf("it ended with %v", err)
				}
				if x := seen.next(t); x.Status != 200 || !x.Own || !x.Stream || x.BytesOut != 18 || x.HasOverhead || x.Aborted != "" {
					t.Errorf("%+v", x)
				}
				if _, err := io.ReadAll(r); err != nil && c.name != "client" && c.name != "close" {
					t.Errorf("the end is not sound: %v", err)
				}
			})
		}
	}
}

// TestLiveRefused: the key is asked for, and an error before the first event is
// a whole reply.
func TestLiveRefused(t *testing.T) {
	fail := llm.Errorf(http.StatusConflict, "busy", "Later.")
	s := startWith(t, unary(`{}`), Options{Routes: []Route{{Method: "GET", Path: livePage, Live: true, Handler: streaming(func(context.Context, func([]byte) error) error { return fail })}}}, withAdmin)
	for key, code := range map[string]string{"key-team": "admin_key_required", "": "invalid_api_key", "key-boss": "busy"} {
		resp := s.live(t, t.Context(), engines[0], key)
		b, _ := io.ReadAll(resp.Body)
		if apiError(t, string(b)).Code != code {
			t.Errorf("%q: %d %s", key, resp.StatusCode, b)
		}
	}
}

// TestLiveSlow: a client that reads nothing is given up.
func TestLiveSlow(t *testing.T) {
	ended := make(chan error, 1)
	s := startWith(t, unary(`{}`), Options{Routes: []Route{{Method: "GET", Path: livePage, Live: true, Handler: streaming(func(_ context.Context, send func([]byte) error) (err error) {
		for b := []byte("data: " + strings.Repeat("x", 64<<10) + "\n\n"); err == nil; {
			err = send(b)
		}
		ended <- err
		return err
	})}}}, withAdmin, func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = 100 * time.Millisecond })
	for _, e := range engines {
		if e.name == "h1" {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, "GET "+livePage+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-boss\r\n\r\n")
		} else {
			s.live(t, t.Context(), e, "key-boss")
		}
		if err := await(t, ended); err == nil {
			t.Error(e.name)
		}
	}
}

func TestPages(t *testing.T) {
	s := startWith(t, unary(`{}`), Options{Pages: llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
		return saying(req.Path).Serve(ctx, req, out)
	})}, withAdmin)
	bare := start(t, unary(`{}`))
	client := h1(t, s)
	for _, c := range []struct {
		s            *site
		method, path string
		status       int
		body         string
	}{
		{s, "GET", "/dashboard", 200, "/dashboard"},
		{s, "GET", "/dashboard/a.js", 200, "/dashboard/a.js"},
		{s, "HEAD", "/dashboard/", 200, ""},
		{s, "POST", "/dashboard", 405, "method not allowed\n"},
		{s, "GET", "/dashboards", 404, "unknown_url"},
		{bare, "GET", "/dashboard", 404, "unknown_url"},
	} {
		resp, body := do(t, client, newRequest(t, t.Context(), c.method, c.s.url(c.path), ""))
		if resp.StatusCode != c.status || body != c.body && !(c.status == 404 && strings.Contains(body, c.body)) {
			t.Errorf("%s %s: %d %s", c.method, c.path, resp.StatusCode, body)
		}
	}
}

// A page, or the figures, whose handler fails: it is told as long as it can be, and
// what has begun does not look whole.
func TestPagesFail(t *testing.T) {
	fails := llm.HandlerFunc(func(_ context.Context, req *llm.Request, out llm.Sink) error {
		how := req.RawQuery
		if how == "silent" {
			return nil
		}
		if how != "early" {
			h := llm.Head{Status: 200, Kind: llm.Pieces, Length: -1, Header: []llm.Field{{Name: "Content-Encoding", Value: "gzip"}}}
			if err := out.Start(&h); err != nil {
				return err
			}
		}
		if how == "late" {
			if err := out.Send([]llm.Event{{Raw: []byte("half of it")}}); err != nil {
				return err
			}
		}
		return llm.Errorf(503, "no_page", "There is none now.")
	})
	s := startWith(t, unary(`{}`), Options{Pages: fails, Metrics: fails})
	for _, e := range engines {
		client := e.client(t, s)
		for _, path := range []string{"/dashboard", "/metrics"} {
			for how, want := range map[string]int{"silent": 500, "early": 503, "begun": 503, "late": 503} {
				cut := how == "late" && path == "/dashboard" // figures are made before any of them is sent
				resp, err := client.Do(newRequest(t, t.Context(), "GET", s.url(path+"?"+how), ""))
				if err != nil {
					if !cut {
						t.Errorf("%s %s %s: %v", e.name, path, how, err)
					}
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if cut != (err != nil) || !cut && (resp.StatusCode != want || resp.Header.Get("Content-Encoding") != "" || !strings.Contains(string(body), `"error"`)) {
					t.Errorf("%s %s %s: %d %q %v", e.name, path, how, resp.StatusCode, body, err)
				}
			}
		}
	}
}
