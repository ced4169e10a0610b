package route

import (
	"context"

	"sluice/internal/llm"
)

// outcome is what became of one request at one upstream.
type outcome uint8

const (
	succeeded   outcome = iota
	rejected            // a status of 400 to 499, other than 429
	limited             // 429
	failed              // a status of 500 to 599
	unreachable         // no connection, or the request was refused unread
	busy                // its turn did not come, or would not in time: nothing was sent
	lacking             // the gateway could not connect, or read the reply, for want of its own resources
	timedOut            // nothing came in time
	cut                 // the reply ended early or was malformed
	cancelled           // the client left, maybe before anything was sent
	internal            // anything else: the client's end, or a fault of Sluice
	outcomes            // how many there are
)

func (o outcome) String() string {
	return [outcomes]string{"success", "rejected", "rate_limited", "failed", "unreachable", "busy", "lacking", "timeout", "cut", "cancelled", "internal"}[o]
}

// ofFault is the outcome that a fault of the transport's, or of Sluice's own, stands
// for. What an upstream told of itself stands for that of its status.
func ofFault(e *llm.Error) outcome {
	switch o := [llm.Faults]outcome{
		llm.Declined: internal, llm.Limited: internal, llm.Internal: internal, llm.Unavailable: internal, llm.ShuttingDown: internal,
		llm.Left:    cancelled,
		llm.Lacking: lacking,
		llm.Busy:    busy, llm.Replaced: busy, llm.TooLate: busy,
		llm.Unreachable: unreachable, llm.Refused: unreachable,
		llm.TimedOut: timedOut,
		llm.Cut:      cut, llm.BadReply: cut,
		llm.TooLarge: failed, llm.Unusable: failed,
		llm.Answered: rejected, llm.Told: rejected,
	}[e.Fault]; {
	case o != rejected:
		return o
	case e.Status == 429:
		return limited
	case e.Status >= 500 && e.Status != 501 && e.Status != 508: // these are about the request, which 508 says has gone in a circle
		return failed
	default:
		return rejected
	}
}

// classify says what err, which a handler returned, means. The context comes
// first: once it is done, an error tells nothing about the upstream, unless its own
// event told of it, at which clients leave.
func classify(ctx context.Context, err error) (outcome, *llm.Error) {
	if err == nil {
		return succeeded, nil
	}
	e := llm.AsError(err)
	if ctx.Err() != nil && e.Fault != llm.Told {
		return cancelled, e
	}
	return ofFault(e), e
}

// unsent reports whether a request that failed so was not sent: its turn did not come, its
// client left before, or the upstream does not have what it asks for.
func unsent(e *llm.Error) bool {
	return e != nil && (ofFault(e) == busy || e.Unoffered || e.Fault == llm.Left && e.Unprocessed)
}

// healthy reports whether an outcome shows that the upstream works; known is
// false where it shows nothing.
func (o outcome) healthy() (works, known bool) {
	switch o {
	case succeeded, rejected, limited:
		return true, true
	case failed, unreachable, timedOut, cut:
		return false, true
	default:
		return false, false
	}
}
