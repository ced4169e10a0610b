package simulator

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
func (discard) Flush()                      {}
func run(s *Server, body string) {
	r, _ := http.NewRequest(http.MethodPost, "/v1/chat/completions", io.NopCloser(strings.NewReader(body)))
	r.Header.Set("Content-Type", "application/json")
	s.ServeHTTP(discard{http.Header{}}, r)
}

func BenchmarkUnary(b *testing.B) {
	s := New(Config{})
	b.ReportAllocs()
	for b.Loop() {
		run(s, hello+`}`)
	}
}

func BenchmarkStream(b *testing.B) {
	s := New(Config{})
	body := strings.Replace(streamed, "sim-chat", "sim-chat?tokens=51", 1)
	b.ReportAllocs()
	for b.Loop() {
		run(s, body)
	}
}

func TestStartIsCheap(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := New(Config{})
	runtime.ReadMemStats(&after)
	// 2 MiB is the ceiling for a server that does nothing; a tenth is plenty.
	if got := after.TotalAlloc - before.TotalAlloc; got > 200<<10 {
		t.Errorf("New allocates %d bytes", got)
	}
	runtime.KeepAlive(s)
}
