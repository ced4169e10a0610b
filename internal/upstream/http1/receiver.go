package http1

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"

	"sluice/internal/memory"
)

// Receiver is what a tls.Conn should stand on that a Conn is made of. A
// tls.Conn returns one record for each Read, however many came together; with
// a Receiver beneath it the Conn reads on to the end of what came.
//
// It takes from the socket as much as a large buffer holds, and hands that to
// TLS. A buffer is lent only while there are bytes in it: a connection that
// waits has none. Until NewConn it changes nothing, so that the connection can
// as well become one of another protocol.
//
// A Conn on a plain socket has one of its own and takes over its buffers, so
// that nothing is copied.
type Receiver struct {
	net.Conn

	on      bool // a Conn reads
	hold    bool // Read fails with errNothing where it would have to wait
	buffers *memory.Buffers
	buf     *memory.Buffer  // nil: nothing is held
	r, w    int             // buf.B[r:w] was received and not yet read
	raw     syscall.RawConn // nil: the connection is no socket, and Read reads it directly
	read    func(fd uintptr) bool
	write   func(fd uintptr) bool // of a Conn on a plain socket
	left    []byte                // to be written by it
	err     error                 // of the last read, or write
}

// NewReceiver makes a Receiver of a connection on which TLS has not begun. The
// buffers are those of Limits.Buffers.
func NewReceiver(nc net.Conn, b *memory.Buffers) *Receiver {
	return &Receiver{Conn: nc, buffers: b}
}

// receiverOf returns the Receiver that a connection's TLS stands on, nil for
// none, and turns it on.
func receiverOf(nc net.Conn) *Receiver {
	tc, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	r, ok := tc.NetConn().(*Receiver)
	if !ok {
		return nil
	}
	r.on = true
	r.raw = r.socket()
	r.read = r.readSocket
	return r
}

// plainReceiver makes a Receiver of a connection that is a socket itself; nil
// where it is not.
func plainReceiver(nc net.Conn, b *memory.Buffers) *Receiver {
	if _, ok := nc.(syscall.Conn); !ok {
		return nil
	}
	r := NewReceiver(nc, b)
	if r.raw = r.socket(); r.raw == nil {
		return nil
	}
	r.on, r.read, r.write = true, r.readSocket, r.writeSocket
	return r
}

// release gives the buffer to the caller, with what was received in it.
func (r *Receiver) release() (buf *memory.Buffer, start, end int) {
	buf, r.buf = r.buf, nil
	return buf, r.r, r.w
}

// socket returns the socket that the Receiver stands on, nil when there is none
// or the bytes are changed on their way (TLS to a proxy).
func (r *Receiver) socket() syscall.RawConn {
	if !canReadSocket {
		return nil
	}
	nc := r.Conn
	for {
		if s, ok := nc.(syscall.Conn); ok {
			raw, err := s.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		}
		inner, ok := nc.(interface{ NetConn() net.Conn })
		if _, secure := nc.(*tls.Conn); secure || !ok {
			return nil
		}
		nc = inner.NetConn()
	}
}

// NetConn returns the connection beneath.
func (r *Receiver) NetConn() net.Conn { return r.Conn }

// Read hands over what was received, and receives when that is nothing.
func (r *Receiver) Read(p []byte) (int, error) {
	if r.buf == nil {
		switch {
		case r.hold:
			return 0, errNothing{}
		case !r.on || r.raw == nil:
			return r.Conn.Read(p)
		}
		if err := r.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf.B[r.r:r.w])
	if r.r += n; r.r == r.w {
		r.buffers.Put(r.buf)
		r.buf = nil
	}
	return n, nil
}

// receive waits for bytes and takes all that there are. It goes past the
// connection's Read, which would hold a buffer while it waits; the deadline and
// Close interrupt both alike.
func (r *Receiver) receive() error {
	r.err = nil
	err := r.raw.Read(r.read)
	if err != nil {
		return err
	}
	return r.failed("read")
}

// failed is what readSocket, or writeSocket, has failed with.
func (r *Receiver) failed(call string) error {
	if _, ok := r.err.(syscall.Errno); !ok { //nolint:errorlint // they set it
		return r.err
	}
	addr := r.RemoteAddr()
	return &net.OpError{Op: call, Net: addr.Network(), Source: r.LocalAddr(), Addr: addr, Err: os.NewSyscallError(call, r.err)}
}

// send writes to the socket, past the connection's Write as receive reads.
func (r *Receiver) send(b []byte) error {
	r.left, r.err = b, nil
	err := r.raw.Write(r.write)
	r.left = nil
	if err != nil {
		return err
	}
	return r.failed("write")
}

// errNothing says that all that was received has been read. To crypto/tls it is
// a temporary error, after which Read can be called again, even amid a record.
type errNothing struct{}

func (errNothing) Error() string   { return "nothing more was received" }
func (errNothing) Timeout() bool   { return true }
func (errNothing) Temporary() bool { return true }

// readOn reads the records that came with the one just read, into the rest of
// the buffer.
func (c *Conn) readOn() {
	c.under.hold = true
	for c.readErr == nil {
		if c.w == len(c.buf) {
			if c.more = c.large != nil; c.more {
				break
			}
			if c.grow() != nil {
				c.more = true // for the next read
				break
			}
		}
		n, err := c.nc.Read(c.buf[c.w:])
		c.w += n
		c.last += n
		if n == 0 && err == nil || errors.Is(err, errNothing{}) {
			break
		}
		c.readErr = err
	}
	c.under.hold = false
}
