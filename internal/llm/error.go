package llm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The error types of the OpenAI API.
const (
	TypeInvalidRequest = "invalid_request_error"
	TypeAuthentication = "authentication_error"
	TypePermission     = "permission_error"
	TypeRateLimit      = "rate_limit_error"
	TypeServer         = "server_error"
	TypeUpstream       = "upstream_error"
)

// CodeUpstream is the code of an upstream's error that has none of its own.
const CodeUpstream = "upstream_error"

// Error is the one error that is meant for a client. Any other error is
// internal: its text is logged with the request's id and the client is told
// no more than that.
type Error struct {
	Fault   Fault  // what kind of failure it is
	Status  int    // HTTP status, 400 to 599
	Type    string // one of the Type constants, or an upstream's own
	Code    string // for the client, see Fault; "" is written as null
	Message string // for the client: says what to do; never holds a secret
	Param   string // "" is written as null

	// Allow lists the methods that are supported, where the status is 405.
	Allow string
	// RetryAfter is how long the client should wait; 0 when unknown.
	RetryAfter time.Duration

	// Advice is what the client is told of sending the request again, besides
	// what follows from the status.
	Advice Advice

	// Reply is the upstream's own error reply, when there was one and it is
	// shaped as OpenAI's errors are. It goes to the client instead of the
	// fields above.
	Reply *ErrorReply

	// Header has further fields of the upstream's reply that the client may see, where
	// Reply is nil.
	Header []Field

	// Upstream names the upstream that failed, "" when Sluice itself did.
	Upstream string

	// Unprocessed says that the upstream cannot have acted on the request, or
	// says that it did not, so that the request may be sent again.
	Unprocessed bool

	// Unoffered says that the upstream has not what is asked for, as is known without asking
	// it: another one may have. Nothing was sent.
	Unoffered bool

	// Final says that the upstream ended the request with a status of another protocol's,
	// for which Status only stands, and may have acted on it: it goes nowhere else,
	// whatever one such as 502 means in the head of a reply.
	Final bool

	// Ended says of an error that was Told that the upstream ended its stream as a
	// whole one. Where events had been sent before, the client has the one that told
	// of it too (its Failed is true), and nothing is added to it: the stream ends as
	// its upstream ended it.
	Ended bool

	// Attempts is how often upstreams were asked before the request failed, and
	// Waited how long it waited for them.
	Attempts int
	Waited   time.Duration

	// Queued is how long it waited for its turn, as in Head.
	Queued time.Duration

	// Hint says what is probably wrong, to those who run the gateway: it is logged, and in
	// the report of the upstream's health, and never reaches a client.
	Hint string

	// Err is the cause. It is logged and never reaches a client.
	Err error
}

// Advice is whether a request that failed should be sent again, as X-Should-Retry
// says it. OpenAI's SDKs go by it before they look at the status.
type Advice uint8

const (
	NoAdvice   Advice = iota
	SendAgain         // X-Should-Retry: true
	DoNotRetry        // X-Should-Retry: false
)

// ErrorReply is an error as an upstream sent it, owned by the receiver. The
// upstream's key has been removed from it.
type ErrorReply struct {
	Header []Field
	Body   []byte
}

// Error gives the message and the cause, for logs.
func (e *Error) Error() string {
	s := e.Message
	if e.Upstream != "" && !strings.Contains(s, "`"+e.Upstream+"`") {
		s = "upstream " + e.Upstream + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Named reports whether Code says more than Status does.
func (e *Error) Named() bool { return e.Code != "" && e.Code != CodeUpstream }

// Errorf makes an Error of Sluice's own with the given status, code and
// message. Its type follows from the status as OpenAI's do, and its fault is
// Declined: whoever means another one sets it.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Type: TypeOf(status), Code: code, Message: fmt.Sprintf(format, args...)}
}

// UpstreamError makes the Error of an upstream that failed. message has a %s where
// the upstream's name belongs: a client that may be answered by several has to know
// which one it was.
func UpstreamError(name string, f Fault, status int, code, message string, cause error) *Error {
	return &Error{
		Fault: f, Status: status, Type: TypeUpstream, Code: code, Message: strings.Replace(message, "%s", "`"+name+"`", 1),
		Upstream: name, Err: cause,
	}
}

// After gives an error, as AsError does, with what its call had gone through before:
// how long it waited for its turn and for replies, and how often upstreams were asked.
// Where that is nothing it is err; else another one, since others may have err too. It
// stays out of the frames of its callers, which stand on the stacks of streams.
//
//go:noinline
func After(err error, queued, waited time.Duration, attempts int) error {
	if err == nil || queued == 0 && waited == 0 && attempts == 0 {
		return err
	}
	more := *AsError(err)
	more.Queued += queued
	more.Waited += waited
	more.Attempts += attempts
	return &more
}

// TypeOf gives the error type that OpenAI uses with a status.
func TypeOf(status int) string {
	switch {
	case status == 401:
		return TypeAuthentication
	case status == 403:
		return TypePermission
	case status == 429:
		return TypeRateLimit
	case status >= 500:
		return TypeServer
	default:
		return TypeInvalidRequest
	}
}

// AsError returns err as an Error. One that is not an Error becomes a 500
// whose message tells a client nothing; it is kept as the cause. That of a context
// which ended has the fault Left, any other Internal.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return untold(Left, err)
	}
	return untold(Internal, err)
}

// Unsent is the error of a request that was not sent, because its context ended while it
// waited for its turn. err is that of the context, or its cause.
func Unsent(err error) *Error {
	e := untold(Left, err)
	e.Unprocessed = true
	return e
}

func untold(f Fault, cause error) *Error {
	return &Error{Fault: f, Status: 500, Type: TypeServer, Code: "internal_error", Message: "The gateway failed to handle the request.", Err: cause}
}
