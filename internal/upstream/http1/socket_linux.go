package http1

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/socket"
)

// Stale reports whether an idle connection is no longer good for a request: the
// upstream closed or reset it, or sent bytes that nobody asked for. It does not
// block and reads nothing. False where the connection is not a socket, or the
// system is not Linux.
func (c *Conn) Stale() bool {
	if !c.Reusable() {
		return true
	}
	raw := c.socket()
	if raw == nil {
		return false
	}
	var events int16
	err := raw.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
		if _, err := unix.Poll(fds[:], 0); err == nil {
			events = fds[0].Revents
		}
	})
	if c.overTLS && !c.replied {
		// TLS 1.3 session tickets wait here until the first read.
		events &^= unix.POLLIN
	}
	return err != nil || events != 0
}

// Unacknowledged reports whether the upstream's TCP has not acknowledged all that
// was written. Where the upstream has closed the connection, and not reset it, its
// program then cannot have read the last request to its end: what had arrived at
// its socket before is acknowledged with the end (RFC 9293 section 3.10.4). False
// where that is not known, or the system is not Linux (4.19 or later).
func (c *Conn) Unacknowledged() bool {
	raw := c.socket()
	if raw == nil {
		return false
	}
	open := false
	_ = raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		// What is acknowledged counts the SYN too.
		open = err == nil && (i.Notsent_bytes > 0 || i.Bytes_sent > 0 && i.Bytes_sent-i.Bytes_retrans >= i.Bytes_acked)
	})
	return open
}

// refused reports whether an error reply has begun to arrive. It does not look
// inside TLS.
func (c *Conn) refused() bool {
	raw := c.socket()
	if raw == nil || c.overTLS {
		return false
	}
	var peek [len("HTTP/1.1 4")]byte
	n := 0
	err := raw.Control(func(fd uintptr) {
		n, _, _ = unix.Recvfrom(int(fd), peek[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && n == len(peek) && string(peek[:7]) == "HTTP/1." && (peek[9] == '4' || peek[9] == '5')
}

// socket returns the socket beneath, nil when there is none.
func (c *Conn) socket() syscall.RawConn {
	if c.raw != nil {
		return c.raw
	}
	nc := c.nc
	for {
		inner, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		if _, ok := nc.(*tls.Conn); ok {
			c.overTLS = true
		}
		nc = inner.NetConn()
	}
	if s, ok := nc.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn()
	}
	return c.raw
}

// gatherBytes is below half of the smallest receive buffer that Linux has by
// default, so the kernel never has to enlarge it.
const gatherBytes = 16 << 10

// Gather waits for d, during which bytes may come in together. The kernel wakes
// nobody for less than gatherBytes of them: each event of a fast stream would
// otherwise wake the process to no end (SO_RCVLOWAT, socket(7)).
func (c *Conn) Gather(d time.Duration) {
	raw := c.socket()
	if raw == nil {
		time.Sleep(d)
		return
	}
	if c.lowat == nil {
		c.lowat = func(fd uintptr) {
			// Where it does not work nothing is lost but the saving.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, c.lowatBytes)
		}
	}
	c.lowatBytes = gatherBytes
	_ = raw.Control(c.lowat)
	time.Sleep(d)
	c.lowatBytes = 1
	_ = raw.Control(c.lowat)
}

// canReadSocket says that readSocket works.
const canReadSocket = true

// readSocket reads once from a socket, which never blocks since Go's do not. It
// returns false to be called again when the socket is readable.
func (r *Receiver) readSocket(fd uintptr) bool {
	buf, refused := r.buffers.Get(largeBuffer)
	if refused != nil {
		r.err = refused
		return true
	}
	room := buf.B[:largeBuffer]
	n, err := socket.Read(fd, room)
	for err == syscall.EINTR { //nolint:errorlint // Read returns it so
		n, err = socket.Read(fd, room)
	}
	if n > 0 && err == nil {
		r.buf, r.r, r.w = buf, 0, n
		return true
	}
	r.buffers.Put(buf)
	if err == syscall.EAGAIN { //nolint:errorlint // Read returns it so
		return false
	}
	if r.err = err; err == nil {
		r.err = io.EOF
	}
	return true
}

// writeSocket writes as much as a socket takes. It returns false to be called again when it
// takes more.
func (r *Receiver) writeSocket(fd uintptr) bool {
	r.left, r.err = socket.Push(fd, r.left)
	return r.err != nil || len(r.left) == 0
}
