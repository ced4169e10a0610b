package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// eachProtocol runs a test over HTTP/1.1, HTTP/2 over TLS and h2c.
func eachProtocol(t *testing.T, h http.HandlerFunc, change func(*Config), test func(t *testing.T, c *Client, serverOpen func() int64)) {
	t.Helper()
	if change == nil {
		change = func(*Config) {}
	}
	for name, server := range map[string]func(*httptest.Server){
		"h1": nil,
		"h2": withH2,
		"h2c": func(s *httptest.Server) {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv, open := serve(t, h, server)
			c := newClient(t, srv.URL, func(cfg *Config, o *Options) {
				if srv.TLS != nil {
					o.RootCAs = roots(srv)
				}
				cfg.H2C = name == "h2c"
				change(cfg)
			})
			test(t, c, open.Load)
			if isH2 := c.stats.createdH2.Load() > 0; isH2 != (name != "h1") {
				t.Errorf("HTTP/2: %v", isH2)
			}
		})
	}
}

func TestEcho(t *testing.T) {
	eachProtocol(t, echo, nil, func(t *testing.T, c *Client, _ func() int64) {
		for _, body := range []string{"", "hello", strings.Repeat("0123456789", 100_000)} {
			call := post("")
			third := len(body) / 3
			call.Body = [3][]byte{[]byte(body[:third]), []byte(body[third : 2*third]), []byte(body[2*third:])}
			r, got, err := fetch(context.Background(), c, call)
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != 200 || got != body || r.Get("X-Uri") != "/v1/chat/completions?a=b%20c" || r.Get("Content-Length") != "" {
				t.Errorf("%d bytes of %d, %+v", len(got), len(body), r)
			}
			if _, err := r.Next(); err != io.EOF { // as promised
				t.Errorf("after the end: %v", err)
			}
		}
	})
}

func TestUpload(t *testing.T) {
	eachProtocol(t, echo, nil, func(t *testing.T, c *Client, _ func() int64) {
		body := strings.Repeat("0123456789", 50_000)
		for _, n := range []int64{-1, int64(len(body))} {
			call := &Call{Method: "POST", Target: "/", BodyReader: io.MultiReader(strings.NewReader(body[:7]), strings.NewReader(body[7:])), BodyLen: n}
			if _, got, err := fetch(context.Background(), c, call); err != nil || got != body {
				t.Errorf("length %d: %d bytes back, %v", n, len(got), err)
			}
		}
	})
}

func TestUploadFails(t *testing.T) {
	eachProtocol(t, echo, nil, func(t *testing.T, c *Client, _ func() int64) {
		fault := errors.New("the client went away")
		call := &Call{Method: "POST", Target: "/", BodyReader: io.MultiReader(strings.NewReader("some"), &failing{fault}), BodyLen: 100}
		if _, _, err := fetch(context.Background(), c, call); !errors.Is(err, fault) {
			t.Errorf("%v", err)
		}
		if _, got, err := fetch(context.Background(), c, post("next")); err != nil || got != "next" {
			t.Errorf("the next call: %q %v", got, err)
		}
	})
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// An upstream that refuses a body before it has all of it.
func TestEarlyReply(t *testing.T) {
	refuse := func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	}
	eachProtocol(t, refuse, nil, func(t *testing.T, c *Client, _ func() int64) {
		held := post(strings.Repeat("x", 8<<20))
		streamed := &Call{Method: "POST", Target: "/", BodyReader: strings.NewReader(strings.Repeat("x", 8<<20)), BodyLen: 8 << 20}
		for _, call := range []*Call{held, streamed} {
			if r, body, err := fetch(context.Background(), c, call); err != nil || r.Status != 413 || body != "too large\n" {
				t.Errorf("%+v %q %v", r, body, err)
			}
		}
	})
}

func TestHeaderFields(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Accept-Encoding", "X-Hop", "Keep-Alive", "X-Two", "User-Agent", "Expect"} {
			w.Header().Set("Got-"+name, strings.Join(r.Header.Values(name), "|"))
		}
		w.Header().Set("Got-Host", r.Host)
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "x-secret-hop, keep-alive")
			w.Header().Set("Keep-Alive", "timeout=9")
			w.Header().Set("X-Secret-Hop", "1")
		}
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.Header().Add("Set-Cookie", "a")
		w.Header().Add("Set-Cookie", "b")
		_, _ = io.WriteString(w, "ok")
	}
	eachProtocol(t, h, nil, func(t *testing.T, c *Client, _ func() int64) {
		call := post("x")
		call.Header = append(call.Header, field("Connection", "close, X-Hop"), field("X-Hop", "1"), field("Keep-Alive", "1"),
			field("X-Two", "a"), field("X-Two", "b"), field("Host", "evil"), field("Content-Length", "99"),
			field("Transfer-Encoding", "chunked"), field("Accept-Encoding", "lzma"), field("Expect", "100-continue"))
		for _, stream := range []bool{false, true} {
			call.Stream = stream
			r, _, err := fetch(context.Background(), c, call)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"Accept-Encoding": "gzip, deflate, br, zstd", "X-Hop": "", "Keep-Alive": "", "X-Two": "a|b", "Host": c.host, "User-Agent": "", "Expect": ""}
			if stream {
				want["Accept-Encoding"] = "identity"
			}
			for name, v := range want {
				if got := r.Get("Got-" + name); got != v {
					t.Errorf("upstream got %s: %q, want %q", name, got, v)
				}
			}
			cookies := 0
			for _, f := range r.Header {
				switch f.Name {
				case "Connection", "Keep-Alive", "X-Secret-Hop", "Proxy-Authenticate", "Content-Length", "Transfer-Encoding":
					t.Errorf("passed on: %v", f)
				case "Set-Cookie":
					cookies++
				}
			}
			if cookies != 2 {
				t.Errorf("%d cookies of 2", cookies)
			}
		}
	})
}

func TestHeaderInjection(t *testing.T) {
	eachProtocol(t, echo, nil, func(t *testing.T, c *Client, _ func() int64) {
		for _, value := range []string{"a\r\nX-Evil: 1", "a\nb", "a\x00b"} {
			call := post("x")
			call.Header = append(call.Header, field("X-Id", value))
			_, _, err := fetch(context.Background(), c, call)
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Status != 400 {
				t.Errorf("%q: %v", value, err)
			}
		}
		if _, got, err := fetch(context.Background(), c, post("next")); err != nil || got != "next" {
			t.Errorf("the next call: %q %v", got, err)
		}
	})
}

// stalling answers as its path says and then waits for the client to leave.
func stalling(gone chan<- time.Time) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		gone <- time.Now()
	}
}

func TestCancellation(t *testing.T) {
	gone, came := make(chan time.Time, 1), make(chan struct{}, 1)
	stall := stalling(gone)
	h := func(w http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		stall(w, r)
	}
	// The upstream hears of it, and of how soon the log tells: a machine may be slow.
	heard := func(t *testing.T, at time.Time) {
		t.Helper()
		select {
		case when := <-gone:
			t.Logf("the upstream heard after %v", when.Sub(at))
		case <-time.After(time.Minute):
			t.Fatal("the upstream did not hear of it")
		}
	}
	eachProtocol(t, h, nil, func(t *testing.T, c *Client, _ func() int64) {
		for _, path := range []string{"/head", "/body", "/idle"} {
			ctx, cancel := context.WithCancelCause(context.Background())
			cause := errors.New("the client left")
			var at time.Time
			leave := func() { at = time.Now(); cancel(cause) }
			call := post("x")
			call.Target = path
			var err error
			switch path {
			case "/head": // while Do waits
				left := make(chan struct{})
				go func() {
					defer close(left)
					<-came // else nobody would hear of it
					leave()
				}()
				_, err = c.Do(ctx, call)
				<-left
			default:
				call.Target = "/body"
				r, derr := c.Do(ctx, call)
				if derr != nil {
					t.Fatal(derr)
				}
				<-came
				if p, rerr := r.Next(); rerr != nil || string(p) != "first" {
					t.Fatalf("%q %v", p, rerr)
				}
				if path == "/body" { // while Next waits
					time.AfterFunc(20*time.Millisecond, leave)
				} else { // while nobody waits: the upstream must hear of it all the same
					leave()
					heard(t, at)
					gone <- at
				}
				_, err = r.Next()
				r.Close()
			}
			if !errors.Is(err, cause) {
				t.Errorf("%s: %v", path, err)
			}
			heard(t, at)
		}
		testkit.Until(t, "nothing in use", func() bool { p := c.pool.snapshot(); return p.open == p.idle })
		if _, err := c.Do(cancelled(), post("x")); !errors.Is(err, context.Canceled) || !llm.AsError(err).Unprocessed {
			t.Errorf("%v", err)
		}
	})
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestTimeouts(t *testing.T) {
	gone := make(chan time.Time, 10)
	short := func(cfg *Config) {
		cfg.ResponseHeaderTimeout, cfg.IdleTimeout = time.Hour, time.Hour
	}
	eachProtocol(t, stalling(gone), short, func(t *testing.T, c *Client, _ func() int64) {
		testkit.InTime(t, 30*time.Millisecond, func(timeout time.Duration) error {
			c.cfg.FirstEventTimeout = timeout
			call := post("x")
			call.Stream = true
			_, _, err := fetch(context.Background(), c, call)
			wantError(t, err, 504, "upstream_timeout", false)
			select {
			case <-gone:
				return nil
			case <-time.After(timeout + time.Second):
				return errors.New("nothing was sent before the time-out, or the upstream did not hear of it")
			}
		})
		call := post("x") // not a stream: the other limit holds for the head
		call.Target = "/body"
		r, err := c.Do(context.Background(), call)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := r.Next(); string(p) != "first" {
			t.Errorf("%q %v", p, err)
		}
		r.SetIdleTimeout(30 * time.Millisecond)
		_, err = r.Next()
		wantError(t, err, 504, "upstream_timeout", false)
		if _, again := r.Next(); again != err { // the same
			t.Errorf("then %v", again)
		}
		r.Close()
		<-gone
	})
}

// Time that the reader takes is not the upstream's.
func TestIdleTimeoutSparesSlowReader(t *testing.T) {
	more := make(chan struct{})
	h := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, "second")
	}
	eachProtocol(t, h, nil, func(t *testing.T, c *Client, _ func() int64) {
		testkit.InTime(t, 150*time.Millisecond, func(timeout time.Duration) error {
			c.cfg.IdleTimeout = timeout
			r, err := c.Do(context.Background(), post("x"))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			_, err = r.Next()
			time.Sleep(timeout * 5 / 3)
			more <- struct{}{}
			if err != nil {
				return err
			}
			if rest, err := readAll(r); err != nil || string(rest) != "second" {
				return fmt.Errorf("%q %w", rest, err)
			}
			return nil
		})
	})
}

// A peer that takes no bytes.
func TestPeerThatDoesNotRead(t *testing.T) {
	end := make(chan struct{})
	url := listen(t, func(int, net.Conn) { <-end })
	defer close(end)
	c := newClient(t, url, func(cfg *Config, _ *Options) {
		cfg.IdleTimeout, cfg.ResponseHeaderTimeout = 50*time.Millisecond, 50*time.Millisecond
	})
	reader := &Call{Method: "POST", Target: "/", BodyReader: io.LimitReader(zeros{}, 1<<30), BodyLen: 1 << 30}
	_, _, err := fetch(context.Background(), c, reader)
	wantError(t, err, 504, "upstream_timeout", false)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCutBody(t *testing.T) {
	h := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	eachProtocol(t, h, nil, func(t *testing.T, c *Client, _ func() int64) {
		_, body, err := fetch(context.Background(), c, post("x"))
		if body != "first" {
			t.Errorf("body %q", body)
		}
		wantError(t, err, 502, "upstream_cut", false)
	})
}

func TestMalformedReplies(t *testing.T) {
	for _, reply := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"SSH-2.0-OpenSSH\r\n\r\n",
	} {
		url := listen(t, func(_ int, nc net.Conn) {
			if req, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
				_, _ = io.ReadAll(req.Body)
				_, _ = io.WriteString(nc, reply)
				_, _ = io.Copy(io.Discard, nc)
			}
		})
		c := newClient(t, url, nil)
		_, _, err := fetch(context.Background(), c, post("x"))
		wantError(t, err, 502, "upstream_bad_reply", false)
	}
}

func TestReplyWithoutBody(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		if r.Method != http.MethodHead {
			w.WriteHeader(http.StatusNoContent)
		}
	}
	eachProtocol(t, h, nil, func(t *testing.T, c *Client, _ func() int64) {
		for _, method := range []string{"HEAD", "DELETE"} {
			r, body, err := fetch(context.Background(), c, &Call{Method: method, Target: "/"})
			if err != nil || body != "" {
				t.Errorf("%s: %+v %q %v", method, r, body, err)
			}
		}
	})
}

func TestCloseDelimited(t *testing.T) {
	url := listen(t, func(_ int, nc net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\nuntil the end")
		}
	})
	c := newClient(t, url, nil)
	r, body, err := fetch(context.Background(), c, &Call{Method: "GET", Target: "/"})
	if err != nil || body != "until the end" || !r.CloseDelimited || r.Length != -1 {
		t.Errorf("%+v %q %v", r, body, err)
	}
}

// Each Next brings what has arrived, and does not wait for more.
func TestNothingIsHeldBack(t *testing.T) {
	step := make(chan struct{})
	h := func(w http.ResponseWriter, _ *http.Request) {
		for i := range 5 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-step
		}
	}
	eachProtocol(t, h, nil, func(t *testing.T, c *Client, _ func() int64) {
		call := post("x")
		call.Stream = true
		r, err := c.Do(context.Background(), call)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i := range 5 {
			if p, err := r.Next(); err != nil || string(p) != fmt.Sprintf("data: %d\n\n", i) {
				t.Fatalf("%q %v", p, err)
			}
			step <- struct{}{}
		}
		if _, err := r.Next(); err != io.EOF { // as promised
			t.Error(err)
		}
	})
}

func TestNewRejects(t *testing.T) {
	if _, err := New(Config{}, Options{}); err == nil {
		t.Error("an empty Config was accepted")
	}
	if _, err := New(Default(), Options{}); err == nil {
		t.Error("no base URL was accepted")
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{MaxConnections: 5, MaxKeepaliveConnections: 6, PingInterval: -1}.Validate()
	for _, key := range []string{"max_keepalive_connections", "max_streams_per_connection", "ping_interval", "ping_timeout", "pool_timeout", "connect_timeout", "tls_timeout", "keepalive_expiry", "response_header_timeout", "first_event_timeout", "idle_timeout", "max_reply_bytes"} {
		if err == nil || !strings.Contains(err.Error(), key+": must") {
			t.Errorf("no fault for %s in %v", key, err)
		}
	}
}

// nothing takes figures and keeps none.
type nothing struct{}

func (nothing) Counter(string, string, float64, ...string)           {}
func (nothing) Gauge(string, string, float64, ...string)             {}
func (nothing) Ratio(string, string, float64, float64, ...string)    {}
func (nothing) Histogram(string, string, *perf.Histogram, ...string) {}

// ratio keeps the only ratio there is.
type ratio struct {
	perf.Reporter
	part, whole float64
}

func (r *ratio) Ratio(_, _ string, part, whole float64, _ ...string) { r.part, r.whole = part, whole }

func TestFigures(t *testing.T) {
	srv, _ := serve(t, echo, nil)
	c := newClient(t, srv.URL, nil)
	for range 4 {
		if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
			t.Fatal(err)
		}
	}
	reuses := ratio{Reporter: nothing{}}
	c.Figures(&reuses)
	if reuses.part != 3 || reuses.whole != 4 {
		t.Errorf("%v of %v uses of connections needed no new one", reuses.part, reuses.whole)
	}
	reg := perf.New()
	reg.Register("upstream", c)
	figures := string(testkit.Ask(t, reg, &llm.Request{Method: "GET", Path: "/metrics"}).Body)
	for _, line := range []string{
		`sluice_upstream_connections_created_total{protocol="http/1.1",upstream="test"} 1`,
		`sluice_upstream_connections_reused_total{protocol="http/1.1",upstream="test"} 3`,
		`sluice_upstream_connections_open{upstream="test"} 1`,
		`sluice_upstream_connections_idle{upstream="test"} 1`,
		`sluice_upstream_dial_seconds_count{upstream="test"} 1`,
		`sluice_upstream_pool_wait_seconds_count{upstream="test"} 1`,
	} {
		if !strings.Contains(figures, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}
