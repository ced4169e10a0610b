package upstream

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// canned is a server that costs next to nothing: it answers each read with the
// same reply of 1 kB, so that the figures are the client's.
func canned(t testing.TB) string {
	reply := []byte("HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 11:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n" +
		"Server: test\r\nX-Request-Id: req_0123456789\r\nOpenai-Processing-Ms: 12\r\nX-Ratelimit-Remaining-Requests: 99\r\nVary: Origin\r\n\r\n" +
		strings.Repeat("x", 1000))
	return listen(t, func(_ int, nc net.Conn) {
		b := make([]byte, 64<<10)
		for {
			if _, err := nc.Read(b); err != nil {
				return
			}
			if _, err := nc.Write(reply); err != nil {
				return
			}
		}
	})
}

func benchCall() *Call {
	call := post(strings.Repeat("x", 600))
	call.Header = append(call.Header, field("Authorization", "Bearer sk-test"), field("Accept", "application/json"), field("User-Agent", "test"))
	return call
}

func exchangeOnce(t testing.TB, ctx context.Context, c *Client, call *Call) { //nolint:revive // t first, as helpers have it
	r, err := c.Do(ctx, call)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = r.Next()
	}
	r.Close()
	if err != io.EOF { // as promised
		t.Fatal(err)
	}
}

// ceiling is the most that one call may allocate on a warm HTTP/1.1 connection.
const ceiling = 10

func TestAllocations(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	c := newClient(t, canned(t), nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	call := benchCall()
	n := testing.AllocsPerRun(1000, func() { exchangeOnce(t, ctx, c, call) })
	t.Logf("%v allocations", n)
	if n > ceiling {
		t.Errorf("%v allocations, want at most %d", n, ceiling)
	}
}

func BenchmarkDo(b *testing.B) {
	b.ReportAllocs()
	c := newClient(b, canned(b), nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	call := benchCall()
	for b.Loop() {
		exchangeOnce(b, ctx, c, call)
	}
}

func BenchmarkDoParallel(b *testing.B) {
	b.ReportAllocs()
	c := newClient(b, canned(b), nil)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		call := benchCall()
		for pb.Next() {
			exchangeOnce(b, ctx, c, call)
		}
	})
}

// BenchmarkNetHTTP is the same over net/http's Transport, to compare with.
func BenchmarkNetHTTP(b *testing.B) {
	b.ReportAllocs()
	url := canned(b)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	body := strings.Repeat("x", 600)
	for b.Loop() {
		req, _ := http.NewRequest("POST", url+"/v1/chat/completions", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer sk-test")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

func benchServer(b *testing.B, h http.Handler, h2 bool) *Client {
	srv, _ := serve(b, h, func(s *httptest.Server) {
		s.EnableHTTP2 = h2
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	})
	return newClient(b, srv.URL, func(_ *Config, o *Options) { o.RootCAs = roots(srv) })
}

func BenchmarkDoH2(b *testing.B) {
	b.ReportAllocs()
	reply := []byte(strings.Repeat("x", 1000))
	c := benchServer(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(reply) }), true)
	call := benchCall()
	for b.Loop() {
		exchangeOnce(b, context.Background(), c, call)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, coding := range codings {
		b.Run(coding, func(b *testing.B) {
			b.ReportAllocs()
			text := []byte(strings.Repeat(`{"object":"chat.completion","n":[1,2,3]}`, 250))
			coded := encode(b, coding, text)
			c := newClient(b, "http://127.0.0.1:1", nil)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				r := &Reply{client: c, Length: -1, body: &given{rest: coded, piece: 4 << 10}}
				if err := r.decode(strings.TrimPrefix(coding, "raw ")); err != nil {
					b.Fatal(err)
				}
				var err error
				for err == nil {
					_, err = r.Next()
				}
				if err != io.EOF { // as promised
					b.Fatal(err)
				}
			}
		})
	}
}
