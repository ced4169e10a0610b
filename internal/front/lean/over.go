//go:build linux

package lean

import (
	"net"
	"sync"
)

// overtaken is the listener of the engine beside: it accepts what is given to it.
type overtaken struct {
	addr  net.Addr
	given chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newOvertaken(addr net.Addr) *overtaken {
	return &overtaken{addr: addr, given: make(chan net.Conn), ended: make(chan struct{})}
}

func (o *overtaken) Accept() (net.Conn, error) {
	select {
	case c := <-o.given:
		return c, nil
	case <-o.ended:
		return nil, net.ErrClosed
	}
}

func (o *overtaken) Addr() net.Addr { return o.addr }

func (o *overtaken) Close() error {
	o.once.Do(func() { close(o.ended) })
	return nil
}

// give hands a connection over, or closes it where nobody takes it any more.
func (o *overtaken) give(c net.Conn) {
	select {
	case o.given <- c:
	case <-o.ended:
		_ = c.Close()
	}
}

// begun is a connection of which something was read already.
type begun struct {
	net.Conn
	under net.Conn
	early []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.early) > 0 {
		n := copy(p, b.early)
		if b.early = b.early[n:]; len(b.early) == 0 {
			b.early = nil
		}
		return n, nil
	}
	return b.under.Read(p)
}

// CloseWrite ends what is written.
func (b *begun) CloseWrite() error { return closeWrite(b.under) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
