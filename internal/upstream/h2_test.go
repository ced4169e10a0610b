package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// peer is the server's end of an HTTP/2 connection, frame by frame.
type peer struct {
	*http2.Framer
	nc   net.Conn
	hbuf strings.Builder
}

// request reads until a whole request is there and returns its stream.
func (p *peer) request() (stream uint32, err error) {
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return 0, err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = p.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = p.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				return f.StreamID, nil
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return f.StreamID, nil
			}
		}
	}
}

func (p *peer) reply(stream uint32, status, body string, end bool) {
	p.hbuf.Reset()
	_ = hpack.NewEncoder(&p.hbuf).WriteField(hpack.HeaderField{Name: ":status", Value: status})
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(p.hbuf.String()), EndHeaders: true})
	_ = p.WriteData(stream, end, []byte(body))
}

// listenH2 runs a raw h2c server.
func listenH2(t *testing.T, settings []http2.Setting, f func(n int, p *peer)) string {
	return listen(t, func(n int, nc net.Conn) {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(nc, preface); err != nil || string(preface) != http2.ClientPreface {
			return
		}
		p := &peer{Framer: http2.NewFramer(nc, nc), nc: nc}
		_ = p.WriteSettings(settings...)
		f(n, p)
	})
}

func newH2Client(t *testing.T, url string, change func(*Config)) *Client {
	return newClient(t, url, func(cfg *Config, _ *Options) {
		cfg.H2C = true
		if change != nil {
			change(cfg)
		}
	})
}

func TestRefusedStream(t *testing.T) {
	url := listenH2(t, nil, func(_ int, p *peer) {
		for {
			s, err := p.request()
			if err != nil {
				return
			}
			_ = p.WriteRSTStream(s, http2.ErrCodeRefusedStream)
		}
	})
	c := newH2Client(t, url, nil)
	_, _, err := fetch(context.Background(), c, post("x"))
	wantError(t, err, 502, "upstream_refused", true)
}

func TestResetStream(t *testing.T) {
	url := listenH2(t, nil, func(_ int, p *peer) {
		for {
			s, err := p.request()
			if err != nil {
				return
			}
			_ = p.WriteRSTStream(s, http2.ErrCodeInternal)
			if s, err = p.request(); err != nil {
				return
			}
			p.reply(s, "200", "first", false)
			_ = p.WriteRSTStream(s, http2.ErrCodeRefusedStream)
		}
	})
	c := newH2Client(t, url, nil)
	_, _, err := fetch(context.Background(), c, post("x"))
	wantError(t, err, 502, "upstream_cut", false)
	// Refused after a reply began: it did act on the request.
	_, _, err = fetch(context.Background(), c, post("x"))
	wantError(t, err, 502, "upstream_cut", false)
}

// An upstream that restarts: it says GOAWAY, excludes the call that crossed it
// on the way, and finishes the one before. Neither caller sees it.
func TestGoAway(t *testing.T) {
	firstIn := make(chan struct{})
	url := listenH2(t, nil, func(n int, p *peer) {
		s, err := p.request()
		if err != nil {
			return
		}
		if n > 0 {
			p.reply(s, "200", fmt.Sprint("connection ", n), true)
			_, _ = p.request()
			return
		}
		close(firstIn)
		if _, err := p.request(); err != nil {
			return
		}
		_ = p.WriteGoAway(s, http2.ErrCodeNo, nil)
		time.Sleep(20 * time.Millisecond)
		p.reply(s, "200", "finished", true)
		_, _ = p.request()
	})
	c := newH2Client(t, url, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, body, err := fetch(context.Background(), c, post("a")); err != nil || body != "finished" {
			t.Errorf("the call before GOAWAY: %q %v", body, err)
		}
	})
	<-firstIn
	if _, body, err := fetch(context.Background(), c, post("b")); err != nil || body != "connection 1" {
		t.Errorf("the call beyond GOAWAY: %q %v", body, err)
	}
	wg.Wait()
	if c.stats.staleRetries.Load() != 1 {
		t.Error("it was not sent again")
	}
}

// The same with a body that cannot be sent twice.
func TestGoAwayUnprocessed(t *testing.T) {
	url := listenH2(t, nil, func(_ int, p *peer) {
		s, err := p.request()
		if err != nil {
			return
		}
		p.reply(s, "200", "one", true)
		if _, err = p.request(); err == nil {
			_ = p.WriteGoAway(s, http2.ErrCodeNo, nil)
			_, _ = p.request()
		}
	})
	c := newH2Client(t, url, nil)
	if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
		t.Fatal(err)
	}
	call := &Call{Method: "POST", Target: "/", BodyReader: strings.NewReader("once"), BodyLen: 4}
	_, _, err := fetch(context.Background(), c, call)
	wantError(t, err, 502, "upstream_refused", true)
}

// A connection that closes between two calls.
func TestStaleH2(t *testing.T) {
	url := listenH2(t, nil, func(n int, p *peer) {
		if s, err := p.request(); err == nil {
			p.reply(s, "200", fmt.Sprint(n), true)
		}
	})
	c := newH2Client(t, url, nil)
	for i := range 20 { // at once: the connection may be closing
		if _, body, err := fetch(context.Background(), c, &Call{Method: "GET", Target: "/"}); err != nil || body != fmt.Sprint(i) {
			t.Fatalf("call %d: %q %v", i, body, err)
		}
	}
	for i := range 20 {
		testkit.Until(t, "closed", func() bool { return c.pool.snapshot().open == 0 })
		if _, body, err := fetch(context.Background(), c, post("x")); err != nil || body != fmt.Sprint(20+i) {
			t.Fatalf("call %d: %q %v", i, body, err)
		}
	}
}

// An upstream that has read a call and then closes its connection without a word
// may have acted on it.
func TestReadIsNotStaleH2(t *testing.T) {
	for method, want := range map[string]int64{"POST": 1, "GET": 2} {
		t.Run(method, func(t *testing.T) {
			var read atomic.Int64
			url := listenH2(t, nil, func(n int, p *peer) {
				s, err := p.request()
				if err != nil {
					return
				}
				p.reply(s, "200", "one", true)
				if _, err = p.request(); err == nil {
					read.Add(1)
				}
			})
			c := newH2Client(t, url, nil)
			call := post("")
			call.Method, call.Body[0] = method, nil
			if _, _, err := fetch(context.Background(), c, call); err != nil {
				t.Fatal(err)
			}
			_, body, err := fetch(context.Background(), c, call)
			if method == "GET" && (err != nil || body != "one") {
				t.Errorf("%q %v", body, err)
			} else if method == "POST" {
				wantError(t, err, 502, "upstream_cut", false)
			}
			if n := read.Load(); n != 1 || c.stats.staleRetries.Load() != uint64(want-1) {
				t.Errorf("%d were read without an answer, %d sent again", n, c.stats.staleRetries.Load())
			}
		})
	}
}

// What no upstream may send is a malformed reply; what it ends early is a cut one.
func TestMalformedH2(t *testing.T) {
	field := func(pairs ...string) (list []hpack.HeaderField) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return list
	}
	head := func(pairs ...string) func(*peer, uint32) {
		return func(p *peer, s uint32) { p.trailers(s, false, field(pairs...)...) }
	}
	raw := func(text string) func(*peer, uint32) {
		return func(p *peer, _ uint32) { _, _ = io.WriteString(p.nc, text) }
	}
	for name, tt := range map[string]struct {
		answer func(p *peer, stream uint32)
		code   string
	}{
		"no status":             {head("content-type", "text/plain"), "upstream_bad_reply"},
		"too many fields":       {head(append([]string{":status", "200"}, slices.Repeat([]string{"a", "b"}, maxFields+1)...)...), "upstream_bad_reply"},
		"no number":             {head(":status", "ok"), "upstream_bad_reply"},
		"two of them":           {head(":status", "200", ":status", "200"), "upstream_bad_reply"},
		"a field in upper case": {head(":status", "200", "X-A", "b"), "upstream_bad_reply"},
		"a pseudo-field later":  {head(":status", "200", "a", "b", ":status", "200"), "upstream_bad_reply"},
		"a foreign one":         {head(":path", "/"), "upstream_bad_reply"},
		"data before the head":  {func(p *peer, s uint32) { _ = p.WriteData(s, true, []byte("x")) }, "upstream_bad_reply"},
		"more than the length": {func(p *peer, s uint32) {
			p.trailers(s, false, field(":status", "200", "content-length", "1")...)
			_ = p.WriteData(s, true, []byte("xyz"))
		}, "upstream_bad_reply"},
		"no HPACK": {func(p *peer, s uint32) {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}, "upstream_bad_reply"},
		"data of no stream":    {raw("\x00\x00\x00\x00\x00\x00\x00\x00\x00"), "upstream_bad_reply"},
		"a frame too large":    {raw("\xff\xff\xff\x00\x00\x00\x00\x00\x01"), "upstream_bad_reply"},
		"settings in disorder": {raw("\x00\x00\x01\x04\x00\x00\x00\x00\x00x"), "upstream_bad_reply"},
		"another protocol":     {raw("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "upstream_bad_reply"},

		"less than the length": {func(p *peer, s uint32) {
			p.trailers(s, false, field(":status", "200", "content-length", "9")...)
			_ = p.WriteData(s, true, []byte("xyz"))
		}, "upstream_cut"},
		"reset":               {func(p *peer, s uint32) { _ = p.WriteRSTStream(s, http2.ErrCodeProtocol) }, "upstream_cut"},
		"closed":              {func(p *peer, _ uint32) { _ = p.nc.Close() }, "upstream_cut"},
		"closed within frame": {func(p *peer, _ uint32) { _, _ = p.nc.Write([]byte{0, 0}); _ = p.nc.Close() }, "upstream_cut"},
	} {
		t.Run(name, func(t *testing.T) {
			url := listenH2(t, nil, func(_ int, p *peer) {
				s, err := p.request()
				if err != nil {
					return
				}
				tt.answer(p, s)
				_, _ = p.request()
			})
			_, _, err := fetch(context.Background(), newH2Client(t, url, nil), post("x"))
			wantError(t, err, 502, tt.code, false)
		})
	}
}

func TestH2ClosesAtOnce(t *testing.T) {
	url := listen(t, func(int, net.Conn) {})
	c := newH2Client(t, url, nil)
	begun := time.Now()
	_, _, err := fetch(context.Background(), c, post("x"))
	if err == nil || time.Since(begun) > time.Minute {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	if n := c.stats.createdH2.Load(); n > 3 {
		t.Errorf("%d connections tried for one call", n)
	}
}

// A connection whose peer is silent is found by pings and its calls fail.
func TestPing(t *testing.T) {
	url := listenH2(t, nil, func(_ int, p *peer) { _, _ = io.Copy(io.Discard, p.nc) })
	testkit.InTime(t, 20*time.Millisecond, func(timeout time.Duration) error { // in which the call has to be sent
		c := newH2Client(t, url, func(cfg *Config) { cfg.PingInterval, cfg.PingTimeout = timeout, timeout })
		_, _, err := fetch(context.Background(), c, post("x"))
		if e := llm.AsError(err); e.Status != 502 || e.Code != "upstream_cut" || e.Unprocessed {
			return fmt.Errorf("%+v", e)
		}
		return nil
	})
}

func TestStreamsPerConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		ours    int
		theirs  uint32
		maximum int
	}{"ours": {3, 100, 3}, "the upstream's": {100, 3, 3}} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			most := map[string]int{}
			now := map[string]int{}
			release := make(chan struct{})
			srv, _ := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				mu.Lock()
				now[r.RemoteAddr]++
				most[r.RemoteAddr] = max(most[r.RemoteAddr], now[r.RemoteAddr])
				mu.Unlock()
				if r.URL.Path != "/first" {
					<-release
				}
				mu.Lock()
				now[r.RemoteAddr]--
				mu.Unlock()
			}), func(s *httptest.Server) {
				s.Config.Protocols = new(http.Protocols)
				s.Config.Protocols.SetUnencryptedHTTP2(true)
				s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: int(tc.theirs)}
			})
			c := newH2Client(t, srv.URL, func(cfg *Config) { cfg.MaxStreamsPerConnection = tc.ours })
			if _, _, err := fetch(context.Background(), c, &Call{Method: "GET", Target: "/first"}); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 9 {
				wg.Go(func() {
					if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
						t.Error(err)
					}
				})
			}
			testkit.Until(t, "all nine arrive", func() bool {
				mu.Lock()
				defer mu.Unlock()
				n := 0
				for _, v := range now {
					n += v
				}
				return n == 9
			})
			close(release)
			wg.Wait()
			for addr, n := range most {
				if n > tc.maximum {
					t.Errorf("%d streams on %s", n, addr)
				}
			}
			if n := c.stats.createdH2.Load(); n != 3 {
				t.Errorf("%d connections for 9 calls, 3 each", n)
			}
		})
	}
}

func TestH2Expiry(t *testing.T) {
	srv, open := serve(t, echo, withH2)
	c := newClient(t, srv.URL, func(cfg *Config, o *Options) {
		o.RootCAs = roots(srv)
		cfg.KeepaliveExpiry = 30 * time.Millisecond
	})
	if _, _, err := fetch(context.Background(), c, post("x")); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "swept", func() bool { return open.Load() == 0 && c.pool.snapshot().open == 0 })
}
