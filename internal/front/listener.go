package front

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/memory"
)

// listener bounds the connections that are open at once.
type listener struct {
	net.Listener
	server *Server
}

const busyReply = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" +
	`{"error":{"message":"The gateway has as many connections as it may have. Try again.","type":"server_error","param":null,"code":"overloaded"}}`

// Accept waits for a connection. One above the limit is told so and closed, as
// a client that waits in the backlog learns nothing.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.accept()
		if err != nil {
			return nil, err
		}
		st := l.server.state.Load()
		stats := &l.server.stats
		if stats.connections.Add(1) <= int64(st.cfg.MaxConnections) {
			wrapped := &conn{Conn: c, timeout: st.stream.WriteTimeout, stats: stats, buffers: l.server.buffers}
			wrapped.sized.Store(st.cfg.TLS.Cert != "") // in what is enciphered nothing can be found
			return wrapped, nil
		}
		stats.connections.Add(-1)
		stats.rejected.Add(1)
		if st.cfg.TLS.Cert == "" {
			_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			_, _ = c.Write([]byte(busyReply))
		}
		_ = c.Close()
	}
}

// conn ends a client that takes no byte for timeout. It sets the deadline of
// writes itself, because net/http writes a small reply only after the handler
// has returned, and only when a good part of the last one is used up, because
// setting one costs as much as a third of a small write.
type conn struct {
	net.Conn
	timeout time.Duration
	stats   *stats
	buffers *memory.Buffers
	once    sync.Once

	resets atomic.Int64 // Unix ns; see ended

	sized  atomic.Bool               // nothing more to look for; see look
	tail   [len(lengthName) - 1]byte // of what was read
	tailed int                       // bytes of it

	deadline atomic.Int64 // Unix ns; 0 when net/http has set its own since

	// Of the handler's goroutine; see join.
	joins bool
	head  *memory.Buffer // held back; nil for nothing
	parts [2][]byte
	queue net.Buffers
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
	now := time.Now()
	if left := time.Duration(c.deadline.Load() - now.UnixNano()); left >= c.timeout*3/4 {
		return nil
	}
	d := now.Add(c.timeout)
	if err := c.Conn.SetWriteDeadline(d); err != nil {
		return err
	}
	c.deadline.Store(d.UnixNano())
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

func (c *conn) SetWriteDeadline(t time.Time) error {
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
	under, _ := ctx.Value(connKey{}).(net.Conn)
	if t, ok := under.(*tls.Conn); ok {
		under = t.NetConn()
	}
	c, _ := under.(*conn)
	return c
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
	c.once.Do(func() { c.stats.connections.Add(-1) })
	return c.Conn.Close()
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
	c.once.Do(func() {
		c.stats.connections.Add(-1)
		c.stats.cuts[cause].Add(1)
	})
	_ = c.Conn.Close()
}
