package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// needsOlder is an upstream that speaks HTTP/2 and refuses requests over it
// after good ones on the first connection. A connection that is refused
// is closed.
func needsOlder(t *testing.T, cert *tls.Certificate, good int, refuse func(p *peer, stream uint32)) string {
	return listen(t, func(n int, nc net.Conn) {
		if cert != nil {
			tc := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"h2", "http/1.1"}})
			if tc.Handshake() != nil {
				return
			}
			nc = tc
		}
		r := bufio.NewReader(nc)
		if start, _ := r.Peek(3); string(start) != "PRI" {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				body, _ := io.ReadAll(req.Body)
				_, _ = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nh1 %s", len(body)+3, body)
			}
		}
		_, _ = r.Discard(len(http2.ClientPreface))
		p := &peer{Framer: http2.NewFramer(nc, r), nc: nc}
		_ = p.WriteSettings()
		for i := 0; n == 0 && i < good; i++ {
			s, err := p.request()
			if err != nil {
				return
			}
			p.reply(s, "200", "h2", true)
		}
		if s, err := p.request(); err == nil {
			refuse(p, s)
		}
	})
}

// TestNeedsHTTP1: an upstream that refuses a request with HTTP_1_1_REQUIRED (RFC
// 9113 section 7) gets it, and those after it, over HTTP/1.1.
func TestNeedsHTTP1(t *testing.T) {
	srv, _ := serve(t, echo, withTLS)
	const code = http2.ErrCodeHTTP11Required
	for name, refuse := range map[string]func(p *peer, stream uint32){
		"reset":                 func(p *peer, s uint32) { _ = p.WriteRSTStream(s, code); _, _ = p.request() },
		"goaway, excluded":      func(p *peer, s uint32) { _ = p.WriteGoAway(s-2+s%2, code, nil); _, _ = p.request() },
		"goaway, nothing taken": func(p *peer, _ uint32) { _ = p.WriteGoAway(0, code, nil); _, _ = p.request() },
		"goaway, then closed":   func(p *peer, s uint32) { _ = p.WriteGoAway(s, code, nil) },
	} {
		for _, secure := range []bool{true, false} {
			for good := range 2 {
				if name == "goaway, excluded" && good == 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s, tls %v, after %d", name, secure, good), func(t *testing.T) {
					cert := &srv.TLS.Certificates[0]
					if !secure {
						cert = nil
					}
					url := needsOlder(t, cert, good, refuse)
					if secure {
						url = strings.Replace(url, "http:", "https:", 1)
					}
					c := newClient(t, url, func(cfg *Config, o *Options) { cfg.H2C, o.RootCAs = !secure, roots(srv) })
					for range good {
						if _, body, err := fetch(context.Background(), c, post("a")); err != nil || body != "h2" {
							t.Fatalf("%q %v", body, err)
						}
					}
					made := c.stats.createdH2.Load()
					for i := range 3 {
						if _, body, err := fetch(context.Background(), c, post("b")); err != nil || body != "h1 b" {
							t.Fatalf("call %d: %q %v", i, body, err)
						}
					}
					if h1, h2 := c.stats.createdH1.Load(), c.stats.createdH2.Load(); h1 != 1 || h2 > made+1 {
						t.Errorf("%d connections for HTTP/1.1, %d more for HTTP/2", h1, h2-made)
					}
					if n := c.stats.staleRetries.Load(); n > 0 && name == "reset" {
						t.Errorf("%d calls are said to have found their connection closed", n)
					}
					// Later HTTP/2 is tried again.
					c.olderUntil.Store(time.Now().UnixNano())
					cn, err := c.pool.fresh(context.Background(), post("x"))
					if err != nil {
						t.Fatal(err)
					}
					if cn.h2 == nil {
						t.Error("HTTP/2 was not tried again")
					}
					c.pool.release(cn, false)
				})
			}
		}
	}
}

// What cannot be sent twice is refused as unread, and the next call goes over
// HTTP/1.1.
func TestNeedsHTTP1Once(t *testing.T) {
	url := needsOlder(t, nil, 0, func(p *peer, s uint32) { _ = p.WriteRSTStream(s, http2.ErrCodeHTTP11Required); _, _ = p.request() })
	c := newH2Client(t, url, nil)
	_, _, err := fetch(context.Background(), c, &Call{Method: "POST", Target: "/", BodyReader: strings.NewReader("once"), BodyLen: 4})
	wantError(t, err, 502, "upstream_refused", true)
	if _, body, err := fetch(context.Background(), c, post("b")); err != nil || body != "h1 b" {
		t.Errorf("%q %v", body, err)
	}
}

// Calls at once share the refused connection; each gets its answer.
func TestManyNeedHTTP1(t *testing.T) {
	url := needsOlder(t, nil, 0, func(p *peer, s uint32) {
		for err := error(nil); err == nil; s, err = p.request() {
			_ = p.WriteRSTStream(s, http2.ErrCodeHTTP11Required)
		}
	})
	c := newH2Client(t, url, nil)
	errs := make(chan error, 20)
	for range cap(errs) {
		go func() {
			_, body, err := fetch(context.Background(), c, post("b"))
			if err == nil && body != "h1 b" {
				err = fmt.Errorf("body %q", body)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
