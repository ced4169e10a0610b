package perf

import (
	"bytes"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
)

type one struct{ h *Histogram }

func (o one) Figures(r Reporter) {
	r.Histogram("wait_seconds", "Waiting.", o.h, "upstream", "a")
	r.Ratio("share_ratio", "Share.", 1, 2)
}

// Over the protobuf format Prometheus gets the native buckets, whose spans and
// differences add up to what was counted.
func TestNative(t *testing.T) {
	r := New()
	var h Histogram
	r.Register("a", one{&h})
	native := func() *dto.Histogram {
		t.Helper()
		in := bytes.NewReader(figures(t, r, `application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited`))
		for in.Len() > 0 {
			var f dto.MetricFamily
			if err := (protodelim.UnmarshalOptions{MaxSize: -1}).UnmarshalFrom(in, &f); err != nil {
				t.Fatal(err)
			}
			if f.GetName() == "sluice_wait_seconds" {
				return f.Metric[0].Histogram
			}
		}
		t.Fatal("no histogram")
		return nil
	}
	if got := native(); len(got.PositiveSpan) != 1 || got.GetSampleCount() != 0 {
		t.Errorf("an empty one is %v", got)
	}
	for _, d := range []time.Duration{0, 3 * time.Microsecond, 3 * time.Microsecond, time.Millisecond, 1010 * time.Microsecond, 2 * time.Second} {
		h.Observe(d)
	}
	got := native()
	if got.GetSchema() != Schema || got.GetSampleCount() != 6 || got.GetZeroCount() != 1 {
		t.Errorf("got %v", got)
	}
	index, n, total, at := int32(0), int64(0), int64(0), 0
	for _, s := range got.PositiveSpan {
		index += s.GetOffset()
		for range s.GetLength() {
			n += got.PositiveDelta[at]
			total += n
			low, high := upper(int(index-1)), upper(int(index))
			if n > 0 && !(low < 3e-6 && 3e-6 <= high || low < 1.01e-3 && 1e-3 <= high || low < 2 && 2 <= high) {
				t.Errorf("%d values in (%g, %g]", n, low, high)
			}
			index, at = index+1, at+1
		}
	}
	if total != 5 || at != len(got.PositiveDelta) {
		t.Errorf("%d values in %d buckets of %d", total, at, len(got.PositiveDelta))
	}
}

// OpenMetrics shows the trace of an example beside its bucket.
func TestExemplars(t *testing.T) {
	r := New()
	var h Histogram
	r.Register("a", one{&h})
	at := time.Now()
	h.ObserveTraced(3*time.Millisecond, TraceID{1}, at.Add(-renewed))
	h.ObserveTraced(3*time.Millisecond, TraceID{0xab}, at)
	h.ObserveTraced(3*time.Millisecond, TraceID{0xcd}, at.Add(renewed/2)) // the one before is still new
	h.ObserveTraced(time.Hour, TraceID{0xef}, at)
	got := string(figures(t, r, "application/openmetrics-text; version=1.0.0"))
	for _, part := range []string{
		`sluice_wait_seconds_bucket{upstream="a",le="0.005"} 3 # {trace_id="ab000000000000000000000000000000"} 0.003 `,
		`sluice_wait_seconds_bucket{upstream="a",le="+Inf"} 4`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	if strings.Contains(got, "share_ratio") {
		t.Error("a ratio is shown beside its counters")
	}
}
