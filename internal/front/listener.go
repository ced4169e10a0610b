package front

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
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
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		st := l.server.state.Load()
		stats := &l.server.stats
		if stats.connections.Add(1) <= int64(st.cfg.MaxConnections) {
			return &conn{Conn: c, timeout: st.stream.WriteTimeout, open: &stats.connections}, nil
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
	open    *atomic.Int64
	once    sync.Once

	deadline atomic.Int64 // Unix ns; 0 when net/http has set its own since
}

// maxWrite bounds what is written under one deadline, in bytes.
const maxWrite = 256 << 10

func (c *conn) Write(b []byte) (n int, err error) {
	for {
		now := time.Now()
		if left := time.Duration(c.deadline.Load() - now.UnixNano()); left < c.timeout*3/4 {
			d := now.Add(c.timeout)
			if err := c.Conn.SetWriteDeadline(d); err != nil {
				return n, err
			}
			c.deadline.Store(d.UnixNano())
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

func (c *conn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
