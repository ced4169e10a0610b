package perf

import "sluice/internal/llm"

// Class says in which way a request went wrong. There are few, so that each may be
// a label, an error.type of a span and a word in a line of the log.
type Class uint8

// The classes. Those from ServerError on are failures, of the gateway or of an
// upstream; those before are the client's own doing. docs/metrics.md says when a
// request is of which.
const (
	Sound Class = iota // nothing went wrong
	InvalidRequest
	Unauthorized
	NotFound
	RateLimited
	ClientLeft
	ClientSlow
	ServerError
	UpstreamError
	Timeout
	Cut
	StreamError
	Shutdown
	Classes // how many there are
)

// String gives the class' name, "" for Sound.
func (c Class) String() string {
	return [Classes]string{
		"", "invalid_request", "unauthorized", "not_found", "rate_limited", "client_left", "client_slow",
		"server_error", "upstream_error", "timeout", "cut", "stream_error", "shutdown",
	}[c]
}

// Failed reports whether a request of the class failed by the gateway's or an
// upstream's doing.
func (c Class) Failed() bool { return c >= ServerError }

// Why a reply did not reach its end.
const (
	AbortClient   = "client_left"
	AbortSlow     = "write_timeout" // the client took nothing for that long
	AbortUpstream = "upstream"
	AbortShutdown = "shutdown" // the drain's time was up
	AbortRequest  = "request"  // what the client still sent is faulty
	AbortInternal = "internal" // a fault of the gateway
	AbortIdle     = "idle"     // a WebSocket in which nothing was sent for too long
	AbortLimit    = "limit"    // a WebSocket in which more was sent than one may carry
)

// Class says in which way the request went wrong. Every figure, alarm, line and
// span asks here, so that they agree.
func (x *Exchange) Class() Class {
	if x.Told { // and the client may have left for it
		return StreamError
	}
	switch x.Aborted {
	case AbortClient:
		return ClientLeft
	case AbortSlow:
		return ClientSlow
	case AbortShutdown:
		return Shutdown
	}
	status := max(x.Status, x.Late)
	switch {
	case status >= 500:
		return x.serverClass()
	case status >= 400:
		return clientClass(status)
	case x.Aborted != "":
		return x.serverClass()
	case status == 0:
		return ClientLeft
	default:
		return Sound
	}
}

// Failed reports whether the request failed by the gateway's or an upstream's
// doing.
func (x *Exchange) Failed() bool { return x.Class().Failed() }

func (x *Exchange) serverClass() Class {
	if x.Upstream == "" || x.Aborted == AbortInternal {
		return ServerError
	}
	c := classOf(x.Fault)
	if c == UpstreamError && x.Aborted != "" {
		return Cut
	}
	return c
}

// classOf is the class of a request that an upstream was asked for and that ended
// in a fault, before the reply had begun.
func classOf(f llm.Fault) Class {
	return [llm.Faults]Class{
		llm.Left:     ServerError, // a client that is still there was told of it
		llm.Internal: ServerError, llm.Unavailable: ServerError, llm.Lacking: ServerError, llm.ShuttingDown: ServerError,
		llm.Declined: UpstreamError, // for what the upstream cannot do
		llm.Limited:  UpstreamError, // which no upstream is asked for
		llm.Busy:     UpstreamError, llm.Replaced: UpstreamError, llm.TooLate: UpstreamError, llm.Unreachable: UpstreamError, llm.Refused: UpstreamError,
		llm.TimedOut: Timeout,
		llm.Cut:      UpstreamError, llm.BadReply: UpstreamError, llm.TooLarge: UpstreamError, llm.Unusable: UpstreamError,
		llm.Answered: UpstreamError, llm.Told: UpstreamError,
	}[f]
}

func clientClass(status int) Class {
	switch status {
	case 401, 403:
		return Unauthorized
	case 404:
		return NotFound
	case 429:
		return RateLimited
	default:
		return InvalidRequest
	}
}
