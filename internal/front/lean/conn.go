//go:build linux

package lean

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/internal/front/lean/wire"
	"sluice/internal/memory"
)

// readSize is how much is read at once, in bytes: what most requests are smaller than.
const readSize = 16 << 10

// waitSize is the size of the buffer in which the beginning of a head waits, in bytes.
const waitSize = 1 << 10

// phase is what a connection is about.
const (
	idle    = iota // it waits for a request, and may be closed
	active         // it has one
	closing        // it was closed while it waited
)

// What is known of the peer.
const (
	here  = iota
	ended // nothing comes after what has come
	gone  // and nothing is taken
)

// conn is a connection. Of its goroutine and of the exchange's are what stands last.
type conn struct {
	server  *Server
	number  uint64
	outer   net.Conn // that is closed; nc or one around it
	nc      net.Conn // that bytes come and go on
	raw     syscall.RawConn
	remote  string
	timeout time.Duration // for some progress of a write

	reading, writing deadline
	phase            atomic.Int32
	peer             atomic.Int32
	givenUp          atomic.Bool // nothing is written any more
	hijacked         atomic.Bool

	mu     sync.Mutex
	end    context.CancelCauseFunc // of the exchange under way, else nil
	awaits bool                    // all of its request was read, so its client's leaving ends it

	// Of whoever reads.
	buf  *memory.Buffer // what was read, lent while there is something in it
	r    int            // buf.B[r:] is yet to be used
	take func(fd uintptr) bool
	into []byte // of take; nil for buf
	n    int    // that take has read
	err  error  // of take

	// Of whoever writes.
	parts [3][]byte
	queue net.Buffers
}

func newConn(s *Server, outer, nc net.Conn, raw syscall.RawConn) *conn {
	c := &conn{server: s, outer: outer, nc: nc, raw: raw, remote: nc.RemoteAddr().String(), timeout: s.o.WriteTimeout()}
	c.take = c.takeFrom
	past := time.Unix(1, 0)
	c.reading = deadline{sweeper: &s.sweeper,
		interrupt: func() error { return nc.SetReadDeadline(past) }, restore: func() error { return nc.SetReadDeadline(time.Time{}) }}
	c.writing = deadline{sweeper: &s.sweeper,
		interrupt: func() error { return nc.SetWriteDeadline(past) }, restore: func() error { return nc.SetWriteDeadline(time.Time{}) }}
	c.reading.set(s.clock.Now() + s.o.ReadHeaderTimeout)
	return c
}

// serve answers what comes on the connection.
func (c *conn) serve() {
	if err := c.server.watcher.add(c.raw, c.number); err != nil {
		c.server.o.Log.Warn("a client's leaving cannot be watched for", "error", err)
		c.handOver() // to one that watches otherwise
		return
	}
	more := c.await()
	if more && c.isOver() {
		return
	}
	for more {
		if more = c.answerNext(); more {
			c.reading.set(c.server.clock.Now() + c.server.o.IdleTimeout)
			more = c.await()
		}
	}
	if c.hijacked.Load() {
		return
	}
	c.close()
}

// await waits for the beginning of a request.
func (c *conn) await() bool {
	if len(c.unread()) > 0 {
		return true
	}
	c.phase.Store(idle)
	if c.server.closing.Load() {
		return false
	}
	return c.fill() == nil && c.phase.CompareAndSwap(idle, active)
}

// closeIdle closes a connection that waits for a request, and reports whether it did.
func (c *conn) closeIdle() bool {
	if c.phase.Load() == closing {
		return true
	}
	if !c.phase.CompareAndSwap(idle, closing) {
		return false
	}
	_ = c.outer.Close()
	return true
}

// isOver looks whether a connection begins as one of HTTP/2 does, and hands it over
// then.
func (c *conn) isOver() bool {
	for {
		is, more := wire.Preface(c.unread())
		if is {
			c.handOver()
		}
		if !more || c.fill() != nil {
			return is
		}
	}
}

// handOver has the engine beside use the connection.
func (c *conn) handOver() {
	early := bytes.Clone(c.unread())
	c.consume(len(early))
	c.server.watcher.drop(c.raw)
	c.server.remove(c)
	c.reading.set(0)
	c.server.over.give(&begun{Conn: c.outer, under: c.nc, early: early})
}

// close closes the connection.
func (c *conn) close() {
	c.server.remove(c)
	_ = c.outer.Close()
	c.consume(len(c.unread()))
}

// How much of a connection that ends is still read so that its client can read the
// last reply, in bytes, and for how long. The kernel resets one that is closed with
// something unread in it, and what is on its way to the client is lost.
const (
	lingerBytes = 256 << 10
	lingerTime  = 500 * time.Millisecond
)

// linger ends what is written and waits for the client to do the same.
func (c *conn) linger() {
	c.consume(len(c.unread()))
	if closeWrite(c.nc) != nil || c.peer.Load() == gone {
		return
	}
	due := c.server.clock.Now() + lingerTime
	for read := 0; read < lingerBytes && c.server.clock.Now() < due; {
		c.reading.set(due)
		if c.fill() != nil {
			return
		}
		read += len(c.unread())
		c.consume(len(c.unread()))
	}
}

// unread is what was read and not used.
func (c *conn) unread() []byte {
	if c.buf == nil {
		return nil
	}
	return c.buf.B[c.r:]
}

// consume uses n bytes of it. With the last one the buffer goes back.
func (c *conn) consume(n int) {
	if c.r += n; c.buf != nil && c.r == len(c.buf.B) {
		c.server.o.Buffers.Put(c.buf)
		c.buf, c.r = nil, 0
	}
}

// fill reads more, behind what is unread, for which there has to be room.
func (c *conn) fill() error {
	if c.buf != nil && c.r > 0 {
		c.buf.B = c.buf.B[:copy(c.buf.B, c.buf.B[c.r:])]
		c.r = 0
	}
	_, err := c.read(nil)
	return err
}

// room makes the buffer one with room for n bytes, where there is one.
func (c *conn) room(n int) (err error) {
	if c.buf == nil || cap(c.buf.B) >= n {
		return nil
	}
	if c.buf, err = c.server.o.Buffers.Grow(c.buf, c.r+n); err == nil {
		return nil
	}
	return &wire.Refusal{Status: 503, Code: "gateway_overloaded", Reason: "The gateway has no memory for a head of this size now. Try again shortly."}
}

// shrink has a head of which little has come wait in a small buffer: many may.
func (c *conn) shrink() {
	if c.buf == nil || len(c.unread()) >= waitSize || cap(c.buf.B) <= waitSize {
		return
	}
	b := c.server.lend(waitSize, waitSize)
	b.B = append(b.B, c.unread()...)
	c.server.o.Buffers.Put(c.buf)
	c.buf, c.r = b, 0
}

// read waits for bytes and reads them, into p or into the buffer. It goes past the
// connection's Read, for which there would have to be a buffer while it waits.
func (c *conn) read(p []byte) (n int, err error) {
	c.into, c.n, c.err = p, 0, nil
	err = c.raw.Read(c.take)
	c.into = nil
	switch {
	case err != nil:
		return 0, err
	case c.err != nil:
		return 0, c.err
	case c.n == 0:
		return 0, io.EOF
	}
	return c.n, nil
}

// takeFrom reads once from a socket, which never blocks since Go's do not. It returns
// false to be called again when the socket is readable. It is package syscall's Read
// since the race detector knows that one as net's.
func (c *conn) takeFrom(fd uintptr) bool {
	p := c.into
	if p == nil {
		if c.buf == nil {
			c.buf = c.server.lend(readSize, readSize/4)
		}
		p = c.buf.B[len(c.buf.B):cap(c.buf.B)]
	}
	n, err := syscall.Read(int(fd), p)
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), p)
	}
	if c.into == nil {
		c.buf.B = c.buf.B[:len(c.buf.B)+max(n, 0)]
		c.consume(0)
	}
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	if c.n = n; err != nil {
		c.n, c.err = 0, os.NewSyscallError("read", err)
	}
	return true
}

// write sends parts, of which there are up to three, and counts what has left. It gives a
// client up that takes nothing for the time-out.
func (c *conn) write(now time.Duration, parts ...[]byte) (n int, err error) {
	if len(parts) == 1 {
		return c.writeOne(now, parts[0])
	}
	c.queue = c.parts[:copy(c.parts[:], parts)]
	defer func() { c.queue, c.parts = nil, [3][]byte{} }()
	for {
		c.writing.set(now + c.timeout)
		if c.givenUp.Load() {
			return n, os.ErrDeadlineExceeded
		}
		m, err := c.queue.WriteTo(c.nc)
		n += int(m)
		if m > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			now = c.server.clock.Now()
			continue
		}
		return n, err
	}
}

func (c *conn) writeOne(now time.Duration, b []byte) (n int, err error) {
	for {
		c.writing.set(now + c.timeout)
		if c.givenUp.Load() {
			return n, os.ErrDeadlineExceeded
		}
		m, err := c.nc.Write(b[n:])
		n += m
		if m > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			now = c.server.clock.Now()
			continue // slow, but it takes something
		}
		return n, err
	}
}

// giveUp has all writes fail. It may be called from any goroutine.
func (c *conn) giveUp() {
	c.givenUp.Store(true)
	_ = c.nc.SetWriteDeadline(time.Unix(1, 0))
}

// begins says that an exchange has begun, which end ends.
func (c *conn) begins(end context.CancelCauseFunc) {
	c.mu.Lock()
	c.end, c.awaits = end, false
	c.mu.Unlock()
	if base := c.server.o.Base; base.Err() != nil {
		c.cancel(context.Cause(base))
	}
}

// wasRead says that all of the request was read, from when its client's leaving ends
// the exchange.
func (c *conn) wasRead() {
	c.mu.Lock()
	c.awaits = c.end != nil
	c.mu.Unlock()
	if c.peer.Load() != here {
		c.mayHaveLeft()
	}
}

// finished says that the exchange is over: nobody ends it any more.
func (c *conn) finished() {
	c.mu.Lock()
	end := c.end
	c.end, c.awaits = nil, false
	c.mu.Unlock()
	end(nil)
}

// cancel ends the exchange under way.
func (c *conn) cancel(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		c.end(cause)
	}
}

// peerEnded takes note that the peer has closed its direction or reset the
// connection.
func (c *conn) peerEnded(all bool) {
	if all {
		c.peer.Store(gone)
	} else {
		c.peer.CompareAndSwap(here, ended)
	}
	c.mayHaveLeft()
}

// mayHaveLeft ends the exchange of a client that has left. Whoever has closed only its
// direction is taken for gone as well, unless there is another request to be read.
func (c *conn) mayHaveLeft() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.awaits || c.end == nil || c.hijacked.Load() {
		return
	}
	if c.peer.Load() == gone || c.buf == nil && !waiting(c.raw) { // which nobody reads meanwhile
		c.end(nil)
	}
}
