package otlp

import (
	"os"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"sluice/internal/perf"
)

func TestBegin(t *testing.T) {
	sampled := perf.Trace{ID: perf.TraceID{15: 1}, Parent: perf.SpanID{2}, Sampled: true}
	dropped := perf.Trace{ID: perf.TraceID{15: 1}, Parent: perf.SpanID{2}}
	for sampler, records := range map[string][3]bool{ // nothing sent, sent sampled, sent not sampled
		"":                         {true, true, false},
		"no such sampler":          {true, true, false},
		"parentbased_always_on":    {true, true, false},
		"parentbased_always_off":   {false, true, false},
		"parentbased_traceidratio": {false, true, false},
		"always_on":                {true, true, true},
		"always_off":               {false, false, false},
		"traceidratio":             {false, false, false},
	} {
		t.Run(sampler, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", sampler)
			t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0")
			f := recording(t)
			for i, parent := range []perf.Trace{{}, sampled, dropped} {
				got := f.Begin(parent)
				if !records[i] {
					if got != parent {
						t.Errorf("%+v became %+v", parent, got)
					}
					continue
				}
				none := perf.SpanID{}
				if !got.Sampled || got.Span == none || got.Call == none || got.Span == got.Call || got.Parent != parent.Parent {
					t.Errorf("%+v became %+v", parent, got)
				}
				if got.ID == (perf.TraceID{}) || parent.ID != (perf.TraceID{}) && got.ID != parent.ID {
					t.Errorf("%+v got the id %v", parent, got.ID)
				}
			}
		})
	}
}

// A ratio picks the same traces as the official SDK's.
func TestRatio(t *testing.T) {
	for _, arg := range []string{"", "0", "0.001", "0.25", "0.5", "1"} {
		t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
		t.Setenv("OTEL_TRACES_SAMPLER_ARG", arg)
		f, ratio := recording(t), map[string]float64{"": 1, "0": 0, "0.001": 0.001, "0.25": 0.25, "0.5": 0.5, "1": 1}[arg]
		official := sdk.TraceIDRatioBased(ratio)
		for range 2000 {
			a, b := spanID(), spanID()
			id := perf.TraceID(append(a[:], b[:]...))
			want := official.ShouldSample(sdk.SamplingParameters{TraceID: trace.TraceID(id)}).Decision == sdk.RecordAndSample
			if got := f.Begin(perf.Trace{ID: id}).Sampled; got != want {
				t.Errorf("ratio %s, %s: %v, want %v", arg, id, got, want)
			}
		}
	}
}

func TestWithoutTraces(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", os.Getenv("UNSET"))
	f := newFixture(t)
	if got := f.Begin(perf.Trace{}); got != (perf.Trace{}) {
		t.Errorf("a trace was begun: %+v", got)
	}
	f.Observe(chat(traced)) // takes note of nothing
	for name := range seen(f) {
		if name == "otlp_spans_total exported" {
			t.Error("spans are reported where there are none")
		}
	}
}
