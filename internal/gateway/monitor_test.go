package gateway

import (
	"io"
	"testing"
	"time"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// everything is a monitor with the access log, traces and metrics on, and nobody
// who takes what it exports.
func everything(t testing.TB) *monitor {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
	cfg := config.Default()
	g, err := New(&cfg, Options{AccessLog: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g.monitor
}

// watched is a request as observers see it.
func (m *monitor) watched() *perf.Exchange {
	return &perf.Exchange{
		ID: "req_341e3d48d27acf4e1304f06224e834b7", Tenant: "team-a", Client: "127.0.0.1:47830", Method: "POST", Path: "/v1/chat/completions",
		Op: llm.Chat, Model: "gpt-4o", Upstream: "openai", Attempts: 1, Cache: llm.CacheMiss, Status: 200, Begun: time.Now(),
		Receiving: 20 * time.Microsecond, Waiting: 800 * time.Millisecond, First: 801 * time.Millisecond, Total: 801 * time.Millisecond,
		Overhead: 60 * time.Microsecond, HasOverhead: true, BytesIn: 600, BytesOut: 1000, Usage: perf.Usage{Known: true, Input: 150, Output: 180},
	}
}

// Watching a request with all there is takes no memory.
func TestMonitorAllocs(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	m := everything(t)
	x := m.watched()
	watch := func() {
		x.Trace = m.tracer().Begin(perf.Trace{})
		for _, o := range m.observers() {
			o.Observe(x)
		}
	}
	for range 5000 { // until buffers have their size
		watch()
	}
	list, tracer := m.observers(), m.tracer()
	n := testing.AllocsPerRun(2000, func() {
		x.Trace = tracer.Begin(perf.Trace{})
		for _, o := range list {
			o.Observe(x)
		}
	})
	if n >= 1 {
		t.Errorf("watching a request allocates %v times", n)
	}
}

func BenchmarkMonitor(b *testing.B) {
	m := everything(b)
	x, list, tracer := m.watched(), m.observers(), m.tracer()
	b.ReportAllocs()
	for b.Loop() {
		x.Trace = tracer.Begin(perf.Trace{})
		for _, o := range list {
			o.Observe(x)
		}
	}
}
