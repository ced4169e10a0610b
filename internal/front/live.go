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
	var unsent error
	err := x.own.Stream(x.r.WithContext(ctx), func(b []byte) error {
		if unsent == nil {
			unsent = x.sendLive(ctx, b)
		}
		return unsent
	})
	if errors.Is(unsent, os.ErrDeadlineExceeded) {
		x.unsent = unsent // of which finish takes note
	}
	over := ctx.Err() != nil || unsent != nil && errors.Is(err, unsent)
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

// sendLive writes events, and before the first ones the head.
func (x *exchange) sendLive(ctx context.Context, b []byte) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	x.startLive()
	return x.write(b)
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
