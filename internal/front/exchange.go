package front

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/perf"
	"sluice/internal/perf/usage"
)

// exchange is one request and its reply. It is the Sink of the handlers. It is
// used again for later requests, so that one costs few allocations.
type exchange struct {
	s  *Server
	st *state
	w  http.ResponseWriter
	r  *http.Request

	many  bool  // HTTP/2: its connection has many requests
	reply reply // w, where many

	req        llm.Request
	fields     [16]llm.Field // backs req.Header
	streamSeen bool
	begun      time.Time
	body       body
	buf        *memory.Buffer // backs req.Body
	spool      *spool
	tenant     *tenant // whose key it is; nil before that is known
	own        *Route  // answers instead of the handlers
	live       bool    // no drain waits for it
	last       bool    // on its connection

	values [32]string // backs the reply's header
	used   int

	started bool // the handler gave a head
	wrote   bool // the reply's head is on its way
	status  int
	kind    llm.ReplyKind
	length  int64
	unsent  error // why the client has not all of it; see also stream.err

	stream stream
	tunnel *tunnel // of a request for a WebSocket, else nil
	unfit  bool    // a timer may still refer to it: not to be used again
	ending uint8   // place among the Server's endings and one more; 0 for none

	record perf.Exchange  // what observers are told
	pieces usage.Reader   // reads a reply in pieces
	json   bool           // is to
	kept   *memory.Buffer // backs record.Reply
}

// begin makes the exchange of a request.
func (s *Server) begin(w http.ResponseWriter, r *http.Request) *exchange {
	s.inFlight.Add(1)
	x, ok := s.exchanges.Get().(*exchange)
	if !ok {
		x = &exchange{s: s}
		x.stream.moved = make(chan struct{}, 1)
	}
	x.st, x.w, x.r, x.begun = s.acquire(), w, r, time.Now()
	if x.many = r.ProtoMajor > 1; x.many {
		x.reply.open(w, r, x.st.stream.WriteTimeout)
		x.w = &x.reply
	}
	x.last = lastOn(r)
	x.req.ID = requestID(r.Header)
	x.beginTrace()
	return x
}

// end gives back what the exchange holds. A panic of a handler ends this reply
// and no other.
func (x *exchange) end() {
	s, p := x.s, recover()
	if p != nil {
		x.settle()
	}
	if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		s.log.Error("handler panicked", "request_id", x.req.ID, "panic", p, "stack", string(debug.Stack()))
		p = http.ErrAbortHandler
		if e := llm.AsError(errors.New("handler panicked")); !x.wrote {
			x.replyError(e)
			p = nil
		} else {
			x.noteLate(e)
			x.abort(abortInternal)
		}
	}
	x.conclude()
	x.ended()
	if x.stream.open {
		s.stats.streams.Add(-1)
	}
	s.buffers.Put(x.buf)
	s.buffers.Put(x.kept)
	if x.spool != nil {
		x.spool.close()
	}
	x.st.release()
	if x.many {
		x.reply.conn.ended(x.r.Context().Err() == nil)
	}
	live := x.live
	if p == nil && !x.unfit {
		x.reset()
		s.exchanges.Put(x)
	}
	if live {
		s.aside.Add(-1)
	} else {
		s.inFlight.Add(-1)
	}
	if p != nil {
		panic(p)
	}
}

// reset forgets everything of the request, so that a pooled exchange keeps none
// of it alive.
func (x *exchange) reset() {
	clear(x.fields[:])
	clear(x.values[:x.used])
	x.st, x.w, x.r, x.buf, x.spool, x.own, x.kept, x.tenant = nil, nil, nil, nil, nil, nil, nil, nil
	x.req, x.body, x.record = llm.Request{}, body{}, perf.Exchange{}
	x.streamSeen, x.live, x.last, x.started, x.wrote = false, false, false, false, false
	x.used, x.status, x.kind, x.length = 0, 0, llm.Unary, 0
	x.unsent, x.tunnel = nil, nil
	if x.json {
		x.pieces, x.json = usage.Reader{}, false
	}
	x.stream.reset()
	x.reply.reset()
}

// finish ends the reply. err is what the handlers returned.
func (x *exchange) finish(err error) {
	x.settle()
	if err == nil {
		err = cmp.Or(x.stream.err, x.unsent)
	}
	if err == nil {
		x.complete()
		return
	}
	left := x.r.Context().Err() != nil
	if e := llm.AsError(err); e.Fault == llm.Told && x.record.Told {
		x.told(e, left || x.stream.err != nil)
		return
	}
	if left && x.delivered() {
		return // a client that has all may leave
	}
	switch {
	case left && errors.Is(context.Cause(x.r.Context()), errShutdown):
		err = errShutdown
	case x.body.err != nil: // net/http calls that leaving too
		err = x.body.err
	case left || x.stream.err != nil || x.reply.stalled.Load():
		x.clientLeft()
	}
	x.fail(llm.AsError(err))
}

// delivered reports whether all of the reply was written: its announced length, or
// the event that ends a stream.
func (x *exchange) delivered() bool {
	switch {
	case !x.wrote || x.unsent != nil || x.stream.err != nil || x.reply.stalled.Load() || x.body.err != nil:
		return false
	case x.stream.open:
		return x.stream.ended
	default:
		return x.length >= 0 && x.record.BytesOut == x.length
	}
}

// told ends a stream that has an event of its upstream's which tells of e, at
// which clients often leave.
func (x *exchange) told(e *llm.Error, left bool) {
	x.logFailure(e)
	x.noteLate(e)
	switch {
	case left:
		x.clientLeft()
	case !e.Ended:
		x.abort(abortUpstream)
		x.breakOff()
	}
}

// complete ends a reply of which all has been sent.
func (x *exchange) complete() {
	switch {
	case !x.started:
		x.fail(llm.AsError(errors.New("the handler returned without a reply")))
	case x.wrote:
	case x.length > 0 && x.kind != llm.EventStream && x.r.Method != http.MethodHead:
		x.fail(llm.AsError(errors.New("the handler returned without the reply's body")))
	default:
		x.wrote = true
		x.w.WriteHeader(x.status)
	}
}

// clientLeft ends a reply that nobody waits for. It does not return.
func (x *exchange) clientLeft() {
	if x.wrote {
		x.undelivered()
	}
	x.status = 0
	// Returning would end the reply as if it were whole, for a client that has
	// closed only its own direction.
	panic(http.ErrAbortHandler)
}

// undelivered takes note of a reply that its client did not take to its end.
func (x *exchange) undelivered() {
	cause := abortClient
	if errors.Is(cmp.Or(x.stream.err, x.unsent), os.ErrDeadlineExceeded) || x.reply.stalled.Load() {
		cause = abortSlow
	}
	x.record.Status = x.status
	x.abort(cause)
}

// abort takes note of why a reply does not reach its end.
func (x *exchange) abort(cause int) {
	x.s.stats.aborts[cause].Add(1)
	x.record.Aborted = abortNames[cause]
}

// fail tells the client of an error as well as that is still possible.
func (x *exchange) fail(e *llm.Error) {
	x.logFailure(e)
	if !x.wrote {
		x.replyError(e)
		return
	}
	x.noteLate(e)
	x.abort(abortCause(e))
	if !x.stream.open {
		// The length or the missing last chunk shows that it is not whole.
		panic(http.ErrAbortHandler)
	}
	x.mayEnd()
	x.stream.mu.Lock()
	// Where there is no memory for it the way the stream ends says so too.
	_ = x.append(appendErrorEvent(nil, x.req.Op, e, x.stream.count))
	x.wake()
	x.stream.mu.Unlock()
	x.settle()
	x.breakOff()
}

// takeIn is how long a client has for the last bytes of a connection that is
// closed while there is something in it that nobody has read: the kernel then
// resets it, and whatever is on its way is lost.
const takeIn = 500 * time.Millisecond

// breakOff ends a stream, all of which has been written, in a way that no client
// takes for its end: over HTTP/1.1 without the last chunk and with the connection,
// over HTTP/2 with RST_STREAM (INTERNAL_ERROR). Many know no error events, or
// stop reading at the first thing that they do not know. It does not return.
func (x *exchange) breakOff() {
	c, ok := x.r.Context().Value(connKey{}).(interface{ CloseWrite() error })
	if ok && x.r.ProtoMajor == 1 && x.r.ContentLength != 0 && !x.body.whole.Load() {
		_ = c.CloseWrite()
		time.Sleep(takeIn)
	}
	panic(http.ErrAbortHandler)
}

// abortCause is why e ends a reply that has begun.
func abortCause(e *llm.Error) int {
	switch {
	case e.Fault == llm.ShuttingDown:
		return abortShutdown
	case e.Upstream != "":
		return abortUpstream
	case e.Status < 500:
		return abortRequest
	default:
		return abortInternal
	}
}

func (x *exchange) logFailure(e *llm.Error) {
	level := slog.LevelDebug
	if e.Status >= 500 && e.Fault != llm.ShuttingDown {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !x.s.log.Enabled(ctx, level) {
		return
	}
	log := x.s.log
	if x.record.Trace.ID != (perf.TraceID{}) {
		log = log.With("trace_id", x.record.Trace.ID.String())
	}
	log.Log(ctx, level, "request failed", "request_id", x.req.ID, "model", perf.Label(x.req.Model), "status", e.Status, "code", perf.Label(e.Code), "error", e)
}

// set gives the reply a header field. name is canonical.
func (x *exchange) set(h http.Header, name, value string) {
	if x.used == len(x.values) {
		h[name] = []string{value}
		return
	}
	x.values[x.used] = value
	h[name] = x.values[x.used : x.used+1 : x.used+1]
	x.used++
}

// copyHeader takes over an upstream's fields. status is that of its reply.
func (x *exchange) copyHeader(h http.Header, fields []llm.Field, status int) {
	for i := range fields {
		f := &fields[i]
		if !llm.ForClient(f.Name, status) {
			continue
		}
		if f.Name == "X-Request-Id" {
			x.set(h, "X-Upstream-Request-Id", f.Value)
			continue
		}
		if old := h[f.Name]; old != nil {
			h[f.Name] = append(old, f.Value)
			continue
		}
		x.set(h, f.Name, f.Value)
	}
}

var _ llm.Sink = (*exchange)(nil)

// pools are what a Server uses again.
type pools struct {
	exchanges sync.Pool // of *exchange
	buffers   *memory.Buffers

	gatewayTime, upstreamTime timings
}
