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
	"sluice/internal/llm"
)

// exchange is an engine.Exchange. It is used again for later requests, and no
// connection that waits has one.
type exchange struct {
	c      *conn
	head   wire.Head
	req    engine.Request
	ctx    context.Context
	in     body
	out    reply
	panics any

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
	x.c = c
	x.head.Reset(wire.Limits{Head: s.o.MaxHeaderBytes, Line: s.o.MaxHeaderBytes})
	return x
}

// forget makes it one for other requests.
func (s *Server) forget(x *exchange) {
	x.c, x.req, x.ctx, x.out, x.panics = nil, engine.Request{}, nil, reply{}, nil
	x.in.reset()
	x.expects.Store(unasked)
	x.head.Reset(wire.Limits{})
	s.exchanges.Put(x)
}

// answerNext reads a request, of which something has come, and answers it. It reports
// whether another one may follow.
func (c *conn) answerNext() (more bool) {
	x := c.server.exchange(c)
	defer c.server.forget(x)
	if err := x.readHead(); err != nil {
		if r, ok := errors.AsType[*wire.Refusal](err); ok {
			c.server.o.Log.Debug("request refused", "client", c.remote, "error", err)
			x.refuse(r)
			c.linger()
		}
		return false
	}
	ending := x.answer()
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
	for timed := false; ; {
		n, err := x.head.Parse(c.unread())
		if err != nil {
			return err
		}
		if n > 0 {
			c.consume(n)
			return nil
		}
		if !timed {
			timed = true
			c.reading.set(c.server.clock.Now() + c.server.o.ReadHeaderTimeout)
		}
		c.shrink()
		have := len(c.unread())
		if err := c.room(have + 1); err != nil {
			return err
		}
		if err := c.fill(); err != nil {
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

// answer has the Handler answer.
func (x *exchange) answer() (ending engine.Ending) {
	c, s := x.c, x.c.server
	x.head.Request(&x.req)
	x.req.Remote = c.remote
	x.out.Reply = x.head.Reply()
	ctx, end := context.WithCancelCause(s.root)
	x.ctx = ctx
	c.begins(end)
	defer c.finished()
	if x.in.begin(&x.head); !x.in.whole.Load() {
		x.req.Body = &x.in
		c.reading.set(0)
		if x.head.Continue && c.buf == nil {
			x.expects.Store(waits)
		}
	} else {
		c.wasRead()
	}
	defer func() {
		if p := recover(); p != nil {
			s.o.Log.Error("handler panicked", "panic", p, "stack", string(debug.Stack()))
			ending = engine.Cut
		}
	}()
	return s.o.Handler.Answer(x)
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

// Forget implements engine.Exchange.
func (x *exchange) Forget(keep func(name string, values []string) bool) { x.head.Forget(keep) }

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
	early = bytes.Clone(c.unread())
	c.consume(len(early))
	c.server.watcher.drop(c.raw)
	c.reading.set(0)
	return &hijacked{Conn: c.nc, c: c}, early, nil
}

// hijacked is a connection that was given away. The time-out for writes stays.
type hijacked struct {
	net.Conn
	c *conn
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
func (h *hijacked) CloseWrite() error { return closeWrite(h.c.nc) }

// Close implements net.Conn.
func (h *hijacked) Close() error {
	h.c.server.remove(h.c)
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
