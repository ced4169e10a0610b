package ratelimit

import (
	"context"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/perf/usage"
)

// Stage puts the limits in front of what costs something. Lists of models are
// answered from memory and cost nothing.
func (l *Limits) Stage(next llm.Handler) llm.Handler {
	return llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
		// A stream may wait here for minutes: little is on the stack.
		c, err := begin(ctx, req, out)
		switch {
		case err != nil:
			return err
		case c == nil:
			return next.Serve(ctx, req, out)
		}
		err = next.Serve(ctx, req, c)
		c.end(err)
		return err
	})
}

// begin admits a request, or says why not. c is the call whose tokens are to be counted;
// nil where none are.
func begin(ctx context.Context, req *llm.Request, out llm.Sink) (c *call, err error) {
	k, limited := req.Meter.(*Key)
	if !limited || req.Op == llm.ListModels || req.Op == llm.GetModel {
		return nil, nil
	}
	if k.rate[tokens] == 0 || counts(req.Op) {
		_, err = k.take(amounts{requests: 1})
		return nil, err
	}
	in, more := estimate(req, k.limits.cfg.MaxOutputEstimate)
	shared, err := k.take(amounts{1, float64(in + more)})
	if err != nil {
		return nil, err
	}
	if err = ctx.Err(); err != nil { // it is not sent
		k.correct(-float64(in+more), shared)
		return nil, err
	}
	c = k.limits.calls.Get().(*call)
	c.key, c.op, c.json, c.out, c.input, c.estimated, c.shared = k, req.Op, req.Method == "POST", out, in, in+more, shared
	return c, nil
}

// counts reports whether a reply says how many tokens a request would take. To ask takes none.
func counts(op llm.Operation) bool {
	of, _ := known.CountsOf(op)
	return of != llm.Passthrough
}

// call is one of a key whose tokens are counted. It is the sink of its reply.
type call struct {
	key       *Key
	op        llm.Operation
	json      bool // the reply may say what it took
	shared    bool // the store has counted it
	out       llm.Sink
	input     int64 // tokens, estimated
	estimated int64 // with those of the reply
	status    int   // of the reply, 0 before it has begun
	kind      llm.ReplyKind
	outline   llm.Outline // of one that is held whole
	seen      int64       // of the reply: about its tokens, where it does not say how many
	usage     perf.Usage
	counts    usage.Counts  // of a stream
	pieces    *usage.Reader // nil for none
}

// end puts right what the call was taken to cost. err is what it ended with.
func (c *call) end(err error) {
	k, l, used := c.key, c.key.limits, c.used(err)
	if used != c.estimated {
		k.correct(float64(used-c.estimated), c.shared)
	}
	l.estimated.Add(uint64(c.estimated))
	l.used.Add(uint64(used))
	*c = call{}
	l.calls.Put(c)
}

// used is how many tokens the call took.
func (c *call) used(err error) int64 {
	switch {
	case c.usage.Known:
		return c.usage.Input + c.usage.Output
	case c.status >= 400 || c.status == 0 && !worked(err):
		return 0
	case known.Generates(c.op):
		return c.input + c.seen // a reply that was cut short, or that does not say
	case err != nil:
		return c.input
	default:
		return c.estimated
	}
}

// worked reports whether an upstream may have worked on a call that ended in an error
// before there was a reply. What it answered with an error it does not charge for.
// Where the client has left after the call was sent nobody knows.
func worked(err error) bool {
	if err == nil {
		return true
	}
	switch e := llm.AsError(err); e.Fault {
	case llm.Left, llm.Internal, llm.TimedOut, llm.Cut, llm.BadReply, llm.TooLarge, llm.Unusable, llm.Told:
		return !e.Unprocessed
	default:
		return false
	}
}

// Start implements llm.Sink.
func (c *call) Start(h *llm.Head) error {
	c.status, c.kind, c.outline = h.Status, h.Kind, h.Outline
	if c.kind == llm.Pieces && c.json && h.Status < 400 && speaksJSON(h.Get("Content-Type")) {
		c.pieces = new(usage.Reader)
	}
	return c.out.Start(h)
}

// Send implements llm.Sink.
func (c *call) Send(events []llm.Event) error {
	if c.json {
		c.look(events)
	}
	return c.out.Send(events)
}

// look finds out what the reply took, of which the last that says so tells, and
// counts what may be all there is to go by.
func (c *call) look(events []llm.Event) {
	for i := range events {
		raw := events[i].Raw
		switch {
		case c.kind == llm.EventStream:
			c.seen++ // most services send about a token in each
			if c.counts.Event(raw) {
				c.usage = c.counts.Usage()
			}
		case c.kind == llm.Unary:
			c.seen += int64(len(raw) / bytesPerToken)
			c.usage = usage.Of(raw, &c.outline)
		case c.pieces != nil:
			c.seen += int64(len(raw) / bytesPerToken)
			c.pieces.Feed(raw)
			c.usage = c.pieces.Usage()
		}
	}
}
