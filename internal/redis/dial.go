package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// dialer opens all connections and can close them all, which is what ends every
// wait for a server that says nothing.
type dialer struct {
	ctx      context.Context // ends attempts
	tls      *tls.Config     // nil: plain
	patience time.Duration   // for one

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

// conn is an open connection.
type conn struct {
	net.Conn
	from *dialer
}

// SyscallConn lets the pool see whether an idle connection was closed.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}

func (c *conn) Close() error {
	c.from.mu.Lock()
	delete(c.from.open, c)
	c.from.mu.Unlock()
	return c.Conn.Close()
}

// dial connects within its patience.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := d.ctx.Err(); err != nil { // AfterFunc is too late to stop a quick attempt
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	nd := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	raw, err := nd.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c, err := d.add(raw)
	if err != nil || d.tls == nil {
		return c, err
	}
	cfg := d.tls
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secure := tls.Client(c, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("TLS handshake with %s: %w", addr, err)
	}
	return secure, nil
}

func (d *dialer) add(raw net.Conn) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		raw.Close()
		return nil, net.ErrClosed
	}
	c := &conn{raw, d}
	d.open[c] = struct{}{}
	return c, nil
}

func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for c := range d.open {
		c.Conn.Close()
	}
}

// failed stands for a connection that could not be made: the first use tells
// why. go-redis's pool never sees an attempt fail, and so does not begin to
// dial by itself, every second and beyond its own Close. The prober does that.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error)         { return 0, f.err }
func (f failed) Write([]byte) (int, error)        { return 0, f.err }
func (f failed) Close() error                     { return nil }
func (f failed) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (f failed) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (f failed) SetDeadline(time.Time) error      { return nil }
func (f failed) SetReadDeadline(time.Time) error  { return nil }
func (f failed) SetWriteDeadline(time.Time) error { return nil }

// failLate has a client get failed connections in place of errors.
type failLate struct{}

func (failLate) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := next(ctx, network, addr)
		if err != nil {
			return failed{err}, nil
		}
		return c, nil
	}
}

func (failLate) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (failLate) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}
