package front

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestUnreadBody: a request whose body never comes, and that nobody would read, is
// answered all the same, and its connection ends: net/http waits for what is left of
// it before it writes, or behind what it has written.
func TestUnreadBody(t *testing.T) {
	s, _, _ := everyKind(t, func(c *Config, _ *StreamConfig) { c.BodyTimeout, c.MaxBodyBytes = 20*time.Millisecond, 9 })
	for _, c := range []struct {
		head string
		want int
	}{
		{"POST /healthz", 405}, {"GET /healthz", 200}, {"GET /readyz", 200}, {"GET /dashboard", 200}, {"GET /metrics", 200}, {"OPTIONS /v1/files", 403},
		{"POST /nothing", 404}, {"GET /v1/models", 200}, {"GET /v1/models/m", 200}, {"POST /v1/own", 405}, {"GET /v1/own", 408},
		{"POST " + chatPath, 413}, {"GET " + chatPath, 200}, {"DELETE /v1/files/f", 200},
	} {
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(nc, c.head+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-a\r\nOrigin: http://a.example\r\nAccess-Control-Request-Method: GET\r\nContent-Length: 10\r\n\r\n")
		reply := bufio.NewReader(nc)
		resp, err := http.ReadResponse(reply, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, reply) // until the connection ends
		}
		if err != nil {
			t.Errorf("%s: %v", c.head, err)
		} else if resp.Body.Close(); resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.head, resp.StatusCode, c.want)
		}
		nc.Close()
	}
}

// TestRefusedBodyEndsNoOther: over HTTP/2 a body that is refused is its stream's
// affair, and others of its connection go on.
func TestRefusedBodyEndsNoOther(t *testing.T) {
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) { c.MaxBodyBytes = 10 })
	p := dialPeer(t, s, 1<<16)
	frame[*http2.HeadersFrame](p, p.ask("POST", chatPath, strings.Repeat("x", 100)))
	frame[*http2.HeadersFrame](p, p.ask("GET", "/v1/models", ""))
}
