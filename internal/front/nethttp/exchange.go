package nethttp

import (
	"bytes"
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/memory"
)

// exchange is an engine.Exchange. It is used again for later requests, so that one
// costs no allocation.
type exchange struct {
	w   http.ResponseWriter
	r   *http.Request
	req engine.Request

	// framing are the values of Connection and Content-Length, which net/http takes
	// as slices.
	framing [2]string

	room  int64 // that is reserved for the head
	heads *memory.Account

	steps
}

var _ engine.Exchange = (*exchange)(nil)

// ServeHTTP has the Handler answer.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, ok := s.exchanges.Get().(*exchange)
	if !ok {
		x = new(exchange)
	}
	if !x.reserve(s.o.Buffers.Heads, r) {
		s.exchanges.Put(x)
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable) // a body might wait for the client
		return
	}
	x.w, x.r = w, r
	x.read(r)
	x.steps.open(w, r, x.req.Many(), s.o.WriteTimeout)
	ending := s.o.Handler.Answer(x)
	if x.many {
		x.conn.ended(r.Context().Err() == nil)
	}
	if ending != engine.Whole {
		x.abort(ending)
	}
	x.reset()
	s.exchanges.Put(x)
}

// A request of HTTP/2 takes some of these bytes before it is known whose it is, and its
// head as often as this: as it comes, as net/http has it, as it is read.
const streamBytes, headCopies = 4 << 10, 3

// alwaysHeads is what heads may take in any case, in bytes.
const alwaysHeads = 256 << 10

// reserve has memory for a request of HTTP/2, of which there may be many for each
// connection.
func (x *exchange) reserve(heads *memory.Account, r *http.Request) bool {
	if r.ProtoMajor < 2 {
		return true
	}
	size := len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	room := streamBytes + headCopies*int64(size)
	if heads.Held() < alwaysHeads { // so that probes are answered whatever is held
		heads.Hold(room)
	} else if !heads.Take(room) {
		return false
	}
	x.heads, x.room = heads, room
	return true
}

// give gives back what is reserved for the head.
func (x *exchange) give() {
	x.heads.Give(x.room)
	x.heads, x.room = nil, 0
}

// abort ends a reply that is not whole. It does not return: net/http knows no other
// way.
func (x *exchange) abort(ending engine.Ending) {
	if c, ok := x.r.Context().Value(connKey{}).(interface{ CloseWrite() error }); ok && ending == engine.Broken && !x.many {
		_ = c.CloseWrite()
		time.Sleep(engine.Linger)
	}
	x.give()
	panic(http.ErrAbortHandler)
}

// reset forgets the request, so that a pooled exchange keeps none of it alive.
func (x *exchange) reset() {
	x.w, x.r, x.req, x.framing = nil, nil, engine.Request{}, [2]string{}
	x.steps.reset()
	x.give()
}

// read takes over what a handler is told of a request. It is called for each, and
// sets one field after the other because a whole Request would be copied.
func (x *exchange) read(r *http.Request) {
	q := &x.req
	q.Method, q.Path, q.RawPath, q.RawQuery = r.Method, r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	q.Host, q.Remote, q.TLS, q.Major, q.Minor = r.Host, r.RemoteAddr, r.TLS != nil, r.ProtoMajor, r.ProtoMinor
	q.Header, q.Length, q.Last = Header(r.Header), r.ContentLength, lastOn(r)
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		q.Body = r.Body
	}
}

// Header is the header of a request of net/http's as an engine.Header.
type Header http.Header

// Values implements engine.Header.
func (h Header) Values(name string) []string { return h[name] }

// Each implements engine.Header.
func (h Header) Each(visit func(name string, values []string) bool) bool {
	for name, values := range h {
		if !visit(name, values) {
			return false
		}
	}
	return true
}

func (x *exchange) Request() *engine.Request { return &x.req }
func (x *exchange) Context() context.Context { return x.r.Context() }

// SetReadDeadline implements engine.Exchange. Any deadline would also end net/http's
// watch for the client's leaving, which begins with the body's end: whoever has
// read that takes the deadline back.
func (x *exchange) SetReadDeadline(t time.Time) {
	if c, ok := x.w.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = c.SetReadDeadline(t)
	}
}

// Duplex implements engine.Exchange. Without it net/http reads the rest of the body
// before it writes anything of a reply.
func (x *exchange) Duplex() {
	if c, ok := x.w.(interface{ EnableFullDuplex() error }); ok {
		_ = c.EnableFullDuplex()
	}
}

// Forget implements engine.Exchange.
func (x *exchange) Forget(keep func(name string, values []string) bool) {
	r := x.r
	maps.DeleteFunc(r.Header, func(name string, values []string) bool { return !keep(name, values) })
	r.URL, r.RequestURI, r.Host, r.Trailer = &url.URL{}, "", "", nil
	x.give()
}

// engineCounts is the length in bytes up to which net/http finds out the
// Content-Length by itself, without an allocation, where the reply leaves only after
// the handler.
const engineCounts = 2 << 10

func (x *exchange) Begin(h *engine.Head) {
	if h.Length >= 0 {
		x.contentLength(h.Length)
	}
	x.begin(h)
}

func (x *exchange) contentLength(n int64) {
	x.framing[1] = strconv.FormatInt(n, 10)
	x.w.Header()["Content-Length"] = x.framing[1:]
}

func (x *exchange) begin(h *engine.Head) {
	header := x.w.Header()
	typed := false
	for i := 0; i < h.Fields.Len(); {
		name, values := h.Fields.Run(i)
		header[name] = values
		typed = typed || name == "Content-Type"
		i += len(values)
	}
	if !typed {
		// Else net/http would look at the body and make one up (RFC 9110 section 8.3).
		header["Content-Type"] = nil
	}
	if h.Close {
		x.framing[0] = "close"
		header["Connection"] = x.framing[:1:1]
	}
	x.w.WriteHeader(h.Status)
}

func (x *exchange) Whole(h *engine.Head, b []byte) (int, error) {
	if len(b) > engineCounts || x.through && len(b) > 0 {
		x.contentLength(int64(len(b)))
	}
	x.begin(h)
	if len(b) >= engineBuffer && !x.through {
		return x.writeLarge(b)
	}
	return x.Write(b)
}

// Holds implements engine.Exchange.
func (x *exchange) Holds(n int) bool { return n < engineBuffer && !x.through }

// writeLarge writes a body that does not fit into net/http's buffer together
// with the reply's head.
func (x *exchange) writeLarge(b []byte) (int, error) {
	c, plain := x.r.Context().Value(connKey{}).(*conn)
	if plain { // else it is TLS, which makes records of its own
		c.join()
	}
	n, err := x.w.Write(b)
	if plain {
		if e := c.settle(); err == nil {
			err = e
		}
	}
	return n, err
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.many && x.r.Method == http.MethodHead {
		return len(b), nil // the head has ended the stream, or does: net/http would fail
	}
	if x.through {
		return x.steps.write(b)
	}
	return x.w.Write(b)
}

func (x *exchange) Flush() error {
	if x.through {
		return x.steps.flush()
	}
	return flush(x.w)
}

// Hijack implements engine.Exchange.
func (x *exchange) Hijack() (c net.Conn, early []byte, err error) {
	c, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Time{})
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ = rw.Reader.Peek(n)
	}
	return c, bytes.Clone(early), nil
}
