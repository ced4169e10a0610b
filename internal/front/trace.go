package front

import (
	"encoding/hex"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// parentLength is that of a traceparent of version 00, in bytes: a version, a
// trace's id, a span's and flags, in hexadecimal digits with dashes between.
const parentLength = 2 + 1 + 32 + 1 + 16 + 1 + 2

// sampled is the one flag that there is (W3C Trace Context, section 3.2.2.5.1).
const sampled = 1

// beginTrace finds the request's place in a trace.
func (in *request) beginTrace() {
	if values := in.q.Header.Values("Traceparent"); len(values) == 1 {
		in.trace, _ = parseParent(values[0])
	}
	if in.s.tracer != nil {
		in.trace = in.s.tracer.Begin(in.trace)
	}
}

// parseParent reads a traceparent (W3C Trace Context Level 1, section 3.2.2). Of
// a version that is not known yet it reads the part that is (section 4.3). One
// that is not valid is as good as none.
func parseParent(s string) (t perf.Trace, ok bool) {
	if len(s) < parentLength || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return perf.Trace{}, false
	}
	var version, flags [1]byte
	if !unhex(version[:], s[:2]) || !unhex(t.ID[:], s[3:35]) || !unhex(t.Parent[:], s[36:52]) || !unhex(flags[:], s[53:55]) {
		return perf.Trace{}, false
	}
	longer := len(s) > parentLength
	switch {
	case version[0] == 0xff, version[0] == 0 && longer, longer && s[parentLength] != '-':
		return perf.Trace{}, false
	case t.ID == perf.TraceID{}, t.Parent == perf.SpanID{}:
		return perf.Trace{}, false
	}
	t.Sampled = flags[0]&sampled != 0
	return t, true
}

// unhex reads lower-case hexadecimal digits, two for each byte of dst.
func unhex(dst []byte, s string) bool {
	for i := range dst {
		high, low := digit(s[2*i]), digit(s[2*i+1])
		if high > 15 || low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

// digit gives the value of a hexadecimal digit, above 15 for none.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// formatParent gives the traceparent that the upstream sees.
func formatParent(t *perf.Trace) string {
	var text [parentLength]byte
	b := append(text[:0], "00-"...)
	b = append(hex.AppendEncode(b, t.ID[:]), '-')
	b = append(hex.AppendEncode(b, t.Call[:]), '-', '0', '0')
	if t.Sampled {
		b[len(b)-1] = '0' + sampled
	}
	return string(b)
}

// forwardTrace has the upstream see the gateway's span of the call, where there
// is one, as its parent.
func (in *request) forwardTrace() {
	if t := &in.trace; t.Call != (perf.SpanID{}) {
		in.req.Header = append(in.req.Header, llm.Field{Name: "Traceparent", Value: formatParent(t)})
	}
}

// dropsTrace reports whether a field is one of the client's trace context that
// does not go on: one that is not valid, or in whose place the gateway's own
// goes. A tracestate without a valid traceparent means nothing (section 3.3).
func (in *request) dropsTrace(name string) bool {
	t := &in.trace
	switch name {
	case "Traceparent":
		return t.Parent == perf.SpanID{} || t.Call != perf.SpanID{}
	case "Tracestate":
		return t.Parent == perf.SpanID{}
	}
	return false
}
