package nethttp

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/memory"
)

// conn ends a client that takes no byte for timeout. It sets the deadline of
// writes itself, because net/http writes a small reply only after the handler
// has returned, and only when a good part of the last one is used up, because
// setting one costs as much as a third of a small write.
type conn struct {
	net.Conn          // that bytes come and go on
	outer    net.Conn // that is closed; the same or one around it
	timeout  time.Duration
	stats    *stats
	buffers  *memory.Buffers
	closed   atomic.Bool
	give     func(n int64) // gives libraryBytes back; nil for nothing
	leave    sync.Once

	resets atomic.Int64 // Unix ns; see ended

	sized  atomic.Bool               // nothing more to look for; see look
	tail   [len(lengthName) - 1]byte // of what was read
	tailed int                       // bytes of it

	deadline atomic.Int64 // Unix ns; 0 when net/http has set its own since
	given    atomic.Bool  // up: nothing is written any more

	// Of the handler's goroutine; see join.
	joins bool
	head  *memory.Buffer // held back; nil for nothing
	parts [2][]byte
	queue net.Buffers
}

// newConn makes a conn of one that was accepted. In what is enciphered no fields of a
// request can be found.
func (s *Server) newConn(c net.Conn) *conn {
	n := &conn{Conn: c, outer: c, timeout: s.o.WriteTimeout(), stats: &s.stats, buffers: s.o.Buffers, give: s.o.Give}
	if around, ok := c.(interface{ NetConn() net.Conn }); ok {
		n.Conn = around.NetConn()
	}
	n.sized.Store(s.o.TLS != nil)
	return n
}

// engineBuffer is net/http's buffer for what it writes, in bytes. Of a reply that
// is larger it fills the buffer with the head and the body's beginning, writes
// that, and then the rest of the body from where it stands.
const engineBuffer = 4 << 10

// join has the write that comes next leave together with the one that follows
// it, in one system call. settle has to be called after the second.
func (c *conn) join() { c.joins = true }

// settle writes what is still held back, where there was no second write.
func (c *conn) settle() error {
	c.joins = false
	if c.head == nil {
		return nil
	}
	_, err := c.Write(nil)
	return err
}

// maxWrite bounds what is written under one deadline, in bytes.
const maxWrite = 256 << 10

func (c *conn) Write(b []byte) (n int, err error) {
	if c.joins && len(b) <= engineBuffer {
		c.joins = false
		var err error
		if c.head, err = c.buffers.Get(engineBuffer); err != nil {
			return c.write(b) // alone
		}
		c.head.B = append(c.head.B, b...)
		return len(b), nil
	}
	if c.head == nil {
		return c.write(b)
	}
	first := b[:min(len(b), maxWrite)]
	n, err = c.writeBoth(first)
	if err == nil && len(first) < len(b) {
		var m int
		m, err = c.write(b[len(first):])
		n += m
	}
	return n, err
}

// writeBoth writes what was held back and b. n counts b.
func (c *conn) writeBoth(b []byte) (n int, err error) {
	held := len(c.head.B)
	defer func() {
		c.buffers.Put(c.head)
		c.head, c.parts, c.queue = nil, [2][]byte{}, nil
	}()
	c.parts = [2][]byte{c.head.B, b}
	c.queue = c.parts[:1+min(len(b), 1)]
	for total := 0; ; {
		if err := c.extend(); err != nil {
			return max(total-held, 0), err
		}
		m, err := c.queue.WriteTo(c.Conn)
		total += int(m)
		if m > 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.deadline.Load() != 0 {
			continue
		}
		return max(total-held, 0), err
	}
}

// extend sets the deadline anew where a good part of the last one is used up.
func (c *conn) extend() error {
	if c.given.Load() {
		return os.ErrDeadlineExceeded
	}
	now := time.Now()
	if left := time.Duration(c.deadline.Load() - now.UnixNano()); left >= c.timeout*3/4 {
		return nil
	}
	d := now.Add(c.timeout)
	if err := c.Conn.SetWriteDeadline(d); err != nil {
		return err
	}
	c.deadline.Store(d.UnixNano())
	if c.given.Load() { // while no deadline was set, or before
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *conn) write(b []byte) (n int, err error) {
	for {
		if err := c.extend(); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(b[:min(len(b), maxWrite)])
		n += m
		b = b[m:]
		if m > 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.deadline.Load() != 0 {
			continue // slow, but it takes something; the deadline is over, so a new one is set
		}
		if err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// SetWriteDeadline with a time that is over gives the client up, for good: a write
// that begins at the same time would set another one.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() && !t.After(time.Now()) {
		c.given.Store(true)
	}
	c.deadline.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.deadline.Store(0)
	return c.Conn.SetDeadline(t)
}

// connKey is what a request's context has its connection under.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connOf returns the connection that a request came on, or nil where it came on
// none.
func connOf(ctx context.Context) *conn {
	nc, _ := ctx.Value(connKey{}).(net.Conn)
	return under(nc)
}

// CloseWrite ends what is written and leaves the rest of the connection. net/http
// asks for it too, before it closes a connection in which something is unread.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	c.closed.Store(true)
	c.leave.Do(func() {
		if c.give != nil {
			c.give(libraryBytes)
		}
	})
	return c.outer.Close()
}

// The replies that a client may leave on one HTTP/2 connection: maxResets more
// than it takes whole, and one in resetEvery besides. A stream costs a client a few
// bytes and the gateway a request, which may be an upstream's too; net/http bounds
// only how many there are at once. Those who type or ask two upstreams for the sake
// of the faster one leave many, but no such numbers.
const (
	maxResets  = 500
	resetEvery = 100 * time.Millisecond
)

// ended takes note of how a request of an HTTP/2 connection ended, and closes the
// connection of a client that leaves too many.
func (c *conn) ended(whole bool) {
	if c == nil {
		return
	}
	// The time by which all that was left will have been made up for.
	for {
		old := c.resets.Load()
		if whole && old == 0 {
			return
		}
		now := time.Now().UnixNano()
		next := max(old, now) + int64(resetEvery)
		if whole {
			next = max(old-int64(resetEvery), 0)
		}
		if !c.resets.CompareAndSwap(old, next) {
			continue
		}
		if !whole && next-now > maxResets*int64(resetEvery) {
			c.cut(cutResets)
		}
		return
	}
}

// cut closes the connection for what its client does.
func (c *conn) cut(cause int) {
	if c == nil {
		return
	}
	if c.closed.CompareAndSwap(false, true) {
		c.stats.cuts[cause].Add(1)
	}
	_ = c.outer.Close()
}
