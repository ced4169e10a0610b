package otlp

import (
	"math"
	"strings"
	"testing"
	"time"

	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"sluice/internal/perf"
)

// source reports one figure of each kind.
type source struct {
	wait, duration, first, tokens perf.Histogram
	calls                         float64
}

func (s *source) Figures(r perf.Reporter) {
	r.Counter("calls_total", "Calls.", s.calls, "kind", "a")
	r.Counter("calls_total", "Calls.", 4, "kind", "b")
	r.Counter("freed_bytes_total", "Freed.", 5)
	r.Gauge("open", "Open.", 2)
	r.Gauge("open", "Again.", 3) // as a second upstream of the same name would
	r.Gauge("held_bytes", "Held.", 7)
	r.Ratio("hit_ratio", "Hits.", 1, 2)
	r.Histogram("wait_seconds", "Waiting.", &s.wait)
	r.Histogram("model_request_duration_seconds", "Duration.", &s.duration, "operation", "chat", "model", "m")
	r.Histogram("model_first_event_seconds", "First.", &s.first, "operation", "chat", "model", "m")
	r.Histogram("model_tokens", "Tokens.", &s.tokens, "operation", "chat", "model", "m", "type", "input")
}

func TestMetrics(t *testing.T) {
	for name, start := range collectors {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			t.Setenv("OTEL_TRACES_EXPORTER", "none")
			f, s := newFixture(t), &source{calls: 3}
			for i := range 1000 {
				s.wait.Observe(time.Duration(i*i) * time.Microsecond)
			}
			s.duration.ObserveTraced(2*time.Second, traced.ID, time.Now())
			s.tokens.ObserveCount(1024)
			f.registry.Register("a", s)
			f.run().stop()
			_, _, came := c.received()
			if len(came) != 1 || len(came[0].ScopeMetrics) != 1 {
				t.Fatalf("%d resources came", len(came))
			}
			if r := values(t, came[0].Resource.Attributes); r["service.name"] != "sluice" || r["service.version"] != "1.2.3" {
				t.Errorf("resource %v", r)
			}
			scope := came[0].ScopeMetrics[0]
			if scope.Scope.Name != "sluice" || scope.Scope.Version != "1.2.3" || scope.SchemaUrl != SchemaURL {
				t.Errorf("scope %v, schema %s", scope.Scope, scope.SchemaUrl)
			}
			checkMetrics(t, scope.Metrics)
			for _, m := range scope.Metrics {
				switch m.Name {
				case "sluice.wait_seconds":
					checkBuckets(t, m.GetExponentialHistogram().DataPoints[0], s.wait.Distribution())
				case "gen_ai.server.request.duration":
					e := m.GetExponentialHistogram().DataPoints[0].Exemplars
					if len(e) != 1 || perf.TraceID(e[0].TraceId) != traced.ID || e[0].GetAsDouble() != 2 || e[0].TimeUnixNano == 0 {
						t.Errorf("exemplars %v", e)
					}
				}
			}
		})
	}
}

// odd reports figures under a name that no exporter takes, as a client may choose it.
type odd string

func (o odd) Figures(r perf.Reporter) {
	r.Counter("calls_total", "Calls.", 1, "kind", string(o))
	r.Gauge("open", "Open.", 1, "kind", string(o))
	h := &perf.Histogram{}
	h.Observe(time.Second)
	r.Histogram("wait_seconds", "Waiting.", h, "kind", string(o))
}

// TestOddNames: a name that is no UTF-8, or longer than any label, keeps nothing from
// being exported.
func TestOddNames(t *testing.T) {
	for name, start := range collectors {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			t.Setenv("OTEL_TRACES_EXPORTER", "none")
			f := newFixture(t)
			f.registry.Register("a", odd("m\xff\n"+strings.Repeat("x", 10<<10)))
			f.run().stop()
			_, _, came := c.received()
			if len(came) != 1 {
				t.Fatalf("%d resources came", len(came))
			}
			want := "m\ufffd\ufffd" + strings.Repeat("x", 118) + "…"
			found := 0
			for _, m := range came[0].ScopeMetrics[0].Metrics {
				points := append(m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()...)
				for _, p := range points {
					if values(t, p.Attributes)["kind"] == want {
						found++
					}
				}
				for _, p := range m.GetExponentialHistogram().GetDataPoints() {
					if values(t, p.Attributes)["kind"] == want {
						found++
					}
				}
			}
			if found != 3 {
				t.Errorf("%d figures of 3 came under %q", found, want)
			}
		})
	}
}

func checkMetrics(t *testing.T, list []*metricpb.Metric) {
	t.Helper()
	got := make(map[string]bool)
	for _, m := range list {
		var points []string
		for _, p := range m.GetSum().GetDataPoints() {
			sound(t, m.Name, p.StartTimeUnixNano, p.TimeUnixNano)
			points = append(points, point(values(t, p.Attributes), p.GetAsDouble()))
		}
		for _, p := range m.GetGauge().GetDataPoints() {
			points = append(points, point(values(t, p.Attributes), p.GetAsDouble()))
		}
		for _, p := range m.GetExponentialHistogram().GetDataPoints() {
			sound(t, m.Name, p.StartTimeUnixNano, p.TimeUnixNano)
			points = append(points, point(values(t, p.Attributes), float64(p.Count)))
		}
		if s := m.GetSum(); s != nil && (!s.IsMonotonic || s.AggregationTemporality != metricpb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE) {
			t.Errorf("%s is not a cumulative counter", m.Name)
		}
		if h := m.GetExponentialHistogram(); h != nil && h.AggregationTemporality != metricpb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE {
			t.Errorf("%s is not cumulative", m.Name)
		}
		got[m.Name+"|"+m.Unit+"|"+m.Description+"|"+strings.Join(points, " ")] = true
	}
	for _, want := range []string{
		"sluice.calls||Calls.|3 a 4 b",
		"sluice.freed_bytes|By|Freed.|5",
		"sluice.open||Open.|2",
		"sluice.held_bytes|By|Held.|7",
		"sluice.wait_seconds|s|Waiting.|1000",
		"gen_ai.server.request.duration|s|Duration.|1 chat m",
		"gen_ai.server.time_to_first_token|s|First.|0 chat m",
		"gen_ai.client.token.usage|{token}|Tokens.|1 chat m input",
	} {
		if !got[want] {
			t.Errorf("no %s", want)
		}
		delete(got, want)
	}
	for extra := range got {
		t.Errorf("%s is there", extra)
	}
}

func point(attributes map[string]any, v float64) string {
	out := []string{formatted(v)}
	for _, name := range []string{"kind", "gen_ai.operation.name", "gen_ai.request.model", "gen_ai.token.type"} {
		if s, ok := attributes[name].(string); ok {
			out = append(out, s)
			delete(attributes, name)
		}
	}
	for name := range attributes {
		out = append(out, "unexpected "+name)
	}
	return strings.Join(out, " ")
}

// checkBuckets reads a point as any backend does, by the definition of its buckets.
func checkBuckets(t *testing.T, p *metricpb.ExponentialHistogramDataPoint, want perf.Distribution) {
	t.Helper()
	count, base := p.ZeroCount, math.Exp2(math.Exp2(-float64(p.Scale)))
	for _, n := range p.Positive.BucketCounts {
		count += n
	}
	if count != p.Count || p.Count != want.Count || p.GetSum() != want.Sum || p.ZeroThreshold != perf.ZeroThreshold || len(p.Negative.GetBucketCounts()) > 0 {
		t.Errorf("%d in buckets of %d, sum %v, want %d and %v", count, p.Count, p.GetSum(), want.Count, want.Sum)
	}
	for _, q := range []float64{0.1, 0.5, 0.9, 0.99, 1} {
		rank, below, value := uint64(math.Ceil(q*float64(count))), p.ZeroCount, 0.0
		for i, n := range p.Positive.BucketCounts {
			if below += n; below >= rank {
				value = math.Pow(base, float64(int(p.Positive.Offset)+i)+0.5) // the middle of (base^i, base^(i+1)]
				break
			}
		}
		if math.Abs(value/want.Quantile(q)-1) > 1e-9 {
			t.Errorf("quantile %v is %v, want %v", q, value, want.Quantile(q))
		}
	}
}

// starts collects and returns since when each series counts.
func starts(t *testing.T, s *series, at time.Time, registry *perf.Registry) map[string]time.Time {
	t.Helper()
	var scoped metricpb.ScopeMetrics
	if err := proto.Unmarshal(s.collect(at, registry), &scoped); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]time.Time)
	for _, m := range scoped.Metrics {
		for name, start := range startTimes(t, m) {
			out[m.Name+name] = start
		}
	}
	return out
}

func TestStartTimes(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	registry, src := perf.New(), &source{calls: 3}
	leave := registry.Register("a", src)
	s := newSeries(at(0))
	const calls, other, wait = "sluice.calls a", "sluice.calls b", "sluice.wait_seconds"
	check := func(second, wantCalls, wantOther, wantWait int) {
		t.Helper()
		got := starts(t, s, at(second), registry)
		if got[calls] != at(wantCalls) || got[other] != at(wantOther) || got[wait] != at(wantWait) {
			t.Errorf("at %d: %v", second, got)
		}
	}
	src.wait.Observe(time.Second)
	check(10, 0, 0, 0)
	src.calls = 5
	check(20, 0, 0, 0)
	src.calls = 1 // the counter began anew
	check(30, 20, 0, 0)
	check(40, 20, 0, 0)
	leave()
	if got := starts(t, s, at(50), registry); len(got) > 0 {
		t.Errorf("of no source there is %v", got)
	}
	registry.Register("a", &source{calls: 9}) // another takes its place, and counts from zero
	check(60, 50, 50, 50)
}
