//go:build linux

package lean

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/front/lean/wire"
	"sluice/internal/jsonscan"
	"sluice/internal/lifetime"
	"sluice/internal/llm"
)

// exchange is an engine.Exchange. It is used again for later requests, and no
// connection that waits has one.
type exchange struct {
	c    *conn
	head *wire.Head // nil once nothing of it is needed
	req  engine.Request
	ctx  *lifetime.Context
	in   body
	out  reply

	// Whether the client waits to be told to send its body. mu keeps that apart from
	// the reply.
	expects atomic.Int32
	mu      sync.Mutex
}

// What becomes of Expect: 100-continue.
const (
	unasked = iota // there is none, or the client did not wait
	waits
	told
	refused // the reply came first
)

var _ engine.Exchange = (*exchange)(nil)

func (s *Server) exchange(c *conn) *exchange {
	x, ok := s.exchanges.Get().(*exchange)
	if !ok {
		x = new(exchange)
		x.in.x = x
	}
	if x.head == nil {
		if x.head, ok = s.heads.Get().(*wire.Head); !ok {
			x.head = new(wire.Head)
		}
	}
	x.c = c
	x.head.Reset(wire.Limits{Head: s.o.MaxHeaderBytes, Line: s.o.MaxHeaderBytes})
	return x
}

// forget makes it one for other requests.
func (s *Server) forget(x *exchange) {
	x.c, x.req, x.ctx, x.out = nil, engine.Request{}, nil, reply{}
	x.in.reset()
	x.expects.Store(unasked)
	if x.head != nil {
		x.head.Reset(wire.Limits{})
	}
	s.exchanges.Put(x)
}

// answerNext reads a request, of which something has come, and answers it. It reports
// whether another one may follow.
func (c *conn) answerNext() (more bool) {
	x := c.server.exchange(c)
	defer c.server.forget(x)
	return x.begins() && x.ends(x.answer())
}

// begins reads the head of the request, and answers it where it cannot be read. It
// reports whether there is a request.
func (x *exchange) begins() bool {
	err := x.readHead()
	x.c.asking.Store(false)
	if r, ok := errors.AsType[*wire.Refusal](err); ok {
		c := x.c
		c.server.o.Log.Debug("request refused", "client", c.remote, "error", err)
		x.refuse(r)
		c.linger()
	}
	return err == nil
}

// ends ends the reply and what there is of the request. It reports whether another one
// may follow.
func (x *exchange) ends(ending engine.Ending) (more bool) {
	c := x.c
	if c.hijacked.Load() {
		return false
	}
	more = x.conclude(ending)
	switch {
	case more && x.drain():
		return true
	case ending == engine.Cut || x.out.err != nil || !x.out.began:
	case ending == engine.Broken, !x.in.whole.Load(), c.buf != nil:
		c.linger()
	}
	return false
}

// readHead reads up to the end of a request's head. An error that is no
// *wire.Refusal is that nothing more came.
func (x *exchange) readHead() error {
	c := x.c
	defer func() { c.headTimed = false }()
	for {
		n, err := x.head.Parse(c.unread())
		if err != nil {
			return err
		}
		if n > 0 {
			c.consume(n)
			return nil
		}
		if !c.headTimed {
			c.headTimed = true
			c.reading.set(c.server.clock.Now() + c.server.o.ReadHeaderTimeout)
		}
		c.shrink()
		have := len(c.unread())
		if err := c.room(have + 1); err != nil {
			return err
		}
		if err := c.fillHead(); err != nil {
			return err
		}
	}
}

// refuse answers what cannot be read.
func (x *exchange) refuse(r *wire.Refusal) {
	x.out.Reply = wire.Reply{Minor: 1, Close: true}
	h := engine.Head{Status: r.Status}
	h.Fields.Set("Content-Type", "application/json")
	_, _ = x.Whole(&h, append(jsonscan.AppendError(nil, llm.Errorf(r.Status, r.Code, "%s", r.Reason)), '\n'))
}

// answer has the Handler answer. It, and what is below it, takes little of the stack:
// it is there as long as a stream lasts.
func (x *exchange) answer() (ending engine.Ending) {
	x.prepare()
	defer x.c.finished()
	defer x.recovered(&ending)
	return x.c.server.o.Handler.Answer(x)
}

// recovered has the reply of a Handler that panics end as cut.
func (x *exchange) recovered(ending *engine.Ending) {
	if p := recover(); p != nil {
		x.c.server.o.Log.Error("handler panicked", "panic", p, "stack", string(debug.Stack()))
		*ending = engine.Cut
	}
}

// prepare makes the exchange ready for the Handler.
func (x *exchange) prepare() {
	c := x.c
	x.head.Request(&x.req)
	x.req.Remote, x.req.TLS = c.remote, c.seal != nil
	x.out.Reply = x.head.Reply()
	x.ctx = new(lifetime.Context)
	c.begins(x.ctx)
	if x.in.begin(x.head); !x.in.whole.Load() {
		x.req.Body = &x.in
		c.reading.set(0)
		if x.head.Continue && c.buf == nil {
			x.expects.Store(waits)
		}
	} else {
		c.wasRead()
	}
}

// Request implements engine.Exchange.
func (x *exchange) Request() *engine.Request { return &x.req }

// Context implements engine.Exchange.
func (x *exchange) Context() context.Context { return x.ctx }

// SetReadDeadline implements engine.Exchange.
func (x *exchange) SetReadDeadline(t time.Time) {
	at := time.Duration(0)
	if !t.IsZero() {
		at = max(x.c.server.clock.At(t), 1)
	}
	x.c.reading.set(at)
}

// Duplex implements engine.Exchange. A reply never waits for the request.
func (x *exchange) Duplex() {}

// Forget implements engine.Exchange. A head of which nothing is left is for other
// requests to be read into: it is the largest part of an exchange that waits.
func (x *exchange) Forget(keep func(name string, values []string) bool) {
	if x.head == nil {
		return
	}
	if x.head.Forget(keep); x.head.Len() > 0 {
		return
	}
	x.head.Reset(wire.Limits{})
	x.c.server.heads.Put(x.head)
	x.head, x.req.Header = nil, noHeader{}
}

// noHeader is a header without a field.
type noHeader struct{}

func (noHeader) Values(string) []string                { return nil }
func (noHeader) Each(func(string, []string) bool) bool { return true }

// Hijack implements engine.Exchange.
func (x *exchange) Hijack() (nc net.Conn, early []byte, err error) {
	c := x.c
	if x.out.began {
		return nil, nil, errTwice
	}
	x.out.began = true
	c.mu.Lock()
	c.hijacked.Store(true)
	c.awaits = false
	c.mu.Unlock()
	if c.seal != nil {
		c.seal.lookAway()
	}
	early = bytes.Clone(c.unread())
	c.clear()
	c.server.watcher.drop(c.raw)
	c.reading.set(0)
	return &hijacked{Conn: c.nc, c: c}, early, nil
}

// hijacked is a connection that was given away. The time-out for writes stays.
type hijacked struct {
	net.Conn
	c       *conn
	reading sync.Mutex // of a Read, which a net.Conn may have several of
}

// Read implements net.Conn.
func (h *hijacked) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	h.reading.Lock()
	defer h.reading.Unlock()
	return h.c.read(b)
}

// Write gives a client up that takes nothing for the time-out.
func (h *hijacked) Write(b []byte) (int, error) { return h.c.write(h.c.server.clock.Now(), b) }

// SetWriteDeadline can end all writing.
func (h *hijacked) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() && !t.After(time.Now()) {
		h.c.giveUp()
		return nil
	}
	return h.c.nc.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (h *hijacked) SetDeadline(t time.Time) error {
	return errors.Join(h.c.nc.SetReadDeadline(t), h.SetWriteDeadline(t))
}

// CloseWrite ends what is written and leaves the rest.
func (h *hijacked) CloseWrite() error { return h.c.closeWrite() }

// Close implements net.Conn.
func (h *hijacked) Close() error {
	h.c.server.remove(h.c)
	if h.c.seal != nil {
		return h.c.seal.close(true)
	}
	return h.c.outer.Close()
}

// body is a request's body.
type body struct {
	x      *exchange
	wire   wire.Body
	length int64       // to come, where that is announced; else -1
	whole  atomic.Bool // it was read to its end, or there is none
	err    error
}

func (b *body) reset() {
	b.wire, b.length, b.err = wire.Body{}, 0, nil
	b.whole.Store(false)
}

func (b *body) begin(h *wire.Head) {
	b.length = h.Length
	b.whole.Store(b.length == 0)
	if b.length < 0 {
		b.wire.Begin(h)
	}
}

// Read implements io.Reader. The end comes with the last bytes.
func (b *body) Read(p []byte) (n int, err error) {
	switch {
	case b.whole.Load():
		return 0, io.EOF
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	b.x.askForBody()
	if b.length < 0 {
		n, err = b.readChunks(p)
	} else {
		n, err = b.readLength(p)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if b.err = err; err == nil && b.ended() {
		b.whole.Store(true)
		b.x.c.wasRead()
		return n, io.EOF
	}
	return n, err
}

func (b *body) ended() bool { return b.length == 0 || b.length < 0 && b.wire.Whole() }

// readLength takes what was read, or reads to where it is wanted.
func (b *body) readLength(p []byte) (n int, err error) {
	c := b.x.c
	if p = p[:min(int64(len(p)), b.length)]; c.buf != nil {
		n = copy(p, c.unread())
		c.consume(n)
	} else if n, err = c.read(p); err != nil {
		return 0, err
	}
	b.length -= int64(n)
	return n, nil
}

// readChunks takes as many chunks as were read and fit.
func (b *body) readChunks(p []byte) (n int, err error) {
	c := b.x.c
	for n == 0 && !b.wire.Whole() {
		if c.buf == nil {
			if err := c.fill(); err != nil {
				return 0, err
			}
		}
		for n < len(p) && c.buf != nil && !b.wire.Whole() {
			// No more than the data of which there is room for.
			data, used, err := b.wire.Next(c.unread()[:min(len(c.unread()), len(p)-n)])
			n += copy(p[n:], data)
			c.consume(used)
			if err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// askForBody tells a client that waits for it to send its body, unless the reply
// has begun.
func (x *exchange) askForBody() {
	if x.expects.Load() != waits {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.expects.CompareAndSwap(waits, told) {
		_, _ = x.c.write(x.c.server.clock.Now(), []byte(wire.Continue))
	}
}

// refuseToWait has a client that waits get the reply instead.
func (x *exchange) refuseToWait() {
	if x.expects.Load() == unasked {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.expects.CompareAndSwap(waits, refused)
}

// maxUnread bounds how much of a body that nobody wants is read so that the
// connection can be used again, in bytes.
const maxUnread = 256 << 10

// drain reads what is left of the body, and reports whether that was all of it.
func (x *exchange) drain() bool {
	if x.in.whole.Load() {
		return true
	}
	if x.in.length > maxUnread {
		return false
	}
	b := x.c.server.lend(readSize, readSize/4)
	defer x.c.server.o.Buffers.Put(b)
	for n := 0; n <= maxUnread && !x.in.whole.Load(); {
		m, err := x.in.Read(b.B[:cap(b.B)])
		if n += m; err != nil {
			break
		}
	}
	return x.in.whole.Load()
}
