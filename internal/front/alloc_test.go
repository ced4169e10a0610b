package front

import (
	"bufio"
	"context"
	"fmt"
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

// The request and the reply of the speed targets: 600 B and 1 kB.
var (
	benchBody  = `{"model":"gpt-4o-mini","messages":[{"role":"system","content":"` + strings.Repeat("be brief ", 20) + `"},{"role":"user","content":"` + strings.Repeat("tell me ", 36) + `"}],"temperature":0.7}`
	benchReply = []byte(`{"id":"chatcmpl-1","choices":[{"message":{"role":"assistant","content":"` + strings.Repeat("x", 840) + `"}}],"usage":{"prompt_tokens":140,"completion_tokens":210,"total_tokens":350}}`)
	benchHead  = llm.Head{Status: 200, Kind: llm.Unary, Length: int64(len(benchReply)), Upstream: "up", Attempts: 1, Waited: time.Microsecond, Header: []llm.Field{
		{Name: "Content-Type", Value: "application/json"}, {Name: "Openai-Processing-Ms", Value: "12"}, {Name: "X-Ratelimit-Remaining-Requests", Value: "99"}}}
)

func benchHandler(head *llm.Head) llm.HandlerFunc {
	reply := []llm.Event{{Raw: benchReply}}
	return func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		if err := out.Start(head); err != nil {
			return err
		}
		return out.Send(reply)
	}
}

// discard is a ResponseWriter without a connection.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

type rewind struct{ strings.Reader }

func (*rewind) Close() error { return nil }

// TestAllocations asserts what a whole reply costs beyond net/http: the id, the
// model's name, and no more. What a cache says of the reply may cost one more,
// the text of its key and age: net/http reads the fields after the exchange has
// gone back to its pool, so they cannot stand in memory that is used again. What is
// left of a limit costs one for the same reason.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	cached := benchHead
	cached.Cache, cached.Age, cached.CacheKey = llm.CacheHit, time.Hour, [32]byte{1}
	limited := meter{llm.Allowance{Limit: 600, Left: 599, Reset: 100 * time.Millisecond}, llm.Allowance{Limit: 100_000, Left: 99_999, Reset: time.Minute}}
	for _, c := range []struct {
		name string
		head *llm.Head
		of   llm.Meter
		most float64
	}{{"not cached", &benchHead, nil, 2}, {"cached", &cached, nil, 3}, {"limited", &benchHead, &limited, 3}} {
		serve := directly(t, c.head, c.of)
		if n := testing.AllocsPerRun(1000, serve); n > c.most {
			t.Errorf("%s: %v allocations per request", c.name, n)
		} else {
			t.Logf("%s: %v allocations per request", c.name, n)
		}
	}
}

// ignoring is an observer.
type ignoring struct{}

func (ignoring) Observe(*perf.Exchange) {}

// directly returns a function that has one request served without a socket.
func directly(t testing.TB, head *llm.Head, of llm.Meter) func() {
	cfg, sc := testConfig(func(c *Config, _ *StreamConfig) {
		c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("sk-benchmark"), Meter: of}}
	})
	s, err := New(cfg, sc, benchHandler(head), Options{Observers: []perf.Observer{ignoring{}}, KeepReplies: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	body := &rewind{}
	r := newRequest(t, context.Background(), "POST", "http://x"+chatPath, "x")
	r.Header = http.Header{"Authorization": {"Bearer sk-benchmark"}, "Content-Type": {"application/json"}, "User-Agent": {"bench"}, "Accept": {"*/*"},
		"Cache-Control": {"max-age=60"}}
	r.Body, r.ContentLength = body, int64(len(benchBody))
	w := &discard{make(http.Header)}
	return func() {
		body.Reset(benchBody)
		clear(w.h)
		serve(s, w, r)
	}
}

func BenchmarkFrontAlone(b *testing.B) {
	serve := directly(b, &benchHead, nil)
	b.ReportAllocs()
	for b.Loop() {
		serve()
	}
}

// BenchmarkUnary is a request over a socket, the client a plain one that
// allocates nothing. NetHTTP is the same without Sluice.
func BenchmarkUnary(b *testing.B) {
	s := start(b, benchHandler(&benchHead), func(c *Config, _ *StreamConfig) { c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("sk-benchmark")}} })
	roundTrips(b, s.addr, benchBody)
}

func BenchmarkNetHTTP(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = w.Write(benchReply)
	})}
	done := make(chan struct{})
	go func() { _ = srv.Serve(l); close(done) }()
	b.Cleanup(func() { _ = srv.Close(); <-done })
	roundTrips(b, l.Addr().String(), benchBody)
}

// BenchmarkStream is a stream of 54 events that come in pairs.
func BenchmarkStream(b *testing.B) {
	pair := events(chunk("hello"), chunk(" world"))
	s := start(b, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		if err := startStream(out); err != nil {
			return err
		}
		for range 27 {
			if err := out.Send(pair); err != nil {
				return err
			}
		}
		return nil
	})
	roundTrips(b, s.addr, streamBody)
}

func roundTrips(b *testing.B, addr, body string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	req := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-benchmark\r\nContent-Type: application/json\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(body), body)
	r := bufio.NewReaderSize(c, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(req); err != nil {
			b.Fatal(err)
		}
		if err := skipReply(r); err != nil {
			b.Fatal(err)
		}
	}
}

// skipReply reads one reply with a length or in chunks.
func skipReply(r *bufio.Reader) error {
	length, chunked := 0, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		const name = "Content-Length: "
		switch {
		case len(line) > len(name) && string(line[:len(name)]) == name:
			for _, d := range line[len(name) : len(line)-2] {
				length = 10*length + int(d-'0')
			}
		case string(line) == "Transfer-Encoding: chunked\r\n":
			chunked = true
		case len(line) == 2 && !chunked:
			_, err = r.Discard(length)
			return err
		case len(line) == 2:
			return skipChunks(r)
		}
	}
}

func skipChunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n := 0
		for _, d := range line[:len(line)-2] {
			n = 16*n + strings.IndexByte("0123456789abcdef", d)
		}
		if _, err = r.Discard(n + 2); n == 0 || err != nil {
			return err
		}
	}
}
