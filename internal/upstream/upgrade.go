package upstream

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"time"

	"sluice/internal/llm"
)

// forever is the idle time-out of a connection that has switched protocols: how
// long it may be silent is the caller's business.
const forever = 100 * 365 * 24 * time.Hour

// switching is the status with which the other protocol begins.
const switching = 101

// upgrade sends a call that asks for another protocol. It goes over a connection
// of its own: one that switches never comes back, and many would take all of the
// pool's. HTTP/2 has no such switch (RFC 9113 section 8.6), so it is not offered.
func (c *Client) upgrade(ctx context.Context, call *Call) (*Reply, error) {
	if c.opts.BaseURL.Scheme == "http" && c.cfg.H2C {
		return nil, c.failure(llm.Declined, 501, "upgrade_not_supported",
			"Upstream %s is spoken to in HTTP/2 alone (http_client.h2c), which cannot be left for another protocol.", nil)
	}
	cn, err := c.dialer.connect(ctx, true, netip.AddrPort{})
	if err != nil {
		return nil, err
	}
	cn.own = true
	c.stats.ownOpen.Add(1)
	r, _, err := c.exchangeH1(ctx, cn, call, false)
	if err == nil && r.Status == switching {
		r.idle = forever
	}
	return r, err
}

// Switched reports whether the upstream has gone over to the protocol that the
// call asked for. Then Next gives what it sends, as it comes, and io.EOF when it
// ends its direction or the connection, and Pour sends.
func (r *Reply) Switched() bool { return r.Status == switching && r.h1.cn != nil }

// Pour sends what src gives until that ends, and then ends this direction and no
// other. It may be called once, from another goroutine than Next and Close. When
// it fails, because the upstream takes nothing for Config.IdleTimeout, has gone,
// or src fails, Next ends too, and with an error unless the upstream had gone. A Read of src that is under way at Close is not
// waited for.
func (r *Reply) Pour(src io.Reader) {
	cn, timeout := r.h1.cn, r.client.cfg.IdleTimeout
	lent, err := r.client.buffers.Get(largeRead)
	if err != nil {
		cn.cut()
		return
	}
	defer r.client.buffers.Put(lent)
	buf := lent.B[:largeRead]
	_ = cn.nc.SetWriteDeadline(time.Time{}) // the handshake's
	for {
		n, err := src.Read(buf)
		if n > 0 && !cn.send(buf[:n], timeout) {
			cn.cut()
			return
		}
		if err == nil {
			continue
		}
		if half, ok := cn.nc.(interface{ CloseWrite() error }); ok && errors.Is(err, io.EOF) && half.CloseWrite() == nil {
			return
		}
		cn.cut()
		return
	}
}

// send writes b as long as the peer takes something of it within each timeout.
func (c *conn) send(b []byte, timeout time.Duration) bool {
	for {
		_ = c.nc.SetWriteDeadline(time.Now().Add(timeout))
		n, err := c.nc.Write(b)
		if err == nil {
			return true
		}
		// TLS cannot go on after a part of a record was written.
		if b = b[n:]; n == 0 || c.nc != c.socket || !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
	}
}
