package otlp

import (
	"bytes"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// traced is a trace that is recorded.
var traced = perf.Trace{ID: perf.TraceID{1}, Span: perf.SpanID{2}, Call: perf.SpanID{3}, Sampled: true}

// encoded are the spans of an exchange, decoded again.
func encoded(t *testing.T, x *perf.Exchange) []*tracepb.Span {
	t.Helper()
	raw := appendServer(nil, x)
	if asked(x) {
		raw = appendClient(raw, x)
	}
	scoped := &tracepb.ScopeSpans{}
	if err := proto.Unmarshal(raw, scoped); err != nil {
		t.Fatalf("no spans: %v", err)
	}
	noUnknown(t, scoped.ProtoReflect())
	return scoped.Spans
}

// What a message does not know it writes as it came: that is what spans rely on.
func TestEncodedSpansStayAsTheyAre(t *testing.T) {
	raw := appendClient(appendServer(nil, chat(traced)), chat(traced))
	scoped := &tracepb.ScopeSpans{SchemaUrl: SchemaURL}
	known, err := proto.Marshal(scoped)
	if err != nil {
		t.Fatal(err)
	}
	scoped.ProtoReflect().SetUnknown(raw)
	if got, err := proto.Marshal(scoped); err != nil || !bytes.Equal(got, append(known, raw...)) {
		t.Errorf("the message is % x, %v", got, err)
	}
}

func TestSpanOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*perf.Exchange)
		server string // the span's name, error.type and status
		client string // "" for no span
	}{
		"answered":       {func(x *perf.Exchange) {}, "POST /v1/chat/completions <nil> UNSET", "chat gpt-4o <nil> UNSET"},
		"from memory":    {func(x *perf.Exchange) { x.Upstream, x.Waiting = "", 0 }, "POST /v1/chat/completions <nil> UNSET", ""},
		"failed":         {func(x *perf.Exchange) { x.Status, x.Code = 502, "upstream_down" }, "POST /v1/chat/completions upstream_error ERROR", "chat gpt-4o upstream_error ERROR"},
		"without a code": {func(x *perf.Exchange) { x.Status = 503 }, "POST /v1/chat/completions upstream_error ERROR", "chat gpt-4o upstream_error ERROR"},
		"refused":        {func(x *perf.Exchange) { x.Status, x.Code = 400, "bad" }, "POST /v1/chat/completions <nil> UNSET", "chat gpt-4o invalid_request ERROR"},
		"cut":            {func(x *perf.Exchange) { x.Aborted = "upstream" }, "POST /v1/chat/completions cut ERROR", "chat gpt-4o cut ERROR"},
		"told":           {func(x *perf.Exchange) { x.Told = true }, "POST /v1/chat/completions stream_error ERROR", "chat gpt-4o stream_error ERROR"},
		"client slow":    {func(x *perf.Exchange) { x.Aborted = perf.AbortSlow }, "POST /v1/chat/completions client_slow UNSET", "chat gpt-4o client_slow UNSET"},
		"client left":    {func(x *perf.Exchange) { x.Status, x.First, x.Aborted = 0, 0, "client_left" }, "POST /v1/chat/completions client_left UNSET", "chat gpt-4o client_left UNSET"},
		"own":            {func(x *perf.Exchange) { x.Own, x.Upstream = true, "" }, "POST <nil> UNSET", ""},
		"no such method": {func(x *perf.Exchange) { x.Method, x.Op = "BREW", llm.Passthrough }, "HTTP <nil> UNSET", "HTTP <nil> UNSET"},
		"one model":      {func(x *perf.Exchange) { x.Method, x.Op, x.Model = "GET", llm.GetModel, "m" }, "GET /v1/models/{model} <nil> UNSET", "GET <nil> UNSET"},
		"no model":       {func(x *perf.Exchange) { x.Op, x.Model = llm.Response, "" }, "POST /v1/responses <nil> UNSET", "responses <nil> UNSET"},
	} {
		t.Run(name, func(t *testing.T) {
			x := chat(traced)
			c.change(x)
			spans := append(encoded(t, x), nil)
			if got := outcomeOf(t, spans[0]); got != c.server {
				t.Errorf("server span: %s, want %s", got, c.server)
			}
			if got := outcomeOf(t, spans[1]); got != c.client {
				t.Errorf("client span: %s, want %s", got, c.client)
			}
		})
	}
}

func outcomeOf(t *testing.T, s *tracepb.Span) string {
	if s == nil {
		return ""
	}
	kind, _ := values(t, s.Attributes)["error.type"].(string)
	if kind == "" {
		kind = "<nil>"
	}
	return s.Name + " " + kind + " " + strings.TrimPrefix(s.Status.GetCode().String(), "STATUS_CODE_")
}

// Whatever clients and upstreams say, a span is well-formed and short, and the call
// lies within the request.
func FuzzSpan(f *testing.F) {
	f.Add("POST", "/v1/models/x", "gpt", "1.2.3.4:5", "code", uint8(1), 200, int64(5), int64(3), int64(9), true)
	f.Add("\xff", strings.Repeat("é", 300), strings.Repeat("\xff", 300), "[::1]:1", "", uint8(6), -1, int64(0), int64(-3), int64(1), false)
	f.Add(strings.Repeat("M", 200), "", strings.Repeat("x", 120), ":", strings.Repeat("\u2028", 100), uint8(0), 599, int64(9), int64(5), int64(7), true)
	f.Fuzz(func(t *testing.T, method, path, model, client, code string, op uint8, status int, first, waiting, total int64, stream bool) {
		x := &perf.Exchange{
			ID: client, Tenant: code, Client: client, Method: method, Path: path, Op: llm.Operation(op), Stream: stream,
			Model: model, Trace: traced, Begun: time.Unix(1, 0), Status: status, Code: code, Aborted: path, Upstream: model,
			First: time.Duration(first), Waiting: max(time.Duration(waiting), 1), Total: max(time.Duration(total), 0),
			HasOverhead: true, BytesIn: first, BytesOut: -1, Attempts: -1,
			Usage: perf.Usage{Known: true, Input: first, Output: waiting, Cached: total},
		}
		if raw := appendServer(nil, x); len(raw) > maxSpan {
			t.Errorf("a span of %d bytes", len(raw))
		}
		for i, s := range encoded(t, x) {
			if s.EndTimeUnixNano < s.StartTimeUnixNano || s.StartTimeUnixNano < uint64(time.Second) || s.EndTimeUnixNano > uint64(x.Begun.Add(x.Total).UnixNano()) {
				t.Errorf("span %d is from %d to %d", i, s.StartTimeUnixNano, s.EndTimeUnixNano)
			}
			for k, v := range values(t, s.Attributes) {
				if v, ok := v.(string); ok && (len(v) > perf.MaxLabel || v == "") {
					t.Errorf("%s has %d bytes", k, len(v))
				}
			}
		}
	})
}
