package soak

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is judged is looked at: a judge that cannot find fault is none.

// metrics is a Sluice that tells of so much.
func metrics(t *testing.T, lines ...string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Join(lines, "\n")+"\n")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestLook(t *testing.T) {
	all := []string{"sluice_go_heap_live_bytes 1048576", "sluice_go_goroutines 7", "sluice_process_open_fds 9", `sluice_leak_verdict{quantity="files"} 0`, `sluice_leak_verdict{quantity="goroutines"} 2`}
	s := &watch{base: metrics(t, all...), pid: os.Getpid()}
	if f, err := s.look(t.Context(), time.Second); err != nil || f.heap != 1 || f.goroutines != 7 || f.files != 9 || f.verdict != 2 || f.resident <= 0 {
		t.Errorf("%+v, %v", f, err)
	}
	s.base = metrics(t, all[:3]...)
	if _, err := s.look(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "lacks sluice_leak_verdict") {
		t.Errorf("no verdict: %v", err)
	}
}

func TestComplete(t *testing.T) {
	f := figures{"requests_in_flight": 0, "go_goroutines": 1, "process_open_fds": 2}
	for _, part := range held {
		f[`memory_reserved_bytes{part="`+part+`"}`] = 0
	}
	if err := f.complete(); err != nil {
		t.Error(err)
	}
	for name := range f {
		v := f[name]
		delete(f, name)
		if err := f.complete(); err == nil {
			t.Errorf("without %s nothing is missing", name)
		}
		f[name] = v
	}
}

// Sound requests that are refused leak nothing, and are no soak.
func TestAnswered(t *testing.T) {
	s := &soak{status: map[string]int{}}
	for _, k := range kindsOfTraffic() {
		s.status[k.name+": 200"], s.status[k.name+": 503"] = 98, 2
		s.status[k.name+": left"], s.status[k.name+": 200, left"] = 5, 5
	}
	if err := s.answered(); err != nil {
		t.Error(err)
	}
	s.status["stream: cut"] = 10
	if err := s.answered(); err == nil || !strings.Contains(err.Error(), "98 of 110 requests were answered of the kind stream") {
		t.Errorf("%v", err)
	}
	if err := (&soak{}).answered(); err == nil {
		t.Error("nothing was asked")
	}
}

// The log has to have as many configurations taken, and refused, as there were.
func TestSpoken(t *testing.T) {
	const taken, not = `level=INFO msg="configuration reloaded" upstreams=9`, `level=ERROR msg="configuration not reloaded, the one before stays in use" fault=x`
	for _, c := range []struct {
		log                    []string
		written, signals, none int64
		want                   string
	}{
		{[]string{taken, "a", taken, not, not, "b", not}, 1, 1, 2, ""},
		{[]string{taken, not, not, "b", not}, 2, 1, 2, "taken 1 times, of 3, and 2 were refused, of 2"},
		{[]string{taken, taken, not, not, "b"}, 2, 0, 2, "taken 2 times, of 2, and 1 were refused, of 2"},
		{nil, 0, 0, 0, ""},
		{[]string{taken, "level=ERROR msg=x"}, 1, 0, 0, "the log has: level=ERROR"},
	} {
		h := &hardening{dir: t.TempDir()}
		h.reloads.Store(c.written)
		h.signals.Store(c.signals)
		h.refused.Store(c.none)
		if err := os.WriteFile(h.log(), []byte(strings.Join(c.log, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var said string
		h.spoken(func(format string, args ...any) { said += fmt.Sprintf(format, args...) })
		if said != c.want && (c.want == "" || !strings.Contains(said, c.want)) {
			t.Errorf("%q: %q, want %q", c.log, said, c.want)
		}
	}
}

// Answers that nobody worked on come from nowhere: then what was done twice is not seen.
func TestToldOf(t *testing.T) {
	h := &hardening{}
	h.ended("whole", "answered")
	h.ended("stream", "answered")
	h.acts.add("u1")
	faults := 0
	h.twice(func(string, ...any) { faults++ })
	if faults != 1 {
		t.Errorf("%d faults where one of two questions was not told of", faults)
	}
	h.acts.add("s2")
	if h.twice(func(string, ...any) { faults++ }); faults != 1 {
		t.Error("all was told of")
	}
}

// A reply of which no more comes within a client's patience is lost, and not cut.
func TestLost(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "1")
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	h := &hardening{plain: overHTTP(1), multi: overHTTP(1)}
	h.base = s.URL
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, ok := h.plainly(ctx, "embeddings", "embeddings", "/", "application/json", nil, say{}); ok || h.outcomes["embeddings"]["WRONG"] != 1 || h.outcomes["embeddings"]["cut"] != 0 {
		t.Errorf("%v, %v", ok, h.outcomes)
	}
	h.plain.CloseIdleConnections()
}

// Without Redis nothing is started that would remain.
func TestServicesNeedRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	h := &hardening{dir: t.TempDir()}
	defer h.stop()
	if err := h.services(t.Context()); err == nil || !strings.Contains(err.Error(), "redis-server is missing") {
		t.Errorf("%v", err)
	}
	if left, err := filepath.Glob(filepath.Join(h.dir, "*")); err != nil || len(left) > 0 || h.origins[0] != nil {
		t.Errorf("%q, %v", left, err)
	}
}
