package front

import (
	"context"
	"errors"
	"net/http"
	"os"

	"sluice/internal/llm"
)

// serveLive answers with the event stream of a route. That its client leaves,
// or that it is told to come again, is how such a stream ends, and no failure.
func (x *exchange) serveLive() error {
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	stop := context.AfterFunc(x.st.ended, cancel)
	defer stop()
	x.live = true
	x.s.inFlight.Add(-1)
	x.s.aside.Add(1)
	out := live{x: x, ctx: ctx}
	err := x.own.Handler.Serve(ctx, &x.req, &out)
	if errors.Is(out.err, os.ErrDeadlineExceeded) {
		x.unsent = out.err // of which finish takes note
	}
	over := ctx.Err() != nil || out.err != nil && errors.Is(err, out.err)
	switch {
	case err == nil, over && x.r.Context().Err() == nil:
		x.startLive()
	case !x.wrote:
		return err
	case !over:
		x.logFailure(llm.AsError(err))
	}
	return nil
}

// live is the Sink of such a stream. Nothing waits in it: who has no time for one
// event has the next.
type live struct {
	x   *exchange
	ctx context.Context
	err error // of a write
}

// Start implements llm.Sink.
func (l *live) Start(h *llm.Head) error {
	if h.Kind != llm.EventStream || h.Status != http.StatusOK {
		return errMisuse
	}
	return nil
}

// Send implements llm.Sink. It writes the head before the first events.
func (l *live) Send(events []llm.Event) error {
	for i := 0; i < len(events) && l.err == nil; i++ {
		if l.err = l.ctx.Err(); l.err == nil {
			l.x.startLive()
			l.err = l.x.write(events[i].Raw)
		}
	}
	return l.err
}

func (x *exchange) startLive() {
	if x.started {
		return
	}
	x.started, x.record.Stream, x.status = true, true, http.StatusOK
	h := x.w.Header()
	x.set(h, "X-Request-Id", x.req.ID)
	x.allowOrigin(h)
	x.connectionHeader(h)
	x.streamHeader(h)
	x.set(h, "Cache-Control", "no-store")
}
