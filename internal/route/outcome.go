package route

import (
	"context"
	"errors"

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
	busy                // no connection came free
	lacking             // the gateway could not connect, for want of its own resources
	timedOut            // nothing came in time
	cut                 // the reply ended early or was malformed
	cancelled           // the client left
	internal            // anything else: the client's end, or a fault of Sluice
	outcomes            // how many there are
)

func (o outcome) String() string {
	return [outcomes]string{"success", "rejected", "rate_limited", "failed", "unreachable", "busy", "lacking", "timeout", "cut", "cancelled", "internal"}[o]
}

// The codes of errors that the transport makes. An upstream that answered with
// one of them itself has a Reply.
const (
	codeTimeout  = "upstream_timeout"
	codeCut      = "upstream_cut"
	codeBadReply = "upstream_bad_reply"
	codeBusy     = "upstream_busy"
	codeClosed   = "upstream_closed"
	codeLacking  = "gateway_overloaded"
)

// classify says what err, which a handler returned, means. The context comes
// first: once it is done, an error tells nothing about the upstream, unless its own
// event told of it, at which clients leave.
func classify(ctx context.Context, err error) (outcome, *llm.Error) {
	if err == nil {
		return succeeded, nil
	}
	e, ok := errors.AsType[*llm.Error](err)
	own := ok && !e.Answered && !e.Told // the code is one of the transport's
	switch {
	case ctx.Err() != nil && !(ok && e.Told):
		return cancelled, e
	case !ok:
		return internal, nil
	case own && (e.Code == codeBusy || e.Code == codeClosed):
		return busy, e
	case own && e.Code == codeLacking:
		return lacking, e
	case own && e.Code == codeTimeout:
		return timedOut, e
	case own && (e.Code == codeCut || e.Code == codeBadReply):
		return cut, e
	case own && e.Unprocessed && e.Type == llm.TypeUpstream:
		return unreachable, e
	case own && (e.Type != llm.TypeUpstream || e.Status < 500 || e.Status == 501):
		return internal, e // Sluice refused it itself
	case e.Status == 429:
		return limited, e
	case e.Status >= 500 && e.Status != 501: // 501 is about the request
		return failed, e
	default:
		return rejected, e
	}
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
