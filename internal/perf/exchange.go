package perf

import (
	"time"

	"sluice/internal/llm"
)

// Exchange is one request and its reply, as the front saw them. What it refers to
// is valid only until Observe returns.
type Exchange struct {
	ID      string // the request's
	Tenant  string
	Client  string // address and port
	Method  string
	Path    string // escaped, without the query
	Op      llm.Operation
	Own     bool // a request to the gateway itself, such as GET /v1/performance
	Stream  bool // the reply was an event stream
	Model   string
	Trace   Trace
	Begun   time.Time
	Status  int       // of the reply; 0 where the client left before there was one
	Code    string    // of the error that was told, "" for none
	Fault   llm.Fault // of that error
	Aborted string    // one of the Abort constants: why a reply did not reach its end; "" where it did
	Late    int       // status of the error that ended a reply that had begun, 0 for none
	Told    bool      // the stream's own events told of an error

	Upstream string // which answered, "" for none
	Attempts int    // how often upstreams were asked
	Cache    llm.CacheStatus

	Receiving time.Duration // until the whole request was read
	Waiting   time.Duration // for upstreams: of a stream, until its first event
	Queued    time.Duration // for its turn: to be admitted, for others to share a call with
	First     time.Duration // until the reply began; 0 where there was none
	Total     time.Duration // until it ended

	// Overhead is what the gateway itself added until the reply began: First less
	// Receiving, Waiting and Queued. HasOverhead is false where it is not known: of a
	// request that failed, or that waited for another's call.
	Overhead    time.Duration
	HasOverhead bool

	BytesIn, BytesOut int64 // of the bodies
	Usage             Usage
	Saved             int64 // of Usage.Input, what came from a cache though an upstream was asked for the rest

	Body, Reply []byte // where they were held whole
}

// Usage is how many tokens a reply says it took. Known is false where it says
// nothing.
type Usage struct {
	Known                 bool
	Input, Output, Cached int64 // Cached is a part of Input
}

// Observer is told of every exchange when it has ended, on the request's own
// goroutine: it does not block and keeps nothing of x.
type Observer interface {
	Observe(x *Exchange)
}
