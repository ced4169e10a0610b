package front

import (
	"context"
	"errors"
	"os"

	"sluice/internal/llm"
)

// serveLive answers with the event stream of a route. That its client leaves,
// or that it is told to come again, is how such a stream ends, and no failure.
func (x *exchange) serveLive() error {
	ctx, cancel := context.WithCancel(x.e.Context())
	defer cancel()
	stop := context.AfterFunc(x.st.ended, cancel)
	defer stop()
	x.live = true
	x.s.asking.Add(-1)
	x.s.inFlight.Add(-1)
	x.s.aside.Add(1)
	out := live{out: &x.out, ctx: ctx}
	err := x.in.own.Handler.Serve(ctx, &x.in.req, &out)
	if errors.Is(out.err, os.ErrDeadlineExceeded) {
		x.out.unsent = out.err // of which finish takes note
	}
	over := ctx.Err() != nil || out.err != nil && errors.Is(err, out.err)
	switch {
	case err == nil, over && !x.left():
		x.out.startLive()
	case !x.out.wrote:
		return err
	case !over:
		x.rec.logFailure(llm.AsError(err), x.out.status)
	}
	return nil
}

// live is the Sink of such a stream. Nothing waits in it: who has no time for one
// event has the next.
type live struct {
	out *reply
	ctx context.Context
	err error // of a write
}

// Start implements llm.Sink.
func (l *live) Start(h *llm.Head) error {
	if h.Kind != llm.EventStream || h.Status != 200 {
		return errMisuse
	}
	return nil
}

// Send implements llm.Sink. It writes the head before the first events.
func (l *live) Send(events []llm.Event) error {
	for i := 0; i < len(events) && l.err == nil; i++ {
		if l.err = l.ctx.Err(); l.err == nil {
			l.out.startLive()
			l.err = l.out.write(events[i].Raw)
		}
	}
	return l.err
}

func (out *reply) startLive() {
	if out.started {
		return
	}
	out.started, out.rec.Stream, out.status = true, true, 200
	out.streamHead()
	out.head.Fields.Set("Cache-Control", "no-store")
}
