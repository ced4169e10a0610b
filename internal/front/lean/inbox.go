//go:build linux

package lean

import (
	"io"
	"os"
	"syscall"

	"sluice/internal/front/lean/wire"
	"sluice/internal/memory"
	"sluice/internal/socket"
)

// readSize is how much is read at once, in bytes: what most requests are smaller than.
const readSize = 16 << 10

// waitSize is the size of the buffer in which the beginning of a head waits, in bytes.
const waitSize = 1 << 10

// inbox is what was read and not used yet, of a socket or of what TLS makes of one.
// It holds a buffer only while there is something in it.
type inbox struct {
	server *Server
	raw    syscall.RawConn

	buf  *memory.Buffer // what was read, lent while there is something in it
	r    int            // buf.B[r:] is yet to be used
	take func(fd uintptr) bool
	into []byte // of take; nil for buf
	n    int    // that take has read
	err  error  // of take
}

// open makes it one for a socket.
func (b *inbox) open(s *Server, raw syscall.RawConn) {
	b.server, b.raw, b.take = s, raw, b.takeFrom
}

// unread is what was read and not used.
func (b *inbox) unread() []byte {
	if b.buf == nil {
		return nil
	}
	return b.buf.B[b.r:]
}

// consume uses n bytes of it. With the last one the buffer goes back.
func (b *inbox) consume(n int) {
	if b.r += n; b.buf != nil && b.r == len(b.buf.B) {
		b.server.o.Buffers.Put(b.buf)
		b.buf, b.r = nil, 0
	}
}

// clear drops what is unread.
func (b *inbox) clear() { b.consume(len(b.unread())) }

// spare is the room behind what is unread, in a buffer that is lent for it where there
// is none. took says how much of it was used.
func (b *inbox) spare() []byte {
	if b.buf == nil {
		b.buf = b.server.lend(readSize, readSize/4)
	} else if b.r > 0 {
		b.buf.B = b.buf.B[:copy(b.buf.B, b.buf.B[b.r:])]
		b.r = 0
	}
	return b.buf.B[len(b.buf.B):cap(b.buf.B)]
}

func (b *inbox) took(n int) {
	b.buf.B = b.buf.B[:len(b.buf.B)+n]
	b.consume(0)
}

// room makes the buffer one with room for n bytes, where there is one.
func (b *inbox) room(n int) error {
	if b.buf == nil || cap(b.buf.B) >= n {
		return nil
	}
	// Not by Grow: one that was lent when there was no memory is reserved nowhere.
	larger, err := b.server.o.Buffers.GetHead(b.r + n)
	if err == nil {
		larger.B = append(larger.B, b.buf.B...)
		b.server.o.Buffers.Put(b.buf)
		b.buf = larger
		return nil
	}
	return &wire.Refusal{Status: 503, Code: "gateway_overloaded", Reason: "The gateway has no memory for a head of this size now. Try again shortly."}
}

// shrink has the little that has come of something wait in a small buffer: many may.
func (b *inbox) shrink() {
	if b.buf == nil || len(b.unread()) >= waitSize || cap(b.buf.B) <= waitSize {
		return
	}
	small := b.server.lend(waitSize, waitSize)
	small.B = append(small.B, b.unread()...)
	b.server.o.Buffers.Put(b.buf)
	b.buf, b.r = small, 0
}

// receive waits for bytes and reads them from the socket, into p or, where that is nil,
// behind what is unread, for which there has to be room. It goes past the connection's
// Read, for which there would have to be a buffer while it waits.
func (b *inbox) receive(p []byte) (n int, err error) {
	b.into, b.n, b.err = p, 0, nil
	err = b.raw.Read(b.take)
	b.into = nil
	return b.taken(err)
}

// now is receive, behind what is unread, that does not wait: where nothing has come the
// error is nothing.
func (b *inbox) now() (n int, err error) {
	b.n, b.err = 0, nil
	came := false
	err = b.raw.Control(func(fd uintptr) { came = b.takeFrom(fd) })
	if err == nil && !came {
		err = nothing{}
	}
	return b.taken(err)
}

// taken gives what takeFrom has read, unless err has kept it from that.
func (b *inbox) taken(err error) (int, error) {
	switch {
	case err != nil:
		return 0, err
	case b.err != nil:
		return 0, b.err
	case b.n == 0:
		return 0, io.EOF
	}
	return b.n, nil
}

// takeFrom reads once from a socket, which never blocks since Go's do not. It returns
// false to be called again when the socket is readable.
func (b *inbox) takeFrom(fd uintptr) bool {
	p := b.into
	if p == nil {
		p = b.spare()
	}
	n, err := socket.Read(fd, p)
	for err == syscall.EINTR { //nolint:errorlint // it is one of package syscall's
		n, err = socket.Read(fd, p)
	}
	if b.into == nil {
		b.took(n)
	}
	if err == syscall.EAGAIN { //nolint:errorlint // the same
		return false
	}
	if b.n = n; err != nil {
		b.n, b.err = 0, os.NewSyscallError("read", err)
	}
	return true
}
