// Package engine is the edge between the HTTP surface and what speaks HTTP to
// clients. Above it nothing knows how bytes come and go; below it nothing knows
// what they mean. An engine is chosen in one place, and several can be beside each
// other, one for each version of the protocol.
//
// An engine promises that a request which it hands over is framed beyond doubt,
// or else is the last of its connection; that a client which takes no byte of a
// reply for the write time-out is given up; that an exchange's context is done
// when its client has left; and that a reply which is not whole never looks whole.
package engine

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"sluice/internal/memory"
	"sluice/internal/perf"
)

// Engine speaks HTTP on the connections of a listener. Its methods are safe for
// concurrent use. The figures are those of its connections.
type Engine interface {
	perf.Source

	// Serve answers requests on what l accepts until the Engine is shut down or
	// closed, and then returns nil. A connection of l may have a method NetConn with
	// the one beneath, to be read and written in its place; it is closed itself.
	Serve(l net.Listener) error

	// Shutdown closes the listener and the connections that have no request, and
	// waits for the other ones until ctx is done.
	Shutdown(ctx context.Context) error

	// Close closes the listener and all connections.
	Close() error

	// Shed has the connection closed that has been without a whole head of a request for
	// longest, and reports whether there is one.
	Shed() bool
}

// Options are what an Engine is made of.
type Options struct {
	Handler Handler
	Log     *slog.Logger    // told of the doing of clients: failed handshakes, garbage
	Buffers *memory.Buffers // nil for its own
	Base    context.Context // whose end, and cause, every exchange's context has
	TLS     *tls.Config     // nil for cleartext

	// Room reserves n bytes that a connection takes beyond what whoever accepted it has
	// reserved; without room for it the engine closes it. Give gives them back. Both are
	// nil where connections have no bound.
	Room func(n int64) bool
	Give func(n int64)

	// MaxHeaderBytes bounds a request's head, ReadHeaderTimeout the time that it
	// takes to come, and IdleTimeout the time without a request.
	MaxHeaderBytes                 int
	ReadHeaderTimeout, IdleTimeout time.Duration

	// WriteTimeout is asked for with each connection, and with each request where one
	// connection may have many of them.
	WriteTimeout func() time.Duration
}

// Handler answers exchanges.
type Handler interface {
	// Answer answers one exchange and says how its reply ends. It is called from many
	// goroutines, and uses nothing of x after it has returned. One that panics has
	// its reply ended as Cut.
	Answer(x Exchange) Ending
}

// Ending is how a reply ends.
type Ending uint8

const (
	// Whole is a reply of which all was given. Where a call has failed that does not make
	// it one.
	Whole Ending = iota

	// Cut is one that ends before its end, so that its client sees that: over HTTP/1.1
	// without the last chunk and with the connection, over HTTP/2 with RST_STREAM
	// (INTERNAL_ERROR). Nothing more is sent.
	Cut

	// Broken is Cut, of a reply whose last words, an error event, the client should
	// still read, while it may be sending more of the request than anybody reads: the
	// kernel resets such a connection when it is closed, and what is on its way is lost.
	Broken
)

// Exchange is one request and the way of its reply. Where nothing else is said its
// methods are for one goroutine at a time.
type Exchange interface {
	// Request is what was asked. It is the same at each call.
	Request() *Request

	// Context is done when the client has left, from when the request's body has been
	// read, and when the Engine's base is.
	Context() context.Context

	// SetReadDeadline bounds the reading of the body; the zero time takes the bound
	// back. Where the deadline is over, reading fails with os.ErrDeadlineExceeded. An
	// engine that reads what is left of a body before it answers is bound by it too.
	SetReadDeadline(t time.Time)

	// Duplex has the reply begin before all of the request's body was read. Without
	// it an engine may read the rest first.
	Duplex()

	// Forget lets go of what the engine holds of the request besides what the Request
	// holds: of its header only the fields remain for which keep says so.
	Forget(keep func(name string, values []string) bool)

	// Begin gives the head of a reply that comes in pieces or has no body. It leaves
	// with the first piece, with Flush or at the end. An engine that needs no length may
	// find one out where none was given. What is given for a HEAD stays here.
	Begin(h *Head)

	// Write gives a piece of the body, which an engine may hold back until Flush. An
	// error, os.ErrDeadlineExceeded where the client was given up, says that it takes
	// no more; soon after, the context is done.
	Write(b []byte) (int, error)
	Flush() error

	// Whole gives the whole reply at once, in place of Begin and Write. Its length is
	// b's, whatever the Head says. n counts b.
	Whole(h *Head, b []byte) (n int, err error)

	// Holds reports whether a whole reply of n bytes will leave only when the handler
	// has returned.
	Holds(n int) bool

	// Hijack gives the connection away, in place of a reply, with what was read of it
	// already and with no deadline. It fails where a connection has many exchanges.
	Hijack() (c net.Conn, early []byte, err error)

	// Follow has f told of the reply's progress, and has each Write leave before it
	// returns, so that nothing of the body is left to be written after the handler. It
	// is called before the reply begins.
	Follow(f Follower)

	// GiveUp gives the client up: the reply ends and its writes fail. It may be called
	// from any goroutine, until the handler returns. GivenUp reports whether that was
	// done, by an engine too that ends one of many replies of a connection for its
	// time-out; any goroutine may ask.
	GiveUp()
	GivenUp() bool
}

// Follower is told that some of a reply has left: by whoever calls Write, Flush or
// Whole, before that returns, and so never after the handler has. It may wait for
// somebody who is calling GiveUp, so an engine has no lock of GiveUp's meanwhile.
type Follower interface{ Moved() }

// Linger is how long a client has for the last bytes of a connection that is closed
// while there is something in it that nobody has read: the kernel then resets it, and
// whatever is on its way is lost. An engine may wait for longer.
const Linger = 500 * time.Millisecond
