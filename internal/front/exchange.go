package front

import (
	"cmp"
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

// exchange is one request and its reply: what is read (in), what is written (out)
// and what is told of both (rec). in knows neither of the others, rec knows in, and
// out knows both. It is used again for later requests, so that one costs few
// allocations.
type exchange struct {
	given
	in  request
	rec record
	out reply

	live bool // no drain waits for it
}

// given is what an exchange begins with. Its parts share it.
type given struct {
	s     *Server
	st    *state
	e     engine.Exchange
	q     *engine.Request // e's
	begun time.Time
}

// left reports whether the client has left.
func (g *given) left() bool { return g.e.Context().Err() != nil }

func (s *Server) newExchange() *exchange {
	x := &exchange{given: given{s: s}}
	x.in.given, x.rec.given, x.out.given = &x.given, &x.given, &x.given
	x.rec.in, x.out.in, x.out.rec = &x.in, &x.in, &x.rec
	x.out.stream.moved = make(chan struct{}, 1)
	return x
}

// Answer implements engine.Handler.
func (s *Server) Answer(e engine.Exchange) (ending engine.Ending) {
	if q := e.Request(); s.isAside(q) {
		return s.watchAside(e, q)
	}
	x := s.begin(e)
	defer func() { ending = x.end(ending, recover()) }()
	return x.finish(x.serve())
}

// begin makes the exchange of a request.
func (s *Server) begin(e engine.Exchange) *exchange {
	s.inFlight.Add(1)
	x, ok := s.exchanges.Get().(*exchange)
	if !ok {
		x = s.newExchange()
	}
	x.st, x.e, x.q, x.begun = s.acquire(), e, e.Request(), time.Now()
	x.out.last = x.q.Last
	x.out.needHead()
	x.in.req.ID = requestID(x.q.Header)
	x.in.beginTrace()
	return x
}

// end gives back what the exchange holds. A panic of a handler, which p is of, ends
// this reply and no other.
func (x *exchange) end(ending engine.Ending, p any) engine.Ending {
	s := x.s
	if p != nil {
		ending = x.panicked(p)
	}
	x.in.takeBack()
	x.rec.conclude(x.out.status, x.out.stream.open)
	x.rec.ended()
	if x.out.stream.open {
		s.stats.streams.Add(-1)
	}
	x.in.dropBody()
	s.held.Give(x.in.reserved)
	x.in.unshare(x.in.shared)
	s.buffers.Put(x.rec.kept)
	x.in.spool.End()
	x.st.release()
	live, own := x.live, x.in.own != nil
	if ending == engine.Whole && !x.out.unfit {
		x.reset()
		s.exchanges.Put(x)
	}
	if live {
		s.aside.Add(-1)
	} else {
		if own {
			s.asking.Add(-1)
		}
		s.inFlight.Add(-1)
	}
	return ending
}

// panicked ends the reply of a handler that panicked.
func (x *exchange) panicked(p any) engine.Ending {
	x.out.settle()
	x.s.log.Error("handler panicked", "request_id", x.in.req.ID, "panic", p, "stack", string(debug.Stack()))
	e := llm.AsError(errors.New("handler panicked"))
	if !x.out.wrote {
		x.out.replyError(e)
		return engine.Whole
	}
	x.rec.noteLate(e, x.out.status)
	x.rec.abort(abortInternal)
	return engine.Cut
}

// reset forgets everything of the request, so that a pooled exchange keeps none
// of it alive.
func (x *exchange) reset() {
	x.in.reset()
	x.rec.reset()
	x.out.reset()
	x.st, x.e, x.q, x.live = nil, nil, nil, false
}

// finish ends the reply. err is what the handlers returned.
func (x *exchange) finish(err error) engine.Ending {
	out := &x.out
	out.settle()
	if err == nil {
		err = cmp.Or(out.stream.err, out.unsent)
	}
	left := x.left()
	if e := x.toldOf(err); e != nil {
		return x.told(e, err != nil && (left && !x.delivered() || out.stream.err != nil))
	}
	if err == nil {
		return x.complete()
	}
	if left && x.delivered() {
		return engine.Whole // a client that has all may leave
	}
	switch {
	case left && errors.Is(context.Cause(x.e.Context()), errShutdown):
		err = errShutdown
	case x.in.body.failed() != nil: // an engine may call that leaving too
		err = x.in.body.failed()
	case left || out.stream.err != nil || x.e.GivenUp():
		return x.clientLeft()
	}
	return x.fail(llm.AsError(err))
}

// delivered reports whether all of the reply was written: its announced length, or
// the event that ends a stream.
func (x *exchange) delivered() bool {
	out := &x.out
	switch {
	case !out.wrote || out.unsent != nil || out.stream.err != nil || x.e.GivenUp() || x.in.body.failed() != nil:
		return false
	case out.stream.open:
		return out.stream.ended
	default:
		return out.length >= 0 && x.rec.BytesOut == out.length
	}
}

// toldOf is the error that the reply tells of, nil for none. Where the call was another's,
// or went on without its client, only that its upstream told of one is known.
func (x *exchange) toldOf(err error) *llm.Error {
	if !x.rec.Told {
		return nil
	}
	if err != nil {
		e := llm.AsError(err)
		if e.Fault == llm.Told {
			return e
		}
		if e.Fault != llm.Left || errors.Is(context.Cause(x.e.Context()), errShutdown) || x.in.body.failed() != nil {
			return nil // it went wrong otherwise too
		}
	}
	e := llm.UpstreamError(x.rec.Upstream, llm.Told, 502, llm.CodeUpstream, "Upstream %s told of an error in its reply.", err)
	e.Ended = err == nil || x.delivered()
	return e
}

// told ends a stream that has an event of its upstream's which tells of e, at
// which clients often leave.
func (x *exchange) told(e *llm.Error, left bool) engine.Ending {
	x.rec.logFailure(e, x.out.status)
	x.rec.noteLate(e, x.out.status)
	switch {
	case left || x.out.endArray() != nil:
		return x.clientLeft()
	case e.Ended:
		return engine.Whole
	default:
		x.rec.abort(abortUpstream)
		return x.broken()
	}
}

// complete ends a reply of which all has been sent.
func (x *exchange) complete() engine.Ending {
	out := &x.out
	switch {
	case !out.started:
		return x.fail(llm.AsError(errors.New("the handler returned without a reply")))
	case out.wrote:
	case out.length > 0 && out.kind != llm.EventStream && x.q.Method != "HEAD":
		return x.fail(llm.AsError(errors.New("the handler returned without the reply's body")))
	case x.in.form == arrayForm && out.kind == llm.Pieces:
		return x.fail(llm.AsError(out.unexpected("nothing")))
	default:
		out.begin(-1)
	}
	if out.unsent = out.endArray(); out.unsent != nil {
		return x.clientLeft()
	}
	return engine.Whole
}

// clientLeft ends a reply that nobody waits for. An end as if it were whole would
// mislead a client that has closed only its own direction.
func (x *exchange) clientLeft() engine.Ending {
	if x.out.wrote {
		x.out.undelivered()
	}
	x.out.status = 0
	return engine.Cut
}

// fail tells the client of an error as well as that is still possible.
func (x *exchange) fail(e *llm.Error) engine.Ending {
	if !x.out.wrote {
		x.rec.logFailure(e, e.Status)
		x.out.replyError(e)
		return engine.Whole
	}
	x.rec.logFailure(e, x.out.status)
	x.rec.noteLate(e, x.out.status)
	x.rec.abort(abortCause(e))
	if !x.out.stream.open {
		return engine.Cut // the length or the missing last chunk shows that it is not whole
	}
	x.rec.mayEnd()
	x.out.sendError(e)
	return x.broken()
}

// broken ends a stream, all of which has been written, in a way that no client
// takes for its end. Many know no error events, or stop reading at the first thing
// that they do not know.
func (x *exchange) broken() engine.Ending {
	if x.in.form == arrayForm { // its end may not have left
		_ = x.out.e.Flush()
	}
	if x.q.Length != 0 && !x.in.body.whole.Load() {
		return engine.Broken
	}
	return engine.Cut
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

// pools are what a Server uses again.
type pools struct {
	exchanges sync.Pool // of *exchange
	heads     sync.Pool // of *engine.Head
	usages    sync.Pool // of *usage.Reader
	buffers   *memory.Buffers

	gatewayTime, upstreamTime, queueTime timings
}
