package perf

import (
	"bytes"
	"compress/gzip"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

type fixed struct{ h Histogram }

func (f *fixed) Figures(r Reporter) {
	r.Counter("calls_total", "Calls.", 3, "kind", "a")
	r.Counter("calls_total", "Calls.", 4, "kind", "b")
	r.Gauge("open", "Open.", 2)
	r.Histogram("wait_seconds", "Waiting.", &f.h)
}

type broken struct{}

func (broken) Figures(r Reporter) { r.Gauge("bad", "Bad.", 1, "label", "\xff") }

// figures scrapes in a format, "" for the usual one.
func figures(t *testing.T, r *Registry, accept string) []byte {
	t.Helper()
	req := llm.Request{Method: "GET", Path: "/metrics"}
	if accept != "" {
		req.Header = []llm.Field{{Name: "Accept", Value: accept}}
	}
	reply := testkit.Ask(t, r, &req)
	if reply.Head.Status != 200 {
		t.Fatalf("scrape: status %d\n%s", reply.Head.Status, reply.Body)
	}
	return reply.Body
}

func TestScrape(t *testing.T) {
	r, f := New(), &fixed{}
	f.h.Observe(3 * time.Millisecond)
	f.h.Observe(-time.Second)
	f.h.Observe(time.Hour)
	leave := r.Register("a", f)
	r.Register("b", broken{})
	got := string(figures(t, r, ""))
	for _, line := range []string{
		`sluice_calls_total{kind="a"} 3`,
		`sluice_calls_total{kind="b"} 4`,
		`sluice_open 2`,
		`sluice_wait_seconds_bucket{le="0.0025"} 1`,
		`sluice_wait_seconds_bucket{le="0.005"} 2`,
		`sluice_wait_seconds_bucket{le="+Inf"} 3`,
		`sluice_wait_seconds_count 3`,
		`sluice_wait_seconds_sum 3600.003`,
		`process_open_fds`,
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	some := testkit.Ask(t, r, &llm.Request{Method: "GET", Path: "/metrics", RawQuery: "name[]=sluice_open&name[]=process_open_fds"})
	if got := string(some.Body); strings.Count(got, "# TYPE") != 2 || !strings.Contains(got, "sluice_open 2") {
		t.Errorf("two were asked for:\n%s", got)
	}
	leave()
	if got := string(figures(t, r, "")); strings.Contains(got, "sluice_calls_total") {
		t.Error("a source that left still reports")
	}
}

func TestScrapeIsPacked(t *testing.T) {
	r := New()
	r.Register("a", &fixed{})
	reply := testkit.Ask(t, r, &llm.Request{Method: "GET", Path: "/metrics", Header: []llm.Field{{Name: "Accept", Value: "application/openmetrics-text; version=1.0.0"}, {Name: "Accept-Encoding", Value: "deflate, gzip"}}})
	if !slices.Contains(reply.Head.Header, llm.Field{Name: "Content-Encoding", Value: "gzip"}) {
		t.Errorf("head %v", reply.Head.Header)
	}
	z, err := gzip.NewReader(bytes.NewReader(reply.Body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || !strings.HasSuffix(string(text), "# EOF\n") || !strings.Contains(string(text), `sluice_calls_total{kind="a"} 3`) {
		t.Errorf("%v\n%s", err, text)
	}
}
