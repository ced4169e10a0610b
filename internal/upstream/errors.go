package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http2"

	"sluice/internal/llm"
	"sluice/internal/upstream/http1"
)

// errStalled cancels an HTTP/2 stream whose peer let a deadline pass.
var errStalled = errors.New("nothing came in time")

// failure makes the error that a caller gets.
func (c *Client) failure(f llm.Fault, status int, code, message string, cause error) *llm.Error {
	return llm.UpstreamError(c.opts.Name, f, status, code, message, cause)
}

func (c *Client) unprocessed(f llm.Fault, status int, code, message string, cause error) *llm.Error {
	e := c.failure(f, status, code, message, cause)
	e.Unprocessed = true
	return e
}

// over ends the calls of a Client that was closed: a new configuration took
// its place.
func (c *Client) over() error {
	e := c.unprocessed(llm.Replaced, 503, "upstream_closed", "Upstream %s was reconfigured. Try again.", nil)
	e.RetryAfter = time.Second
	return e
}

// late says that a call's deadline came before it had a connection.
func (c *Client) late() error {
	c.stats.poolLate.Add(1)
	return llm.Late()
}

// busy says that no connection came free in time.
func (c *Client) busy() error {
	c.stats.poolTimeouts.Add(1)
	e := c.unprocessed(llm.Busy, 503, "upstream_busy", "All connections to upstream %s are in use. Try again shortly.", nil)
	e.RetryAfter = time.Second
	return e
}

const unreachable = "Upstream %s could not be reached."

// dialFailure explains why no connection could be made.
func (c *Client) dialFailure(err error) error {
	if s := shortageOf(err); s != nil {
		c.lacked(s)
		return overloaded(err)
	}
	c.stats.dialFailures.Add(1)
	if isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return c.unprocessed(llm.TimedOut, 504, "upstream_timeout", "Upstream %s did not accept a connection in time.", err)
	}
	e := c.unprocessed(llm.Unreachable, 502, "upstream_unreachable", unreachable, err)
	if e.Hint = hintOf(err); c.cfg.H2C && c.opts.BaseURL.Scheme == "http" && isClosed(err) {
		e.Hint = hintClosed // as HTTP/2 was to begin
	}
	return e
}

// explain turns an error of an exchange into the caller's. The context comes
// first: once it is done the connection was closed under the exchange, and
// whatever that led to says nothing about the upstream.
func (c *Client) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e, ok := errors.AsType[*http1.RequestError](err); ok {
		return &llm.Error{Fault: llm.Declined, Status: 400, Type: llm.TypeInvalidRequest, Code: "invalid_request", Message: "The request cannot be sent: " + e.Reason + ".", Err: err}
	}
	if e, ok := errors.AsType[*http1.BodyError](err); ok {
		return e // the sender's fault, or the sender's error
	}
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e // a buffer was refused
	}
	if e, ok := errors.AsType[*http1.ProtocolError](err); ok {
		return c.failure(llm.BadReply, 502, "upstream_bad_reply", "The reply of upstream %s is malformed.", e)
	}
	if isTimeout(err) || errors.Is(err, errStalled) {
		return c.failure(llm.TimedOut, 504, "upstream_timeout", "Upstream %s did not answer in time.", err)
	}
	if notProcessed(err) {
		return c.unprocessed(llm.Refused, 502, "upstream_refused", "Upstream %s refused the request unread.", err)
	}
	if malformed(err) {
		return c.failure(llm.BadReply, 502, "upstream_bad_reply", "The reply of upstream %s is malformed.", err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == alertOp {
		return c.failure(llm.Cut, 502, "upstream_cut", "Upstream %s ended the connection by an alert of TLS. It may ask for another certificate; see http_client.tls.", err)
	}
	return c.failure(llm.Cut, 502, "upstream_cut", "Upstream %s ended the connection before its reply was complete.", err)
}

// alertOp is what crypto/tls calls the receipt of an alert. With TLS 1.3 it is how a
// server refuses a client's certificate, or the lack of one, after the handshake.
const alertOp = "remote error"

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// isClosed reports whether err is what a connection gives that its peer had
// closed. HTTP/2 connections give errors of the first kind.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED)
}

// The library's errors for streams that never began or that a GOAWAY excluded
// (RFC 9113 section 6.8) have no type or name that can be reached. A test
// brings each about, so a change of the text shows.
const (
	textUnusable = "http2: client conn not usable"
	textGoAway   = "http2: Transport received Server's graceful shutdown GOAWAY"
	textNotMade  = "http2: client conn could not be established"

	textTooMuch = "net/http: server replied with more than declared Content-Length; truncated"
	textOfPeer  = "received from peer" // the cause of a reset that the upstream sent

	textNeedsHTTP1 = "http2: Transport received GOAWAY from server ErrCode:HTTP_1_1_REQUIRED"
)

// notProcessed reports whether an HTTP/2 error says that the upstream did not
// and will not act on the request (RFC 9113 section 8.7).
func notProcessed(err error) bool {
	if se, ok := errors.AsType[http2.StreamError](err); ok {
		return se.Code == http2.ErrCodeRefusedStream || se.Code == http2.ErrCodeHTTP11Required
	}
	return connectionOver(err) || needsHTTP1(err)
}

// malformed reports whether an HTTP/2 error is what the library says of frames or
// fields that no upstream may send, and not what an upstream or the network did to
// the stream or the connection.
func malformed(err error) bool {
	if se, ok := errors.AsType[http2.StreamError](err); ok {
		return se.Cause == nil || se.Cause.Error() != textOfPeer
	}
	_, ok := errors.AsType[http2.ConnectionError](err)
	return ok || errors.Is(err, http2.ErrFrameTooLarge) || hasText(err, textTooMuch)
}

// needsHTTP1 reports whether the upstream refused a request because it was sent
// over HTTP/2, with a reset of its stream or as it closed the connection (RFC
// 9113 section 7).
func needsHTTP1(err error) bool {
	if se, ok := errors.AsType[http2.StreamError](err); ok {
		return se.Code == http2.ErrCodeHTTP11Required
	}
	if ga, ok := errors.AsType[http2.GoAwayError](err); ok {
		return ga.ErrCode == http2.ErrCodeHTTP11Required
	}
	return hasText(err, textNeedsHTTP1)
}

// connectionOver reports whether the request missed its HTTP/2 connection:
// that was closed or closing, and the same request goes over a new one.
func connectionOver(err error) bool {
	return hasText(err, textUnusable, textGoAway, textNotMade)
}

func hasText(err error, texts ...string) bool {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if slices.Contains(texts, e.Error()) {
			return true
		}
	}
	return false
}

// Clip shortens a text that an upstream said to what a message may hold, in bytes, at the
// end of a character.
func Clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s[:max(len(s)-1, 0)] + "…"
}
