package upstream

import (
	"net"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/lifetime"
	"sluice/internal/upstream/http1"
)

// conn is one connection, HTTP/1.1 (h1) or HTTP/2 (h2).
type conn struct {
	stats   *stats
	nc      net.Conn // TLS included
	socket  net.Conn // beneath TLS; closing it interrupts whatever waits on nc
	proxy   *url.URL // a plain proxy at the other end, which wants absolute targets; nil for none
	once    sync.Once
	watch   lifetime.Watch // on the context of the call that holds the connection (h1)
	own     bool           // of one call: the pool does not know it
	learned atomic.Bool    // h2: the upstream's own bound on streams is in maxStreams

	h1      *http1.Conn
	scratch *scratch // of the call that holds the connection; nil while a stream does

	h2 *http2.ClientConn

	at        netip.AddrPort // one of addresses, nil where it is not known
	addresses *addresses

	begun time.Time // the making of it for the queue; zero where it is for nobody in there

	// Guarded by pool.mu.
	made       time.Time // ready for as many calls as it takes
	used       bool      // a call was given this connection before
	idleSince  time.Time
	expires    time.Time
	keep       time.Duration // how long it may be idle
	streams    int           // calls on it (h2)
	maxStreams int           // 0 for HTTP/1.1
	turn       uint64        // h2: of the last call given to it, where there are several addresses
	retired    bool          // h2: takes no more calls
	gone       bool          // h2: closed
}

// cut closes the socket, which interrupts the call that holds the connection.
func (c *conn) cut() { _ = c.socket.Close() }

// ContextEnded implements lifetime.Ender.
func (c *conn) ContextEnded() { c.cut() }

// scratch is what a request and the head of its reply are put together in.
type scratch struct {
	request http1.Request
	head    http1.Head
}

// lend counts a call and reports whether it was not the first. pool.mu is held,
// or the connection not yet shared.
func (c *conn) lend() (reused bool) {
	reused = c.used
	c.used = true
	if c.h2 != nil {
		c.streams++
	}
	if reused {
		c.stats.reused(c.h2 != nil)
	}
	return reused
}

// close closes the connection. It may be called again.
func (c *conn) close() {
	c.once.Do(func() {
		if c.h2 != nil {
			_ = c.h2.Close() // counted in watched.Close
			return
		}
		c.stats.closed.Add(1)
		c.addresses.left(c.at)
		_ = c.nc.Close()
	})
}

// keepHint shortens the time that a connection is kept to what the upstream
// said, less a margin for the way: it closes on its own clock.
func (c *conn) keepHint(hint, expiry time.Duration) {
	if hint > 0 {
		expiry = min(expiry, hint-min(time.Second, hint/4))
	}
	c.keep = expiry
}

// watched is a socket that tells when it is closed. HTTP/2 connections close
// themselves, on the word of their peer.
type watched struct {
	net.Conn

	first atomic.Uint32 // the byte that came first, and 256; 0 while none has

	mu      sync.Mutex
	closed  bool
	onClose func()
}

// Read notes what comes first, by which another protocol than HTTP/2 is known.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 && w.first.Load() == 0 {
		w.first.Store(256 + uint32(p[0]))
	}
	return n, err
}

// watch has f called when the socket is closed, at once where it already is.
func (w *watched) watch(f func()) {
	w.mu.Lock()
	closed := w.closed
	w.onClose = f
	w.mu.Unlock()
	if closed {
		f()
	}
}

// Close closes the socket.
func (w *watched) Close() error {
	w.mu.Lock()
	f := w.onClose
	if w.closed {
		f = nil
	}
	w.closed = true
	w.mu.Unlock()
	err := w.Conn.Close()
	if f != nil {
		f()
	}
	return err
}

// NetConn returns the socket itself, for those who need its descriptor.
func (w *watched) NetConn() net.Conn { return w.Conn }
