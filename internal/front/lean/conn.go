//go:build linux

package lean

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/front/lean/wire"
	"sluice/internal/lifetime"
)

// phase is what a connection is about.
const (
	idle    = iota // it waits for a request, and may be closed
	active         // it has one
	closing        // it is to be closed, as it waited
)

// What is known of the peer.
const (
	here  = iota
	ended // nothing comes after what has come
	gone  // and nothing is taken
)

// conn is a connection. Of its goroutine and of the exchange's are what stands last.
type conn struct {
	number  uint64
	outer   net.Conn // that is closed; nc or one around it
	nc      net.Conn // that bytes come and go on
	seal    *seal    // nil in cleartext
	remote  string
	timeout time.Duration // for some progress of a write

	reading, writing deadline
	phase            atomic.Int32
	peer             atomic.Int32
	givenUp          atomic.Bool // nothing is written any more
	hijacked         atomic.Bool
	asking           atomic.Bool // no whole head of a request has come since the last one
	cut              bool        // the last reply is not whole, and is not to look so
	headTimed        bool        // the deadline of the head that comes is set

	mu     sync.Mutex
	ctx    *lifetime.Context // of the exchange under way, else nil
	awaits bool              // all of its request was read, so its client's leaving ends it

	inbox // of whoever reads

	// Of whoever writes.
	parts [3][]byte
	queue net.Buffers
	out   outbox
}

func newConn(s *Server, outer, nc net.Conn, raw syscall.RawConn) *conn {
	c := &conn{outer: outer, nc: nc, remote: nc.RemoteAddr().String(), timeout: s.o.WriteTimeout()}
	c.inbox.open(s, raw)
	c.out.open(raw)
	if s.tls != nil {
		c.seal = newSeal(c)
	}
	c.reading = deadline{sweeper: &s.sweeper, of: (*reads)(c)}
	c.writing = deadline{sweeper: &s.sweeper, of: (*writes)(c)}
	c.asking.Store(true)
	c.reading.set(s.clock.Now() + s.o.ReadHeaderTimeout)
	return c
}

// reads and writes are what a connection's deadlines interrupt.
type (
	reads  conn
	writes conn
)

func (r *reads) interrupt() error { return r.nc.SetReadDeadline(time.Unix(1, 0)) }
func (r *reads) restore() error   { return r.nc.SetReadDeadline(time.Time{}) }

func (w *writes) interrupt() error { return w.nc.SetWriteDeadline(time.Unix(1, 0)) }
func (w *writes) restore() error   { return w.nc.SetWriteDeadline(time.Time{}) }

// serve answers what comes on the connection.
func (c *conn) serve() {
	if err := c.server.watcher.add(c.raw, c.number); err != nil {
		c.unwatched(err)
		return
	}
	if c.seal == nil {
		c.converse()
	} else if c.shakeHands() {
		go c.converse() // on a stack that a handshake has not made large
	}
}

// unwatched hands a connection over whose client's leaving cannot be watched for, to an
// engine that watches otherwise.
func (c *conn) unwatched(err error) {
	c.server.o.Log.Warn("a client's leaving cannot be watched for", "error", err)
	c.handOver()
}

// converse answers one request after the other, and closes the connection.
func (c *conn) converse() {
	more := c.await()
	if more && c.seal == nil && c.isOver() {
		return
	}
	for more {
		if more = c.answerNext(); more {
			c.asking.Store(true)
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
	return c.fillHead() == nil && c.phase.CompareAndSwap(idle, active)
}

// closeIdle has a connection closed that waits for a request.
func (c *conn) closeIdle() {
	if c.phase.CompareAndSwap(idle, closing) {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // no other is set without a request
	}
}

// isOver looks whether a connection begins as one of HTTP/2 does, and hands it over
// then.
func (c *conn) isOver() bool {
	for {
		is, more := wire.Preface(c.unread())
		if is {
			c.handOver()
		}
		if !more {
			return is
		}
		c.headTimed = true // what so begins has no more time than another head
		if c.fill() != nil {
			return false
		}
	}
}

// handOver has the engine beside use the connection.
func (c *conn) handOver() {
	early := bytes.Clone(c.unread())
	c.consume(len(early))
	if c.seal != nil {
		early = c.seal.taken()
	}
	c.server.watcher.drop(c.raw)
	c.server.remove(c)
	c.reading.set(0)
	c.server.over.give(&begun{Conn: c.outer, under: c.nc, early: early})
}

// close closes the connection.
func (c *conn) close() {
	if c.seal != nil {
		_ = c.seal.close(!c.cut)
		c.seal.in.clear()
	} else {
		_ = c.outer.Close()
	}
	c.clear()
	c.server.remove(c)
}

// closeWrite ends what is written.
func (c *conn) closeWrite() error {
	if c.seal != nil && !c.cut {
		if err := c.seal.closeWrite(); err != nil {
			return err
		}
	}
	return closeWrite(c.nc)
}

const (
	// lingers bounds a linger whose client goes on sending. One that does so for longer
	// sees the connection reset.
	lingers = 30 * time.Second
	// lingerPause is the longest pause of such a client: that of a packet which was lost
	// and sent again, or of a program that others keep from running.
	lingerPause = 2 * time.Second
)

// linger ends what is written and waits for the client to do the same. Whatever it still
// sends is read, however much: what closed would be reset under a client that is writing
// and has not come to read yet. Time bounds it, and when the server is closing there is
// less of that.
func (c *conn) linger() {
	c.clear()
	if c.closeWrite() != nil || c.peer.Load() == gone {
		return
	}
	in := &c.inbox
	if c.seal != nil {
		in = &c.seal.in // unopened
	}
	now := c.server.clock.Now()
	for most := now + lingers; now < most; now = c.server.clock.Now() {
		due := min(now+lingerPause, most)
		if c.server.closing.Load() {
			due, most = now+engine.Linger, now
		}
		in.clear()
		c.reading.set(due)
		if _, err := in.receive(nil); err != nil {
			return
		}
	}
}

// fill reads more, behind what is unread, for which there has to be room.
func (c *conn) fill() error {
	_, err := c.read(nil)
	return err
}

// fillHead is fill for what a head may be in. A deadline that is over ends the waiting,
// but what has come is read: it may be this side that had no time for it.
func (c *conn) fillHead() error {
	err := c.fill()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	n := 0
	if c.seal != nil {
		n = c.seal.openNow()
	} else {
		n, _ = c.now()
	}
	if n > 0 {
		return nil
	}
	return err
}

// read waits for bytes and reads them, into p or, where that is nil, as fill does.
func (c *conn) read(p []byte) (n int, err error) {
	if c.seal != nil {
		return c.seal.read(p)
	}
	return c.receive(p)
}

// write sends parts, of which there are up to three, and counts what has left. It gives a
// client up that takes nothing for the time-out.
func (c *conn) write(now time.Duration, parts ...[]byte) (n int, err error) {
	if c.seal != nil {
		return c.seal.write(parts)
	}
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
		m, err := c.out.send(b[n:])
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

// begins says that an exchange has begun.
func (c *conn) begins(ctx *lifetime.Context) {
	c.mu.Lock()
	c.ctx, c.awaits = ctx, false
	c.mu.Unlock()
	if base := c.server.o.Base; base.Err() != nil {
		c.cancel(context.Cause(base))
	}
	if c.server.closed.Load() {
		c.cancel(nil)
	}
}

// wasRead says that all of the request was read, from when its client's leaving ends
// the exchange.
func (c *conn) wasRead() {
	c.mu.Lock()
	c.awaits = c.ctx != nil
	c.mu.Unlock()
	if c.seal != nil {
		c.seal.lookOut()
	}
	if c.peer.Load() != here {
		c.mayHaveLeft()
	}
}

// finished says that the exchange is over: nobody ends it any more.
func (c *conn) finished() {
	c.mu.Lock()
	ctx := c.ctx
	c.ctx, c.awaits = nil, false
	c.mu.Unlock()
	if c.seal != nil {
		c.seal.lookAway()
	}
	ctx.End(nil)
}

// cancel ends the exchange under way.
func (c *conn) cancel(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx != nil {
		c.ctx.End(cause)
	}
}

// peerIs takes note that the peer has closed its direction or reset the connection, or,
// where that is listened for, that something has come.
func (c *conn) peerIs(state int32) {
	switch state {
	case gone:
		c.peer.Store(gone)
	case ended:
		c.peer.CompareAndSwap(here, ended)
	}
	c.mayHaveLeft()
}

// isLeft reports whether there is an exchange that its client's leaving ends. It is
// called with mu locked.
func (c *conn) isLeft() bool { return c.awaits && c.ctx != nil && !c.hijacked.Load() }

// mayHaveLeft ends the exchange of a client that has left. Whoever has closed only its
// direction is taken for gone as well: an end looks the same, and what was sent before
// it does not say that anybody waits.
func (c *conn) mayHaveLeft() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.isLeft():
	case c.peer.Load() != here:
		c.ctx.End(nil)
	case c.seal != nil:
		go c.seal.look() // it may have to write
	}
}
