package front

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// The example of W3C Trace Context, section 3.2.3.
const (
	parent  = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
)

func TestParseParent(t *testing.T) {
	for text, want := range map[string]bool{
		parent: true, parent[:53] + "00": true, parent[:53] + "ff": true,
		"cc" + parent[2:]: true, "cc" + parent[2:] + "-more": true, "cc" + parent[2:] + "-": true,

		"": false, parent[:54]: false, parent + "-00": false, parent + " ": false, " " + parent[:54]: false,
		"cc" + parent[2:] + ".more": false, "ff" + parent[2:]: false, "ff" + parent[2:] + "-more": false, "cc" + parent[2:54]: false,
		"0g" + parent[2:]: false, strings.ToUpper(parent): false, parent[:53] + "0x": false,
		strings.ReplaceAll(parent, "-", "_"):                false,
		"00-00000000000000000000000000000000" + parent[35:]: false,
		parent[:36] + "0000000000000000-01":                 false,
	} {
		got, ok := parseParent(text)
		if ok != want || ok && (got.ID.String() != traceID || got.Parent.String() != "00f067aa0ba902b7") || !ok && got != (perf.Trace{}) {
			t.Errorf("%q: %+v, %v", text, got, ok)
		}
		if flags := text[max(len(text)-2, 0):]; ok && len(text) == parentLength && got.Sampled != (flags != "00") {
			t.Errorf("%q: sampled %v", text, got.Sampled)
		}
	}
}

// FuzzParseParent: what is valid says the same once it is written again.
func FuzzParseParent(f *testing.F) {
	for _, s := range []string{parent, "cc" + parent[2:] + "-more", parent[:54], "ff" + parent[2:]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseParent(s)
		if !ok {
			if got != (perf.Trace{}) {
				t.Errorf("%q is not valid and gives %+v", s, got)
			}
			return
		}
		got.Call, got.Parent = got.Parent, perf.SpanID{}
		text := formatParent(&got)
		if text[2:53] != s[2:53] || !strings.HasPrefix(text, "00-") {
			t.Errorf("%q became %q", s, text)
		}
	})
}

// tracer gives spans to requests whose trace is sampled.
type tracer struct{}

func (tracer) Begin(p perf.Trace) perf.Trace {
	if p.ID == (perf.TraceID{}) {
		p.ID, p.Sampled = perf.TraceID{1}, true
	}
	if p.Sampled {
		p.Span, p.Call = perf.SpanID{2}, perf.SpanID{3}
	}
	return p
}

func TestTraceContext(t *testing.T) {
	own := func(id string) string { return "00-" + id + "-0300000000000000-01" }
	unsampled := parent[:53] + "00"
	fresh := "01" + strings.Repeat("0", 30)
	for _, c := range []struct {
		tracer        perf.Tracer
		parents       []string
		parent, state string // as the upstream sees them
		id            string // as observers do
	}{
		{nil, []string{parent}, parent, "a=1|b=2", traceID},
		{nil, []string{parent[:54] + "x"}, "", "", ""},
		{nil, []string{parent, parent}, "", "", ""},
		{nil, nil, "", "", ""},
		{tracer{}, []string{parent}, own(traceID), "a=1|b=2", traceID},
		{tracer{}, []string{unsampled}, unsampled, "a=1|b=2", traceID},
		{tracer{}, []string{"garbage"}, own(fresh), "", fresh},
		{tracer{}, nil, own(fresh), "", fresh},
	} {
		seen := make(seen, 1)
		var got []llm.Field
		var log bytes.Buffer
		cfg, sc := testConfig(func(c *Config, _ *StreamConfig) { c.ForwardHeaders = []string{"Tr*"} })
		s, err := New(cfg, sc, llm.HandlerFunc(func(_ context.Context, req *llm.Request, _ llm.Sink) error {
			got = append(got, req.Header...)
			return fmt.Errorf("no")
		}), Options{Tracer: c.tracer, Observers: []perf.Observer{seen}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		r := newRequest(t, t.Context(), "POST", chatPath, chatBody)
		r.RemoteAddr, r.Host = "127.0.0.1:5", "localhost"
		r.Header["Traceparent"], r.Header["Tracestate"] = c.parents, []string{"a=1", "b=2"}
		serve(s, &discard{make(http.Header)}, r)
		values := map[string][]string{}
		for _, f := range got {
			values[f.Name] = append(values[f.Name], f.Value)
		}
		if p, st := strings.Join(values["Traceparent"], "|"), strings.Join(values["Tracestate"], "|"); p != c.parent || st != c.state {
			t.Errorf("%+v: the upstream sees %q, %q", c, p, st)
		}
		id := seen.next(t).Trace.ID
		if c.id == "" != (id == perf.TraceID{}) || c.id != "" && (id.String() != c.id || !strings.Contains(log.String(), "trace_id="+c.id)) {
			t.Errorf("%+v: trace %s, log %s", c, id, log.String())
		}
		if !strings.Contains(log.String(), "request_id=req_") || c.id == "" && strings.Contains(log.String(), "trace_id") {
			t.Errorf("%+v: log %s", c, log.String())
		}
		_ = s.Close()
	}
}
