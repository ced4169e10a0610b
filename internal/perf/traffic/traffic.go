// Package traffic counts requests by operation, model and upstream, and keeps
// what is known of the last ones.
//
// It promises that its memory does not depend on what clients send: a model
// becomes a label of its own only if it is known or once it has been answered for,
// and there is a bounded number of labels; all others are counted together as
// "other".
package traffic

import (
	"slices"
	"sync/atomic"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

const (
	// MaxModels bounds the models, with their operation, that are told apart
	// because they were answered for. As many known ones have room besides.
	MaxModels = 100
	// maxUpstreams bounds the upstreams; those of one configuration are fewer.
	maxUpstreams = 100
	// Kept is how many of the last requests are known.
	Kept = 200

	// other is the label of models that have none of their own.
	other = "other"
)

// Traffic is a perf.Observer that counts, and a perf.Source that reports. It is
// safe for concurrent use.
type Traffic struct {
	operations [llm.Operations]span
	queued     [llm.Operations]perf.Histogram
	classes    [llm.Operations][perf.Classes]atomic.Uint64
	models     table[model]
	others     [llm.Operations]model // of no label of their own
	upstreams  table[upstream]
	recent     recent
	known      func(model string) bool // nil for none

	input, output, cached, saved atomic.Uint64 // tokens
}

// New makes a Traffic that has seen nothing.
func New() *Traffic {
	t := &Traffic{}
	t.models.most, t.upstreams.most = MaxModels, maxUpstreams
	return t
}

// Know says which names of models are known, such as aliases: those are labels
// whether they were answered for or not. known is called on the requests' own
// goroutines. Know is called before the first of them.
func (t *Traffic) Know(known func(model string) bool) { t.known = known }

// span is what all kinds of series count.
type span struct {
	duration, overhead perf.Histogram
	requests, failed   atomic.Uint64
}

func (s *span) observe(x *perf.Exchange, c perf.Class) {
	s.requests.Add(1)
	if c.Failed() {
		s.failed.Add(1)
	}
	var example perf.TraceID
	if x.Trace.Sampled {
		example = x.Trace.ID
	}
	at := x.Begun.Add(x.Total)
	s.duration.ObserveTraced(x.Total, example, at)
	if x.HasOverhead {
		s.overhead.ObserveTraced(x.Overhead, example, at)
	}
}

// model is the series of one model in one operation.
type model struct {
	span
	firstEvent    perf.Histogram
	input, output perf.Histogram // tokens of one request
}

// upstream is the series of the requests that one upstream has answered.
type upstream struct {
	span
	wait perf.Histogram
}

// Observe implements perf.Observer. Requests to the gateway itself are not
// traffic.
func (t *Traffic) Observe(x *perf.Exchange) {
	if x.Own {
		return
	}
	op, c := x.Op.Known(), x.Class()
	if c != perf.Sound {
		t.classes[op][c].Add(1)
	}
	t.operations[op].observe(x, c)
	if x.Queued > 0 {
		t.queued[op].Observe(x.Queued)
	}
	m := t.model(x)
	m.observe(x, c)
	if x.Stream && x.First > 0 {
		m.firstEvent.Observe(x.First)
	}
	if x.Upstream != "" && !remembered(x) {
		if u := t.upstreams.get(key{name: x.Upstream}, x.Begun, true); u != nil {
			u.observe(x, c)
			if x.Waiting > 0 {
				u.wait.Observe(x.Waiting)
			}
		}
	}
	if x.Usage.Known {
		t.tokens(m, x)
	}
	t.recent.add(x, c)
}

// model finds the series of an exchange. Of a name that is not known only an
// answer shows that a model is there, and not a slip or a try to fill the table.
func (t *Traffic) model(x *perf.Exchange) *model {
	if x.Model != "" {
		k := key{x.Op.Known(), x.Model}
		m := t.models.get(k, x.Begun, false)
		if m == nil {
			known := t.known != nil && t.known(x.Model)
			if known || x.Status >= 200 && x.Status < 300 {
				m = t.models.add(k, x.Begun.Unix(), known)
			}
		}
		if m != nil {
			return m
		}
	}
	return &t.others[x.Op.Known()]
}

// remembered reports whether a reply cost no call of its own. Its upstream is then
// the one that answered once.
func remembered(x *perf.Exchange) bool {
	return x.Cache == llm.CacheHit || x.Cache == llm.CacheStale || x.Cache == llm.CacheCoalesced
}

// tokens counts what a reply says it took. Of one that came from memory nothing
// was spent.
func (t *Traffic) tokens(m *model, x *perf.Exchange) {
	in, out := max(x.Usage.Input, 0), max(x.Usage.Output, 0)
	if remembered(x) {
		t.saved.Add(uint64(in + out))
		return
	}
	if saved := min(max(x.Saved, 0), in); saved > 0 {
		t.saved.Add(uint64(saved))
		in -= saved
	}
	m.input.ObserveCount(in)
	m.output.ObserveCount(out)
	t.input.Add(uint64(in))
	t.output.Add(uint64(out))
	t.cached.Add(uint64(max(x.Usage.Cached, 0)))
}

// Figures implements perf.Source.
func (t *Traffic) Figures(r perf.Reporter) {
	for op := range llm.Operations {
		t.operations[op].report(r, "request", "requests", "operation", op.String())
		if t.operations[op].requests.Load() > 0 {
			r.Histogram("request_queue_seconds", "Time that requests waited for their turn, of those that did: to be admitted, for others to share a call with.", &t.queued[op], "operation", op.String())
		}
		t.reportClasses(r, op)
	}
	t.models.each(func(k key, m *model) { m.report(r, k) })
	for op := range llm.Operations {
		t.others[op].report(r, key{op, other})
	}
	t.upstreams.each(func(k key, u *upstream) {
		u.report(r, "upstream_request", "requests that an upstream answered", "upstream", k.name)
		r.Histogram("upstream_wait_seconds", "Time that requests waited for the upstream that answered, of streams until the first event.", &u.wait, "upstream", k.name)
	})
	if n := t.input.Load() + t.output.Load(); n > 0 {
		const spent = "Tokens that upstreams say they took, of replies that say so; cached is a part of input."
		r.Counter("tokens_total", spent, float64(t.input.Load()), "type", "input")
		r.Counter("tokens_total", spent, float64(t.output.Load()), "type", "output")
		r.Counter("tokens_total", spent, float64(t.cached.Load()), "type", "cached")
	}
	if n := t.saved.Load(); n > 0 {
		r.Counter("tokens_saved_total", "Tokens of replies that came from memory, or of another's call, and so cost nothing.", float64(n))
	}
}

// reportClasses reports what went wrong in an operation. That nothing failed is
// said too: a rate begins with the first failure only where there was a zero.
func (t *Traffic) reportClasses(r perf.Reporter, op llm.Operation) {
	used := t.operations[op].requests.Load() > 0
	for c := perf.Sound + 1; c < perf.Classes; c++ {
		n := t.classes[op][c].Load()
		labels := []string{"operation", op.String(), "class", c.String()}
		switch {
		case c.Failed() && used:
			r.Counter("requests_failed_total", "Requests that failed, by class.", float64(n), labels...)
		case !c.Failed() && n > 0:
			r.Counter("client_errors_total", "Requests that went wrong by the client's own doing, by class.", float64(n), labels...)
		}
	}
}

func (s *span) report(r perf.Reporter, prefix, what string, labels ...string) {
	n := s.requests.Load()
	if n == 0 {
		return
	}
	r.Histogram(prefix+"_duration_seconds", "Time from the head of "+what+" to the end of the reply.", &s.duration, labels...)
	r.Histogram(prefix+"_overhead_seconds", "Time that the gateway itself added to "+what+" until the reply began: without reading the request and without waiting for upstreams.", &s.overhead, labels...)
	r.Ratio(prefix+"_error_ratio", "Part of "+what+" that failed.", float64(s.failed.Load()), float64(n), labels...)
}

func (m *model) report(r perf.Reporter, k key) {
	labels := []string{"operation", k.op.String(), "model", k.name}
	m.span.report(r, "model_request", "requests for a model", labels...)
	if m.firstEvent.Distribution().Count > 0 {
		r.Histogram("model_first_event_seconds", "Time from the head of a request for a stream to its first event.", &m.firstEvent, labels...)
	}
	if m.input.Distribution().Count > 0 {
		const help = "Tokens of one request, as its reply says."
		r.Histogram("model_tokens", help, &m.input, append(slices.Clip(labels), "type", "input")...)
		r.Histogram("model_tokens", help, &m.output, append(slices.Clip(labels), "type", "output")...)
	}
}
