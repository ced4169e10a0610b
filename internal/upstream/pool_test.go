package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// gate is a server whose calls wait until they are let go.
func gate(t testing.TB) (srv string, arrived chan string, release chan struct{}) {
	t.Helper()
	arrived, release = make(chan string, 1000), make(chan struct{}, 1000)
	s, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived <- string(body)
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = w.Write(body)
	}), nil)
	return s.URL, arrived, release
}

func waiting(c *Client) int { return c.pool.snapshot().waiting }

func examined(c *Client) (found perf.Condition) {
	c.Examine(func(p perf.Condition) { found = p })
	return found
}

func TestQueueIsFirstComeFirstServed(t *testing.T) {
	url, arrived, release := gate(t)
	c := newClient(t, url, func(cfg *Config, _ *Options) { cfg.MaxConnections, cfg.MaxKeepaliveConnections = 2, 2 })
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, body, err := fetch(context.Background(), c, post(fmt.Sprint(i))); err != nil || body != fmt.Sprint(i) {
				t.Errorf("call %d: %q %v", i, body, err)
			}
		})
		if i < 2 {
			if got := <-arrived; got != fmt.Sprint(i) {
				t.Fatalf("call %s arrived, want %d", got, i)
			}
		} else {
			testkit.Until(t, "call waits", func() bool { return waiting(c) == i-1 })
		}
	}
	if got := examined(c); got.State != perf.Degraded || got.Error != "38 calls wait for one of 2 connections" || got.Advice == "" {
		t.Errorf("examined: %+v", got)
	}
	for i := 2; i < n; i++ {
		release <- struct{}{}
		if got := <-arrived; got != fmt.Sprint(i) {
			t.Fatalf("call %s came as number %d", got, i)
		}
	}
	release <- struct{}{}
	release <- struct{}{}
	wg.Wait()
	if created := c.stats.createdH1.Load(); created != 2 {
		t.Errorf("%d connections for a bound of 2", created)
	}
	if got := examined(c); got.State != perf.Healthy || got.Component != "upstream/test/connections" {
		t.Errorf("examined: %+v", got)
	}
	if count := c.stats.wait.Distribution().Count; count != n {
		t.Errorf("%d waits counted, want %d", count, n)
	}
}

func TestPoolTimeout(t *testing.T) {
	url, arrived, release := gate(t)
	c := newClient(t, url, func(cfg *Config, _ *Options) {
		cfg.MaxConnections, cfg.MaxKeepaliveConnections, cfg.PoolTimeout = 1, 1, 30*time.Millisecond
	})
	var wg sync.WaitGroup
	wg.Go(func() { _, _, _ = fetch(context.Background(), c, post("holds it")) })
	<-arrived
	_, _, err := fetch(context.Background(), c, post("too late"))
	wantError(t, err, 503, "upstream_busy", true)
	if e := llm.AsError(err); e.RetryAfter != time.Second {
		t.Errorf("RetryAfter %v", e.RetryAfter)
	}
	if n := waiting(c); n != 0 {
		t.Errorf("%d still wait", n)
	}
	release <- struct{}{}
	wg.Wait()
	if c.stats.poolTimeouts.Load() != 1 {
		t.Error("time-out not counted")
	}
}

func TestQueueIsLeft(t *testing.T) {
	url, arrived, release := gate(t)
	c := newClient(t, url, func(cfg *Config, _ *Options) {
		cfg.MaxConnections, cfg.MaxKeepaliveConnections, cfg.PoolTimeout = 1, 1, time.Hour
	})
	var wg sync.WaitGroup
	wg.Go(func() { _, _, _ = fetch(context.Background(), c, post("holds it")) })
	<-arrived
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error, 1)
	wg.Go(func() {
		_, _, err := fetch(ctx, c, post("gives up"))
		left <- err
	})
	testkit.Until(t, "call waits", func() bool { return waiting(c) == 1 })
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) || !llm.AsError(err).Unprocessed {
		t.Errorf("cancelled in the queue: %v", err)
	}
	if n := waiting(c); n != 0 {
		t.Errorf("%d still wait", n)
	}
	release <- struct{}{}
	wg.Wait()
	if n := c.stats.poolTimeouts.Load(); n != 0 {
		t.Errorf("%d time-outs counted", n)
	}
}

// Callers come, give up and are served in a crowd; the pool must come out even.
func TestPoolStorm(t *testing.T) {
	var held, replies atomic.Int64 // replies that are not closed, each of which has a connection
	s, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		_, _ = io.Copy(w, r.Body)
	}), nil)
	c := newClient(t, s.URL, func(cfg *Config, _ *Options) { cfg.MaxConnections, cfg.MaxKeepaliveConnections = 8, 3 })
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 60 {
				ctx, cancel := context.WithCancel(context.Background())
				call := post(strings.Repeat("x", 1+i*j))
				switch (i + j) % 5 {
				case 0:
					call.Target = "/close"
				case 1:
					time.AfterFunc(time.Duration(j)*20*time.Microsecond, cancel)
				case 2:
					if r, err := c.Do(ctx, call); err == nil {
						if n := held.Add(1); n > 8 {
							t.Errorf("%d replies at once over at most 8 connections", n)
						}
						replies.Add(1)
						held.Add(-1)
						r.Close()
					}
				}
				_, _, err := fetch(ctx, c, call)
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
				if p := c.pool.snapshot(); p.open > 8 {
					t.Errorf("%d connections of at most 8", p.open)
				}
			}
		})
	}
	wg.Wait()
	testkit.Until(t, "the pool is at rest", func() bool {
		p := c.pool.snapshot()
		return p.waiting == 0 && p.open == p.idle && p.idle <= 3
	})
	if n := replies.Load(); n != 32*60/5 {
		t.Errorf("%d replies were held", n)
	}
}

func TestMaxKeepalive(t *testing.T) {
	url, arrived, release := gate(t)
	c := newClient(t, url, func(cfg *Config, _ *Options) { cfg.MaxKeepaliveConnections = 3 })
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { _, _, _ = fetch(context.Background(), c, post(fmt.Sprint(i))) })
	}
	for range 10 {
		<-arrived
	}
	for range 10 {
		release <- struct{}{}
	}
	wg.Wait()
	if p := c.pool.snapshot(); p.open != 3 || p.idle != 3 {
		t.Errorf("after a burst: %+v, want 3 idle", p)
	}
}

func TestNoKeepalive(t *testing.T) {
	srv, open := serve(t, echo, nil)
	c := newClient(t, srv.URL, func(cfg *Config, _ *Options) { cfg.MaxKeepaliveConnections = 0 })
	for range 2 {
		if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Until(t, "closed", func() bool { return open.Load() == 0 })
}

func TestExpiry(t *testing.T) {
	srv, open := serve(t, echo, nil)
	c := newClient(t, srv.URL, func(cfg *Config, _ *Options) { cfg.KeepaliveExpiry = 30 * time.Millisecond })
	if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "swept", func() bool { return open.Load() == 0 && c.pool.snapshot().open == 0 })
	if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
		t.Fatal(err)
	}
}

func TestKeepAliveHint(t *testing.T) {
	srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Keep-Alive", "timeout=5")
	}), nil)
	c := newClient(t, srv.URL, nil)
	r, _, err := fetch(context.Background(), c, post("x"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Get("Keep-Alive") != "" {
		t.Error("Keep-Alive passed on")
	}
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if keep := c.pool.idle[0].keep; keep != 4*time.Second {
		t.Errorf("kept for %v, want a second less than the hint of 5s", keep)
	}
}

func TestWarm(t *testing.T) {
	srv, open := serve(t, echo, nil)
	c := newClient(t, srv.URL, func(cfg *Config, _ *Options) { cfg.WarmConnections = 3 })
	c.Warm(context.Background())
	if p := c.pool.snapshot(); p.idle != 3 {
		t.Errorf("%+v", p)
	}
	testkit.Until(t, "server sees them", func() bool { return open.Load() == 3 })
	if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
		t.Fatal(err)
	}
	if c.stats.createdH1.Load() != 3 || c.stats.reusedH1.Load() != 0 {
		t.Error("a warm connection was not used, or counted as reused before its first call")
	}
}

func TestClose(t *testing.T) {
	url, arrived, release := gate(t)
	c := newClient(t, url, func(cfg *Config, _ *Options) { cfg.MaxConnections, cfg.MaxKeepaliveConnections = 1, 1 })
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, body, err := fetch(context.Background(), c, post("under way")); err != nil || body != "under way" {
			t.Errorf("a reply under way was cut: %q %v", body, err)
		}
	})
	<-arrived
	wg.Go(func() {
		_, _, err := fetch(context.Background(), c, post("waits"))
		wantError(t, err, 503, "upstream_closed", true)
	})
	testkit.Until(t, "one waits", func() bool { return waiting(c) == 1 })
	c.Close()
	c.Close()
	release <- struct{}{}
	wg.Wait()
	_, _, err := fetch(context.Background(), c, post("after"))
	wantError(t, err, 503, "upstream_closed", true)
}

// A connection that the upstream closes while idle must never show.
func TestStaleConnections(t *testing.T) {
	secure, _ := serve(t, echo, withTLS)
	for name, linger := range map[string]int{"closed": -1, "reset": 0} {
		for _, cert := range [][]tls.Certificate{nil, secure.TLS.Certificates} {
			t.Run(fmt.Sprintf("%s, tls %v", name, cert != nil), func(t *testing.T) {
				// Each connection serves one call, stands idle until it is told
				// to end, and ends without a word.
				end, ended, over := make(chan struct{}), make(chan struct{}, 1), t.Context().Done()
				url := listenMaybeTLS(t, cert, func(_ int, nc, socket net.Conn) {
					if _, err := answer(nc, bufio.NewReader(nc)); err != nil {
						return
					}
					select {
					case <-end:
					case <-over:
						return
					}
					if linger == 0 {
						_ = socket.(*net.TCPConn).SetLinger(0)
						socket.Close()
					}
					nc.Close()
					ended <- struct{}{}
				})
				c := newClient(t, url, func(_ *Config, o *Options) { o.RootCAs = roots(secure) })
				const calls = 30
				for i := range calls {
					if _, body, err := fetch(context.Background(), c, post("hello")); err != nil || body != "hello" {
						t.Fatalf("call %d: %q %v", i, body, err)
					}
					// All that touch an idle connection hold the lock.
					idle := func(is func(*conn) bool) func() bool {
						return func() bool {
							c.pool.mu.Lock()
							defer c.pool.mu.Unlock()
							return len(c.pool.idle) == 1 && is(c.pool.idle[0])
						}
					}
					testkit.Until(t, "idle", idle(func(cn *conn) bool {
						cn.idleSince = time.Now().Add(time.Hour) // however slow the test is, the pool does not look
						return true
					}))
					end <- struct{}{}
					<-ended
					testkit.Until(t, "closed", idle(func(cn *conn) bool { return cn.h1.Stale() }))
				}
				// All but the first call met the connection of the one before.
				if n := c.stats.staleRetries.Load(); n != calls-1 {
					t.Errorf("%d calls were sent over a stale connection, want %d", n, calls-1)
				}
			})
		}
	}
}

// Idle connections that the upstream has closed are closed by maintenance, others stay.
func TestTidy(t *testing.T) {
	end := make(chan struct{})
	url := listen(t, func(n int, nc net.Conn) {
		r := bufio.NewReader(nc)
		for {
			if _, err := answer(nc, r); err != nil {
				return
			}
			if n == 0 {
				<-end
				return
			}
		}
	})
	c := newClient(t, url, nil)
	fetchIdle := func() {
		if _, _, err := fetch(t.Context(), c, post("hello")); err != nil {
			t.Fatal(err)
		}
		testkit.Until(t, "idle", func() bool { return c.pool.snapshot().idle == 1 })
	}
	fetchIdle()
	c.pool.mu.Lock() // as if the first one were in use
	first := c.pool.idle
	c.pool.idle = nil
	c.pool.mu.Unlock()
	fetchIdle()
	c.pool.mu.Lock()
	c.pool.idle = append(c.pool.idle, first...)
	c.pool.mu.Unlock()
	if n := c.Tidy(); n != 0 {
		t.Errorf("%d closed that were in order", n)
	}
	close(end)
	closed := 0
	testkit.Until(t, "closed", func() bool { closed += c.Tidy(); return closed > 0 })
	if s := c.pool.snapshot(); closed != 1 || s.open != 1 || s.idle != 1 || c.stats.closed.Load() != 1 {
		t.Errorf("%d closed, %+v", closed, s)
	}
	if _, body, err := fetch(t.Context(), c, post("again")); err != nil || body != "again" || c.stats.staleRetries.Load() != 0 {
		t.Errorf("%q, %v", body, err)
	}
}

// listenMaybeTLS listens, with TLS where there is a certificate, and gives f each
// connection and the socket beneath.
func listenMaybeTLS(t *testing.T, certs []tls.Certificate, f func(n int, nc, socket net.Conn)) string {
	url := listen(t, func(n int, socket net.Conn) {
		nc := socket
		if certs != nil {
			nc = tls.Server(socket, &tls.Config{Certificates: certs})
			defer nc.Close()
		}
		f(n, nc, socket)
	})
	if certs != nil {
		url = strings.Replace(url, "http:", "https:", 1)
	}
	return url
}

// answer reads a request and answers it with its own body.
func answer(nc net.Conn, br *bufio.Reader) (*http.Request, error) {
	req, err := http.ReadRequest(br)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(req.Body)
	if err == nil {
		_, err = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	return req, err
}

// An upstream that has read a call and then ends its reused connection, at once
// and without a word, may have acted on it.
func TestReadIsNotStale(t *testing.T) {
	secure, _ := serve(t, echo, withTLS)
	for name, linger := range map[string]int{"closed": -1, "reset": 0} {
		for _, cert := range [][]tls.Certificate{nil, secure.TLS.Certificates} {
			for _, method := range []string{"POST", "GET"} {
				t.Run(fmt.Sprintf("%s, %s, tls %v", method, name, cert != nil), func(t *testing.T) {
					var read atomic.Int64
					url := listenMaybeTLS(t, cert, func(n int, nc, socket net.Conn) {
						br := bufio.NewReader(nc)
						for range 1 + n%20 { // more of them: the kernel acknowledges later
							if _, err := answer(nc, br); err != nil {
								return
							}
						}
						if req, err := http.ReadRequest(br); err != nil {
							return
						} else if _, err = io.ReadAll(req.Body); err != nil {
							return
						}
						read.Add(1)
						if linger == 0 {
							_ = socket.(*net.TCPConn).SetLinger(0)
							socket.Close()
						}
					})
					c := newClient(t, url, func(_ *Config, o *Options) { o.RootCAs = roots(secure) })
					var failed int64
					for i := range 400 {
						call := post("hello")
						if call.Method = method; method == "GET" {
							call.Body[0] = nil
						}
						if _, _, err := fetch(context.Background(), c, call); err != nil {
							failed++
							wantError(t, err, 502, "upstream_cut", false)
							if method == "GET" {
								t.Fatalf("call %d", i)
							}
						}
					}
					if n := read.Load(); method == "POST" && (failed != n || c.stats.staleRetries.Load() > 0) || n < 30 {
						t.Errorf("of %d calls that were read and not answered %d failed", n, failed)
					}
				})
			}
		}
	}
}

func TestStaleIsSeenBeforeSending(t *testing.T) {
	srv, open := serve(t, echo, nil)
	c := newClient(t, srv.URL, nil)
	if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
		t.Fatal(err)
	}
	srv.CloseClientConnections()
	testkit.Until(t, "closed", func() bool { return open.Load() == 0 })
	c.pool.mu.Lock()
	c.pool.idle[0].idleSince = time.Now().Add(-2 * peekAfter)
	c.pool.mu.Unlock()
	once := post("")
	once.BodyReader, once.BodyLen = strings.NewReader("only once"), 9
	if _, body, err := fetch(context.Background(), c, once); err != nil || body != "only once" {
		t.Errorf("%q %v", body, err)
	}
	if c.stats.staleRetries.Load() != 0 {
		t.Error("it was sent over the stale connection")
	}
}

// A reply that begins and is cut, or a call on a new connection, is not sent
// again: the upstream may have acted on it.
func TestNoSecondSend(t *testing.T) {
	var calls atomic.Int64
	url := listen(t, func(n int, nc net.Conn) {
		br := bufio.NewReader(nc)
		for i := 0; ; i++ {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.ReadAll(req.Body)
			calls.Add(1)
			switch req.URL.Path {
			case "/cut":
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nConte")
				return
			case "/drop":
				return
			}
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	c := newClient(t, url, nil)
	ctx := context.Background()
	drop := post("x")
	drop.Target = "/drop"
	_, _, err := fetch(ctx, c, drop) // on a new connection
	wantError(t, err, 502, "upstream_cut", false)
	if _, _, err := fetch(ctx, c, post("x")); err != nil {
		t.Fatal(err)
	}
	cut := post("x")
	cut.Target = "/cut"
	_, _, err = fetch(ctx, c, cut) // on a reused one, but with some reply
	wantError(t, err, 502, "upstream_cut", false)
	if n := calls.Load(); n != 3 {
		t.Errorf("%d requests for 3 calls", n)
	}
}

// A body that was streamed is not there any more when its kept connection turns out to
// be closed. Whoever has it still is told that nobody acted on it; on a new connection
// somebody may have.
func TestStreamedOverAClosedConnection(t *testing.T) {
	url := listen(t, func(n int, nc net.Conn) {
		br := bufio.NewReader(nc)
		for i := 0; n == 0 && i == 0; i++ {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.ReadAll(req.Body)
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		_, _ = http.ReadRequest(br)
		_ = nc.Close()
	})
	c := newClient(t, url, nil)
	if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
		t.Fatal(err)
	}
	for _, reused := range []bool{true, false} {
		const size = 64 << 20 // more than the sockets take
		_, _, err := fetch(context.Background(), c, &Call{Method: "POST", Target: "/", BodyReader: io.LimitReader(zeros{}, size), BodyLen: size})
		wantError(t, err, 502, "upstream_cut", reused)
	}
}

func TestConnectErrors(t *testing.T) {
	c := newClient(t, "http://"+testkit.Vacant(t), nil)
	c.Warm(context.Background())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, _, err := fetch(context.Background(), c, post("x"))
			wantError(t, err, 502, "upstream_unreachable", true)
		})
	}
	wg.Wait()
	if p := c.pool.snapshot(); p.open != 0 || p.waiting != 0 {
		t.Errorf("%+v", p)
	}
	bad := newClient(t, "http://"+strings.Repeat("x", 64)+".invalid", nil) // which no resolver has to be asked for
	_, _, err := fetch(context.Background(), bad, post("x"))
	wantError(t, err, 502, "upstream_unreachable", true)
}

func TestConnectTimeout(t *testing.T) {
	// A server that accepts but never shakes hands.
	url := listen(t, func(_ int, nc net.Conn) { _, _ = io.Copy(io.Discard, nc) })
	c := newClient(t, strings.Replace(url, "http:", "https:", 1), func(cfg *Config, _ *Options) { cfg.TLSTimeout = 30 * time.Millisecond })
	_, _, err := fetch(context.Background(), c, post("x"))
	wantError(t, err, 504, "upstream_timeout", true)
}

// When the caller of a connection being made goes, the connection serves the
// next one.
func TestDialOutlivesCaller(t *testing.T) {
	srv, _ := serve(t, echo, withH2)
	asked, hold := make(chan struct{}, 10), make(chan struct{})
	proxy := listen(t, func(_ int, nc net.Conn) {
		br := bufio.NewReader(nc)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		asked <- struct{}{}
		<-hold
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
		up, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "https://"))
		if err != nil {
			return
		}
		defer up.Close()
		go func() { _, _ = io.Copy(up, br); up.Close() }()
		_, _ = io.Copy(nc, up)
	})
	c := newClient(t, srv.URL, func(_ *Config, o *Options) {
		o.RootCAs = roots(srv)
		o.Proxy = via(t, proxy)
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-asked
		cancel()
	}()
	if _, _, err := fetch(ctx, c, post("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(hold)
	testkit.Until(t, "the connection is there", func() bool { return c.pool.snapshot().idle == 1 })
	if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
		t.Error(err)
	}
	if c.stats.createdH1.Load()+c.stats.createdH2.Load() != 1 {
		t.Error("another connection was made")
	}
}
