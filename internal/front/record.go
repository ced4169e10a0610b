package front

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/perf"
	"sluice/internal/perf/usage"
)

// maxKeptReply bounds a reply that is copied for observers, in bytes.
const maxKeptReply = 64 << 10

// record is what observers are told of an exchange, and what is counted of it.
type record struct {
	*given
	in *request
	perf.Exchange

	outline llm.Outline    // of a reply that is held whole
	ratio   llm.TokenRatio // is told how many tokens text bytes of the request were; nil for nobody
	text    int64
	counts  usage.Counts   // of a stream
	pieces  *usage.Reader  // reads a reply in pieces; nil where nothing is to be read
	kept    *memory.Buffer // backs Reply
	ending  uint8          // place among the Server's endings and one more; 0 for none
}

// reset forgets the exchange.
func (rec *record) reset() {
	rec.Exchange, rec.outline, rec.counts, rec.ratio, rec.kept = perf.Exchange{}, llm.Outline{}, usage.Counts{}, nil, nil
	if rec.pieces != nil {
		*rec.pieces = usage.Reader{}
		rec.s.usages.Put(rec.pieces)
		rec.pieces = nil
	}
}

// logFailure logs an error with which an exchange ends, whose client got a status.
func (rec *record) logFailure(e *llm.Error, status int) {
	level := slog.LevelDebug
	if e.Status >= 500 && e.Fault != llm.ShuttingDown {
		level = slog.LevelWarn
	}
	ctx, q, log := context.Background(), &rec.in.req, rec.s.log
	if !log.Enabled(ctx, level) {
		return
	}
	if id := rec.in.trace.ID; id != (perf.TraceID{}) {
		log = log.With("trace_id", id.String())
	}
	log.Log(ctx, level, "request failed", "request_id", q.ID, "model", perf.Label(q.Model), "status", status, "code", perf.Label(e.Code), "error", e)
}

// abort takes note of why a reply does not reach its end.
func (rec *record) abort(cause int) {
	rec.s.stats.aborts[cause].Add(1)
	rec.Aborted = abortNames[cause]
}

// noteHead takes from a reply's head what observers are told.
func (rec *record) noteHead(h *llm.Head) {
	rec.Upstream, rec.Attempts, rec.Cache, rec.Saved = h.Upstream, h.Attempts, h.Cache, h.Saved
	rec.outline, rec.Waiting = h.Outline, max(h.Waited, 0)
	rec.ratio, rec.text = h.Deduped.Ratio, h.Deduped.Text
	if h.Waited >= 0 { // else it was another's wait
		rec.Queued = h.Queued
	}
	if h.Kind == llm.Pieces && rec.tells() && speaksJSON(h.Get("Content-Type")) {
		var ok bool
		if rec.pieces, ok = rec.s.usages.Get().(*usage.Reader); !ok {
			rec.pieces = new(usage.Reader)
		}
	}
	// A body that is sent on while it comes in is waited for on both sides.
	rec.HasOverhead = h.Waited >= 0 && h.Status < 400 && rec.in.own == nil && rec.in.req.BodyReader == nil
}

// noteWhole is told of a reply that is held whole, before it is written.
func (rec *record) noteWhole(b []byte) {
	rec.answered(time.Since(rec.begun))
	if rec.tells() {
		rec.Usage = usage.Of(b, &rec.outline)
	}
	if rec.in.own == nil && len(b) <= maxKeptReply && rec.wantsBodies() {
		kept, err := rec.s.buffers.Get(len(b))
		if err != nil {
			return // the reply is more to the client than to observers
		}
		kept.B = append(kept.B, b...)
		rec.kept, rec.Reply = kept, kept.B
	}
}

// wantsBodies reports whether an observer has a use for what was said.
func (rec *record) wantsBodies() bool { return rec.s.keepReplies != nil && rec.s.keepReplies() }

// tells reports whether a reply may say how many tokens it took. One that was asked
// for with GET says what another took.
func (rec *record) tells() bool {
	return len(rec.s.observers) > 0 && rec.in.own == nil && rec.q.Method == "POST"
}

// noteEvents is told of events of a stream, before they are written.
func (rec *record) noteEvents(events []llm.Event) {
	if !rec.tells() {
		return
	}
	for i := range events {
		if rec.counts.Event(events[i].Raw) {
			rec.Usage = rec.counts.Usage()
		}
	}
}

// notePiece is told of a piece of a reply, before it is written.
func (rec *record) notePiece(b []byte) {
	if rec.pieces != nil {
		rec.pieces.Feed(b)
		rec.Usage = rec.pieces.Usage()
	}
}

// speaksJSON reports whether a reply is JSON, or does not say what it is.
func speaksJSON(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.Trim(kind, " \t"))
	return kind == "" || kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// noteError is told of a reply that is an error, before it is written.
func (rec *record) noteError(told *llm.Error, body []byte) {
	rec.Code, rec.Fault, rec.HasOverhead, rec.Reply = told.Code, told.Fault, false, body
	if told.Upstream != "" {
		rec.Upstream = told.Upstream
	}
	after := time.Since(rec.begun)
	rec.Attempts = max(rec.Attempts, told.Attempts)
	rec.Waiting = max(rec.Waiting, min(told.Waited, after)) // it may be another's, whose call it joined
	rec.Queued = max(rec.Queued, min(told.Queued, after-rec.Waiting))
	rec.answered(after)
}

// noteLate is told of an error that ends a reply which has begun, with a status.
func (rec *record) noteLate(told *llm.Error, status int) {
	rec.Code, rec.Fault, rec.Late, rec.Status = told.Code, told.Fault, told.Status, status
	if told.Upstream != "" {
		rec.Upstream = told.Upstream
	}
	rec.Attempts = max(rec.Attempts, told.Attempts)
}

// answered takes note of how long after the request the reply began. Only the
// first call counts.
func (rec *record) answered(after time.Duration) {
	if rec.First == 0 {
		rec.First = max(after, 1)
	}
}

// conclude counts the exchange, which has ended, and tells the observers of it. status
// is the reply's, 0 where nobody waited for one.
func (rec *record) conclude(status int, stream bool) {
	q := &rec.in.req
	if rec.Status == 0 {
		rec.Status = status
	}
	if rec.in.own != nil {
		rec.s.stats.own.count(status, &rec.Exchange)
	} else {
		rec.s.stats.requests[q.Op.Known()].count(status, &rec.Exchange)
	}
	if len(rec.s.observers) == 0 {
		return
	}
	rec.Trace = rec.in.trace
	rec.ID, rec.Tenant, rec.Op, rec.Model, rec.Body = q.ID, q.Tenant, q.Op, perf.Label(q.Model), q.Body
	rec.Client, rec.Method, rec.Path = rec.q.Remote, rec.q.Method, q.Path
	if rec.Path == "" { // no route was found for it
		rec.Path = rec.q.EscapedPath()
	}
	// Nothing that shows figures has to fear a name from outside.
	rec.Method, rec.Path, rec.Code = perf.Label(rec.Method), perf.Label(rec.Path), perf.Label(rec.Code)
	rec.Own = rec.in.own != nil
	rec.Stream = rec.Stream || stream
	rec.Begun, rec.Total = rec.begun, time.Since(rec.begun)
	rec.BytesIn = rec.in.body.n
	if rec.HasOverhead = rec.HasOverhead && rec.First > 0; rec.HasOverhead {
		rec.Overhead = max(rec.First-rec.Receiving-rec.Waiting-rec.Queued, 0)
	}
	if rec.ratio != nil && rec.Usage.Known {
		rec.ratio.Learn(q.Model, rec.text, rec.Usage.Input)
	}
	for _, o := range rec.s.observers {
		o.Observe(&rec.Exchange)
	}
}
