package upstream

import (
	"context"
	"errors"
	"io"
	"time"

	"sluice/internal/llm"
)

// Reply is one answer. It is used by one goroutine at a time.
type Reply struct {
	Status int
	// Header holds the end-to-end fields, names in canonical form. Hop-by-hop
	// fields are not among them, nor are Content-Length and, as the body comes
	// decoded, Content-Encoding. It is the caller's to keep until
	// the Reply is used again (Call.Into).
	Header []llm.Field
	// Trailer holds the trailer fields once Next has returned io.EOF, without
	// those that may not stand there. Over HTTP/2 fields beyond 64 KiB are lost.
	Trailer []llm.Field
	// Length is the body's length in bytes, -1 when unknown.
	Length int64
	// CloseDelimited says that the body ends where the connection does, so
	// that its end cannot be told from a cut.
	CloseDelimited bool
	// Queued is how long the call waited for its turn at a connection. To make one
	// takes no such time.
	Queued time.Duration

	client *Client
	ctx    context.Context //nolint:containedctx // the call's: it governs the body
	idle   time.Duration
	body   body
	h1     h1Body   // what body is, over HTTP/1.1
	coded  *decoder // nil: the body is not coded
	err    error    // how the reply ended
}

// body is a reply's body as one of the protocols brings it.
type body interface {
	// next returns the next bytes, waiting no longer than idle.
	next(idle time.Duration) ([]byte, error)
	// trailer returns the trailer fields, once next has returned io.EOF.
	trailer() []llm.Field
	// finish gives the connection back. whole says that next returned io.EOF.
	finish(p *pool, whole bool)
}

var errReplyClosed = errors.New("read reply: it was closed")

// Get returns the value of the first field with the given canonical name, ""
// when there is none.
func (r *Reply) Get(name string) string {
	for i := range r.Header {
		if r.Header[i].Name == name {
			return r.Header[i].Value
		}
	}
	return ""
}

// Next returns the body's next bytes, decoded, as they arrived together. They
// are valid until the next call. It returns io.EOF at the body's sound end,
// and never bytes and an error at once.
func (r *Reply) Next() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	var p []byte
	var err error
	if r.coded != nil {
		p, err = r.coded.next()
	} else {
		p, err = r.body.next(r.idle)
	}
	if err == nil {
		return p, nil
	}
	whole := err == io.EOF //nolint:errorlint // both return it unwrapped at a sound end
	if whole {
		r.Trailer = trailerFields(r.body.trailer())
	} else {
		err = r.explain(err)
	}
	r.end(err, whole)
	return nil, err
}

// explain makes an error of the body the caller's. The upstream has answered,
// so it did act on the request.
func (r *Reply) explain(err error) error {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e
	}
	err = r.client.explain(r.ctx, err)
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Unprocessed {
		e.Unprocessed, e.Fault, e.Code = false, llm.Cut, "upstream_cut"
	}
	return err
}

func (r *Reply) end(err error, whole bool) {
	if r.err != nil {
		return
	}
	r.err = err
	if r.coded != nil {
		r.coded.free()
		r.coded = nil
	}
	r.body.finish(r.client.pool, whole)
}

// Sent reports whether nothing of the call's body will be read any more. Over HTTP/2
// some of it may still be on its way.
func (r *Reply) Sent() bool { return r.h1.cn != nil }

// SetIdleTimeout changes how long each following call of Next may wait; it
// begins as Config.IdleTimeout.
func (r *Reply) SetIdleTimeout(d time.Duration) { r.idle = d }

// Gather waits for d, so that what comes meanwhile is read at once. That is
// cheaper than sleeping: over HTTP/1.1 the process is not woken in between.
func (r *Reply) Gather(d time.Duration) {
	if r.err == nil && r.h1.cn != nil {
		r.h1.cn.h1.Gather(d)
		return
	}
	time.Sleep(d)
}

// Close ends the reply; before the body's end it drops the connection (HTTP/2:
// resets the stream). Closing again does nothing.
func (r *Reply) Close() { r.end(errReplyClosed, false) }
