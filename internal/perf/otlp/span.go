package otlp

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/internal/dialect/known"
	"sluice/internal/perf"
)

// Observe implements perf.Observer.
func (e *Exporter) Observe(x *perf.Exchange) {
	if e.spans == nil || !x.Trace.Sampled || x.Trace.Span == (perf.SpanID{}) {
		return
	}
	spans := 1
	if asked(x) {
		spans = 2
	}
	e.spans.add(spans, func(b []byte) []byte {
		b = appendServer(b, x)
		if asked(x) {
			b = appendClient(b, x)
		}
		return b
	})
}

// asked reports whether an upstream has been called for x.
func asked(x *perf.Exchange) bool { return x.Upstream != "" && x.Waiting > 0 }

// appendServer appends the span of the request: HTTP server, by the conventions
// for HTTP spans.
func appendServer(b []byte, x *perf.Exchange) []byte {
	b, start := beginSpan(b)
	parent, flags := x.Trace.Parent, uint32(flagSampled|flagKnowsRemote)
	if parent != (perf.SpanID{}) {
		flags |= flagRemote
	}
	b = appendIDs(b, x.Trace.ID, x.Trace.Span, parent, flags, kindServer)
	b = appendTime(b, spanStart, x.Begun)
	b = appendTime(b, spanEnd, x.Begun.Add(x.Total))
	method, known := method(x.Method)
	route := route(x)
	if !known {
		b = appendName(b, "HTTP", route)
		b = appendText(b, "http.request.method_original", x.Method)
	} else {
		b = appendName(b, method, route)
	}
	b = appendText(b, "http.request.method", method)
	b = appendText(b, "http.route", route)
	b = appendText(b, "url.path", x.Path)
	b = appendText(b, "client.address", host(x.Client))
	b = appendText(b, "network.protocol.name", "http")
	b = appendInt(b, "http.request.body.size", x.BytesIn)
	b = appendInt(b, "http.response.body.size", x.BytesOut)
	b = appendOutcome(b, x, true)
	b = appendText(b, "sluice.operation", x.Op.String())
	b = appendText(b, "sluice.model", x.Model)
	b = appendText(b, "sluice.request_id", x.ID)
	b = appendText(b, "sluice.tenant", x.Tenant)
	b = appendText(b, "sluice.cache", x.Cache.String())
	b = appendText(b, "sluice.upstream", x.Upstream)
	b = appendInt(b, "sluice.attempts", int64(x.Attempts))
	if x.HasOverhead {
		b = appendSeconds(b, "sluice.overhead", x.Overhead)
	}
	return endSpan(b, start)
}

// appendClient appends the span of the calls to upstreams: GenAI client, by the
// conventions for GenAI spans, which want one span for all tries; or HTTP client
// where the call is not one to a model.
func appendClient(b []byte, x *perf.Exchange) []byte {
	b, start := beginSpan(b)
	b = appendIDs(b, x.Trace.ID, x.Trace.Call, x.Trace.Span, flagSampled|flagKnowsRemote, kindClient)
	from, to := call(x)
	b = appendTime(b, spanStart, x.Begun.Add(from))
	b = appendTime(b, spanEnd, x.Begun.Add(to))
	if known.Answers(x.Op) {
		op := x.Op.String()
		b = appendName(b, op, x.Model)
		b = appendText(b, "gen_ai.operation.name", op)
		b = appendText(b, "gen_ai.request.model", x.Model)
		b = appendText(b, "gen_ai.provider.name", x.Upstream)
		b = appendUsage(b, x)
	} else {
		method, known := method(x.Method)
		b = appendText(b, "http.request.method", method)
		if !known {
			method = "HTTP"
		}
		b = appendName(b, method, "")
	}
	b = appendText(b, "server.address", x.Upstream)
	b = appendOutcome(b, x, false)
	return endSpan(b, start)
}

func appendUsage(b []byte, x *perf.Exchange) []byte {
	if x.Stream {
		b = appendTrue(b, "gen_ai.request.stream")
		b = appendSeconds(b, "gen_ai.response.time_to_first_chunk", x.Waiting)
	}
	if x.Usage.Known {
		b = appendInt(b, "gen_ai.usage.input_tokens", x.Usage.Input)
		b = appendInt(b, "gen_ai.usage.output_tokens", x.Usage.Output)
		if x.Usage.Cached > 0 {
			b = appendInt(b, "gen_ai.usage.cache_read.input_tokens", x.Usage.Cached)
		}
	}
	return b
}

// call is when the calls to upstreams began and ended, since the request began.
// How they lay in that time is not known to the nanosecond: what the gateway
// itself took is counted as before them.
func call(x *perf.Exchange) (from, to time.Duration) {
	first := x.First
	if first <= 0 || first > x.Total {
		first = x.Total
	}
	from = max(first-x.Waiting, 0)
	if x.Stream { // the upstream was asked until the last event
		return from, x.Total
	}
	return from, first
}

// appendOutcome appends how a request ended. The server's span is an error where
// the request failed, the caller's also where that was the client's own fault, but
// not where the client left or was too slow.
func appendOutcome(b []byte, x *perf.Exchange, server bool) []byte {
	if x.Status > 0 {
		b = appendInt(b, "http.response.status_code", int64(x.Status))
	}
	c := x.Class()
	if c == perf.Sound {
		return b
	}
	gone := c == perf.ClientLeft || c == perf.ClientSlow
	if server && !c.Failed() && !gone { // an error of the client's is none of the server's
		return b
	}
	b = appendText(b, "error.type", c.String())
	b = appendText(b, "sluice.error_code", x.Code)
	if !gone {
		b = protowire.AppendTag(b, spanStatus, protowire.BytesType)
		b = append(b, 2)
		b = appendVarint(b, statusCode, codeError)
	}
	return b
}

func appendIDs(b []byte, trace perf.TraceID, span, parent perf.SpanID, flags uint32, kind uint64) []byte {
	b = appendBytes(b, spanTraceID, trace[:])
	b = appendBytes(b, spanSpanID, span[:])
	if parent != (perf.SpanID{}) {
		b = appendBytes(b, spanParent, parent[:])
	}
	b = protowire.AppendFixed32(protowire.AppendTag(b, spanFlags, protowire.Fixed32Type), flags)
	return appendVarint(b, spanKind, kind)
}

// appendName appends a span's name of one or two words.
func appendName(b []byte, first, second string) []byte {
	b = protowire.AppendTag(b, spanName, protowire.BytesType)
	if second == "" {
		return protowire.AppendString(b, first)
	}
	second = perf.Label(second)
	b = protowire.AppendVarint(b, uint64(len(first)+1+len(second)))
	b = append(append(b, first...), ' ')
	return append(b, second...)
}

// method is a method as it stands in spans, where only known ones do, so that
// clients cannot make up any number of them.
func method(m string) (name string, known bool) {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return m, true
	default:
		return "_OTHER", false
	}
}

// route is the template that a request's path follows, "" where that is not
// known: a span's name has to be one of few.
func route(x *perf.Exchange) string {
	if x.Own {
		return ""
	}
	return x.Op.Route()
}

// host is an address without its port.
func host(client string) string {
	i := strings.LastIndexByte(client, ':')
	if i < 0 {
		return client
	}
	return strings.TrimSuffix(strings.TrimPrefix(client[:i], "["), "]")
}
