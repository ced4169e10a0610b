package otlp

import (
	"net/http"
	"strings"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// chat is an exchange that an upstream has answered with a stream.
func chat(trace perf.Trace) *perf.Exchange {
	return &perf.Exchange{
		ID: "req-1", Tenant: "team", Client: "[::1]:4711", Method: "POST", Path: "/v1/chat/completions",
		Op: llm.Chat, Stream: true, Model: "gpt-4o", Trace: trace, Begun: time.Unix(1700000000, 5), Status: 200,
		Upstream: "openai", Attempts: 2, Cache: llm.CacheMiss,
		Receiving: time.Millisecond, Waiting: 300 * time.Millisecond, First: 302 * time.Millisecond, Total: time.Second,
		Overhead: time.Millisecond, HasOverhead: true, BytesIn: 120, BytesOut: 4000,
		Usage: perf.Usage{Known: true, Input: 11, Output: 22, Cached: 3},
		Body:  []byte(`{"messages":"SECRET"}`), Reply: []byte("SECRET"),
	}
}

// values are attributes by name.
func values(t *testing.T, list []*commonpb.KeyValue) map[string]any {
	t.Helper()
	m := make(map[string]any)
	for _, kv := range list {
		if _, twice := m[kv.Key]; twice {
			t.Errorf("attribute %s is there twice", kv.Key)
		}
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			m[kv.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			m[kv.Key] = v.IntValue
		case *commonpb.AnyValue_BoolValue:
			m[kv.Key] = v.BoolValue
		case *commonpb.AnyValue_DoubleValue:
			m[kv.Key] = v.DoubleValue
		default:
			t.Errorf("attribute %s is a %T", kv.Key, v)
		}
	}
	return m
}

func expect(t *testing.T, got, want map[string]any) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %#v, want %#v", k, got[k], v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s is there, with %#v", k, v)
		}
	}
}

var collectors = map[string]func(*testing.T) *collector{"http": overHTTP, "grpc": overGRPC}

func TestSpans(t *testing.T) {
	for name, start := range collectors {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			t.Setenv("OTEL_SERVICE_NAME", "edge")
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
			t.Setenv("OTEL_METRICS_EXPORTER", "none")
			f := newFixture(t).run()
			parent := perf.Trace{ID: perf.TraceID{1, 2, 3}, Parent: perf.SpanID{9}, Sampled: true}
			trace := f.Begin(parent)
			f.Observe(chat(trace))
			f.stop()

			spans, _, _ := c.received()
			if len(spans) != 1 || len(spans[0].ScopeSpans) != 1 {
				t.Fatalf("%d resources came", len(spans))
			}
			resource := values(t, spans[0].Resource.Attributes)
			if resource["service.name"] != "edge" || resource["service.version"] != "1.2.3" ||
				resource["deployment.environment.name"] != "test" || resource["service.instance.id"] == nil {
				t.Errorf("resource %v", resource)
			}
			scope := spans[0].ScopeSpans[0]
			if scope.Scope.Name != "sluice" || scope.Scope.Version != "1.2.3" || scope.SchemaUrl != SchemaURL {
				t.Errorf("scope %v, schema %s", scope.Scope, scope.SchemaUrl)
			}
			if len(scope.Spans) != 2 {
				t.Fatalf("%d spans came", len(scope.Spans))
			}
			checkServer(t, scope.Spans[0], trace)
			checkClient(t, scope.Spans[1], trace)
			if strings.Contains(scope.String(), "SECRET") {
				t.Error("a span says what was in a request")
			}
		})
	}
}

// What is recorded goes out after the set time, without anything that hurries it.
func TestRegularly(t *testing.T) {
	c := overHTTP(t)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "1")
	traces, metrics := make(chan struct{}, 1), make(chan struct{}, 1)
	c.traces, c.metrics = note(traces), note(metrics)
	f := newFixture(t).run()
	for range 2 {
		f.Observe(chat(traced))
		<-traces
		<-metrics
	}
	f.stop()
	if got := seen(f); got["otlp_spans_total exported"] != 4 || got["otlp_exports_total metrics ok"] < 2 {
		t.Errorf("figures %v", got)
	}
}

// note tells a channel of requests, unless one is in it already.
func note(came chan struct{}) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) {
		select {
		case came <- struct{}{}:
		default:
		}
	}
}

func checkServer(t *testing.T, s *tracepb.Span, trace perf.Trace) {
	t.Helper()
	if [16]byte(s.TraceId) != trace.ID || [8]byte(s.SpanId) != trace.Span || [8]byte(s.ParentSpanId) != trace.Parent {
		t.Errorf("server span's ids are %x %x %x", s.TraceId, s.SpanId, s.ParentSpanId)
	}
	if s.Name != "POST /v1/chat/completions" || s.Kind != tracepb.Span_SPAN_KIND_SERVER || s.Flags != 0x301 {
		t.Errorf("server span is %q, %v, flags %x", s.Name, s.Kind, s.Flags)
	}
	begun := uint64(time.Unix(1700000000, 5).UnixNano())
	if s.StartTimeUnixNano != begun || s.EndTimeUnixNano != begun+1e9 || s.Status != nil {
		t.Errorf("server span from %d to %d, status %v", s.StartTimeUnixNano, s.EndTimeUnixNano, s.Status)
	}
	expect(t, values(t, s.Attributes), map[string]any{
		"http.request.method": "POST", "http.route": "/v1/chat/completions", "url.path": "/v1/chat/completions",
		"client.address": "::1", "network.protocol.name": "http",
		"http.request.body.size": int64(120), "http.response.body.size": int64(4000), "http.response.status_code": int64(200),
		"sluice.operation": "chat", "sluice.model": "gpt-4o", "sluice.request_id": "req-1", "sluice.tenant": "team",
		"sluice.cache": "MISS", "sluice.upstream": "openai", "sluice.attempts": int64(2), "sluice.overhead": 0.001,
	})
}

func checkClient(t *testing.T, s *tracepb.Span, trace perf.Trace) {
	t.Helper()
	if [16]byte(s.TraceId) != trace.ID || [8]byte(s.SpanId) != trace.Call || [8]byte(s.ParentSpanId) != trace.Span {
		t.Errorf("client span's ids are %x %x %x", s.TraceId, s.SpanId, s.ParentSpanId)
	}
	if s.Name != "chat gpt-4o" || s.Kind != tracepb.Span_SPAN_KIND_CLIENT || s.Flags != 0x101 {
		t.Errorf("client span is %q, %v, flags %x", s.Name, s.Kind, s.Flags)
	}
	begun := uint64(time.Unix(1700000000, 5).UnixNano())
	if s.StartTimeUnixNano != begun+2e6 || s.EndTimeUnixNano != begun+1e9 {
		t.Errorf("client span from %d to %d", s.StartTimeUnixNano, s.EndTimeUnixNano)
	}
	expect(t, values(t, s.Attributes), map[string]any{
		"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai",
		"gen_ai.request.stream": true, "gen_ai.response.time_to_first_chunk": 0.3,
		"gen_ai.usage.input_tokens": int64(11), "gen_ai.usage.output_tokens": int64(22),
		"gen_ai.usage.cache_read.input_tokens": int64(3),
		"server.address":                       "openai", "http.response.status_code": int64(200),
	})
}
