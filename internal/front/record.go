package front

import (
	"net/http"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/perf/usage"
)

// maxKeptReply bounds a reply that is copied for observers, in bytes.
const maxKeptReply = 64 << 10

// noteHead takes from a reply's head what observers are told.
func (x *exchange) noteHead(h *llm.Head) {
	e := &x.record
	e.Upstream, e.Attempts, e.Cache, e.Saved = h.Upstream, h.Attempts, h.Cache, h.Saved
	e.Waiting = max(h.Waited, 0)
	x.json = h.Kind == llm.Pieces && x.tells() && speaksJSON(h.Get("Content-Type"))
	// A body that is sent on while it comes in is waited for on both sides.
	e.HasOverhead = h.Waited >= 0 && h.Status < 400 && x.own == nil && x.req.BodyReader == nil
}

// noteWhole is told of a reply that is held whole, before it is written.
func (x *exchange) noteWhole(b []byte) {
	x.answered(time.Since(x.begun))
	if x.tells() {
		x.noteUsage(usage.Whole(b))
	}
	if x.own == nil && x.s.keepReplies != nil && len(b) <= maxKeptReply && x.s.keepReplies() {
		kept, err := x.s.buffers.Get(len(b))
		if err != nil {
			return // the reply is more to the client than to observers
		}
		kept.B = append(kept.B, b...)
		x.kept, x.record.Reply = kept, kept.B
	}
}

// tells reports whether a reply may say how many tokens it took. One that was asked
// for with GET says what another took.
func (x *exchange) tells() bool {
	return len(x.s.observers) > 0 && x.own == nil && x.r.Method == http.MethodPost
}

// noteUsage takes note of what a reply says it took. The last that says so counts.
func (x *exchange) noteUsage(u perf.Usage) {
	if u.Known {
		x.record.Usage = u
	}
}

// noteEvents is told of events of a stream, before they are written.
func (x *exchange) noteEvents(events []llm.Event) {
	if !x.tells() {
		return
	}
	for i := range events {
		x.noteUsage(usage.Event(events[i].Raw))
	}
}

// notePiece is told of a piece of a reply, before it is written.
func (x *exchange) notePiece(b []byte) {
	if x.json {
		x.pieces.Feed(b)
		x.record.Usage = x.pieces.Usage()
	}
}

// speaksJSON reports whether a reply is JSON, or does not say what it is.
func speaksJSON(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.Trim(kind, " \t"))
	return kind == "" || kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// noteError is told of a reply that is an error, before it is written.
func (x *exchange) noteError(told *llm.Error, body []byte) {
	e := &x.record
	e.Code, e.Fault, e.HasOverhead, e.Reply = told.Code, told.Fault, false, body
	if told.Upstream != "" {
		e.Upstream = told.Upstream
	}
	after := time.Since(x.begun)
	e.Attempts = max(e.Attempts, told.Attempts)
	e.Waiting = max(e.Waiting, min(told.Waited, after)) // it may be another's, whose call it joined
	x.answered(after)
}

// noteLate is told of an error that ends a reply which has begun.
func (x *exchange) noteLate(told *llm.Error) {
	e := &x.record
	e.Code, e.Fault, e.Late, e.Status = told.Code, told.Fault, told.Status, x.status
	if told.Upstream != "" {
		e.Upstream = told.Upstream
	}
	e.Attempts = max(e.Attempts, told.Attempts)
}

// answered takes note of how long after the request the reply began. Only the
// first call counts.
func (x *exchange) answered(after time.Duration) {
	if x.record.First == 0 {
		x.record.First = max(after, 1)
	}
}

// conclude counts the exchange, which has ended, and tells the observers of it.
func (x *exchange) conclude() {
	e, q := &x.record, &x.req
	if e.Status == 0 {
		e.Status = x.status
	}
	if x.own != nil {
		x.s.stats.own.count(x.status, e)
	} else {
		x.s.stats.requests[q.Op.Known()].count(x.status, e)
	}
	if len(x.s.observers) == 0 {
		return
	}
	e.ID, e.Tenant, e.Op, e.Model, e.Body = q.ID, q.Tenant, q.Op, perf.Label(q.Model), q.Body
	e.Client, e.Method, e.Path = x.r.RemoteAddr, x.r.Method, q.Path
	if e.Path == "" { // no route was found for it
		e.Path = x.r.URL.EscapedPath()
	}
	// Nothing that shows figures has to fear a name from outside.
	e.Method, e.Path, e.Code = perf.Label(e.Method), perf.Label(e.Path), perf.Label(e.Code)
	e.Own = x.own != nil
	e.Stream = e.Stream || x.stream.open
	e.Begun, e.Total = x.begun, time.Since(x.begun)
	e.BytesIn = x.body.n
	if e.HasOverhead = e.HasOverhead && e.First > 0; e.HasOverhead {
		e.Overhead = max(e.First-e.Receiving-e.Waiting, 0)
	}
	for _, o := range x.s.observers {
		o.Observe(e)
	}
}
