package otlp

import (
	"testing"

	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// recording is an Exporter that records and does not send.
func recording(t testing.TB) *fixture {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	return newFixture(t)
}

func TestAllocBeginAndObserve(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	f := recording(t)
	x := chat(perf.Trace{})
	record := func() {
		x.Trace = f.Begin(perf.Trace{})
		f.Observe(x)
	}
	for range 2 { // until both halves of the buffer have grown
		for range 100 {
			record()
		}
		f.spans.drain()
	}
	if n := testing.AllocsPerRun(99, record); n > 0 {
		t.Errorf("%v allocations for the spans of a request", n)
	}
	if _, spans := f.spans.drain(); spans != 200 {
		t.Errorf("%d spans were recorded", spans)
	}
}

func BenchmarkObserve(b *testing.B) {
	f := recording(b)
	x := chat(f.Begin(perf.Trace{}))
	f.Observe(x)
	raw, _ := f.spans.drain()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 {
			f.spans.drain()
		}
		f.Observe(x)
	}
}

func BenchmarkBegin(b *testing.B) {
	f := recording(b)
	b.ReportAllocs()
	for b.Loop() {
		f.Begin(perf.Trace{})
	}
}
