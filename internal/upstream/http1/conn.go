// Package http1 is the client side of HTTP/1.1 (RFC 9112) on one connection:
// it writes requests and reads replies. It dials nothing and pools nothing.
//
// The package promises three things. It is strict: a reply whose framing is
// in doubt is an error, never a guess, and a connection whose framing is in
// doubt is not reused. A sound end and a cut are always told apart. And it is
// lean: a request leaves in one write, a body comes back as slices of the read
// buffer with one read each, and an idle connection holds 4 KiB.
package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"sluice/internal/memory"
)

const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

// Limits bound what a reply may make the connection hold or do. A zero field
// means the default.
type Limits struct {
	MaxHead      int // bytes of one reply head, and of all trailers; 64 KiB, which is also the most
	MaxFields    int // fields in one reply head, and of all trailers; 256
	MaxChunkLine int // bytes of a chunk's size with its extensions; 1 KiB
	MaxInterim   int // 1xx replies before the real one; 8

	// Buffers lends what is read into and written from; nil keeps none of it.
	// Where one is refused that could not be done without, the error is an
	// *llm.Error.
	Buffers *memory.Buffers
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.MaxHead, largeBuffer)
	def(&l.MaxFields, 256)
	def(&l.MaxChunkLine, 1<<10)
	def(&l.MaxInterim, 8)
	l.MaxHead = min(l.MaxHead, largeBuffer)
	return l
}

// phase is where a connection stands between two requests.
type phase uint8

const (
	idle   phase = iota // no request is under way, or its reply is complete
	sent                // a request was written, its reply head is not yet read
	inBody              // the head was read, the body has not ended
	failed              // Conn.err ended it
)

// framing is how a reply body is delimited (RFC 9112 section 6.3).
type framing uint8

const (
	byLength framing = iota
	byChunks
	byClose
)

// Conn is one HTTP/1.1 connection. It is used by one goroutine at a time:
// WriteRequest, ReadHead, then Next until io.EOF. Another goroutine may
// interrupt it only through deadlines on NetConn, or by closing that.
//
// After an error other than *RequestError and *WriteError the connection can
// only be closed.
type Conn struct {
	nc     net.Conn
	under  *Receiver // beneath nc's TLS, nil for none
	limits Limits

	// plain is the socket where there is nothing between it and HTTP, nil
	// elsewhere. It lends a large buffer only when bytes have come, so that a
	// connection which waits holds none.
	plain *Receiver

	small []byte         // always there, but for plain
	large *memory.Buffer // lent while a body comes faster than small holds
	buf   []byte         // the one in use: small, or all of large
	r, w  int            // buf[r:w] was received and not yet used
	last  int            // bytes that the last read brought
	more  bool           // the last read left bytes behind, in TLS or beneath it

	phase   phase
	framing framing
	keep    bool   // nothing so far forbids another request
	got     bool   // a byte came since the last WriteRequest
	replied bool   // a reply head was read on this connection
	noBody  bool   // the request was a HEAD
	upgrade string // the protocol that the request asks for, "" for none
	left    int64  // byLength: bytes of the body to come; byChunks: of the chunk
	chunk   chunkParser
	err     error // phase failed: why
	readErr error // came with the last bytes, to be reported after them

	trailers []byte // trailer lines of this reply so far

	vec     net.Buffers     // writev arguments, kept to save their allocation
	vecArr  [4][]byte       // backs vec
	raw     syscall.RawConn // of the socket, nil until it is needed
	overTLS bool

	lowat      func(fd uintptr) // sets SO_RCVLOWAT to lowatBytes; see Gather
	lowatBytes int
}

// NewConn makes a Conn of a connection that is set up (TLS included, which
// should stand on a Receiver) and on which nothing was sent yet.
func NewConn(nc net.Conn, l Limits) *Conn {
	c := &Conn{nc: nc, limits: l.withDefaults(), keep: true}
	if c.plain = plainReceiver(nc, c.limits.Buffers); c.plain == nil {
		c.small = make([]byte, smallBuffer)
		c.buf = c.small
		c.under = receiverOf(nc)
	}
	return c
}

// NetConn returns the connection beneath, for deadlines.
func (c *Conn) NetConn() net.Conn { return c.nc }

// Close closes the connection.
func (c *Conn) Close() error {
	c.keep = false
	return c.nc.Close()
}

// GotBytes reports whether any byte was received since the last WriteRequest
// began. A reused connection that ends without one was most likely closed by
// the upstream while the request was on its way.
func (c *Conn) GotBytes() bool { return c.got }

// Reusable reports whether the connection can take another request: the reply
// was read to a sound end, both sides keep the connection, and no byte came
// beyond the reply.
func (c *Conn) Reusable() bool {
	return c.phase == idle && c.keep && c.r == c.w && !c.more && c.readErr == nil
}

// Ready reports whether Next gives something, the end included, without a wait.
// False may mean only that this is not certain.
func (c *Conn) Ready() bool {
	return c.phase != inBody || c.r < c.w && c.framing != byChunks
}

// Next returns the next bytes of the reply body, all that one read of the
// socket brought, in however many chunks and (with a Receiver) TLS records.
// They stand in the read buffer and are valid until the next call of any
// method. The error is io.EOF at a sound end, io.ErrUnexpectedEOF (wrapped)
// when the upstream closed before it, *ProtocolError, or the connection's own.
func (c *Conn) Next() ([]byte, error) {
	for {
		switch c.phase {
		case idle:
			c.giveBack()
			return nil, io.EOF
		case sent:
			return nil, errors.New("read reply body: the reply head has not been read")
		case failed:
			return nil, c.err
		}
		if c.r == c.w {
			if err := c.fill(); err != nil {
				return nil, err
			}
			continue // a close may have ended the body
		}
		if p := c.consume(); len(p) > 0 {
			return p, nil
		}
	}
}

// consume uses up what was received as far as it belongs to the body, and returns
// the body bytes in it. A fault is kept for the next call, because the bytes
// before it are sound.
func (c *Conn) consume() []byte {
	switch c.framing {
	case byChunks:
		return c.dechunk()
	case byClose:
		p := c.buf[c.r:c.w]
		c.r = c.w
		return p
	default:
		n := int(min(c.left, int64(c.w-c.r)))
		p := c.buf[c.r : c.r+n]
		c.r += n
		c.left -= int64(n)
		if c.left == 0 {
			c.phase = idle
		}
		return p
	}
}

// fill reads once into the empty buffer, after choosing one of the right size.
func (c *Conn) fill() error {
	c.r, c.w = 0, 0
	expected := c.last
	if c.framing == byLength {
		expected = int(min(c.left, largeBuffer))
	}
	switch {
	case c.plain != nil: // takes what it needs
	case c.large == nil && expected >= smallBuffer:
		_ = c.grow() // else the small one has to do
	case c.large != nil && expected < smallBuffer/2:
		// A stream that goes on slowly must not hold 64 KiB while it waits.
		c.giveBack()
	}
	err := c.read()
	switch {
	case err == nil:
		return nil
	case err == io.EOF && c.framing == byClose: //nolint:errorlint // a socket returns it unwrapped
		c.phase, c.keep = idle, false
		return nil
	case err == io.EOF: //nolint:errorlint // likewise
		err = io.ErrUnexpectedEOF
	}
	return c.fail("read reply body", err)
}

// read reads once into buf[w:], which is not empty, or with TLS on to the end
// of what came at once. It returns nil or an error, never bytes and an error.
func (c *Conn) read() error {
	if c.readErr != nil {
		return c.readErr
	}
	if c.plain != nil {
		return c.readPlain()
	}
	for range 100 {
		n, err := c.nc.Read(c.buf[c.w:])
		if n > 0 {
			c.w += n
			c.last = n
			c.got = true
			c.readErr = err
			if c.under != nil {
				c.more = false
				c.readOn()
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// readPlain is read on a plain socket: the buffer comes with the bytes. Behind
// bytes that are there already the new ones are copied.
func (c *Conn) readPlain() error {
	if c.r < c.w {
		n, err := c.plain.Read(c.buf[c.w:])
		c.w += n
		return err
	}
	c.giveBack()
	if err := c.plain.receive(); err != nil {
		return err
	}
	c.large, c.r, c.w = c.plain.release()
	c.buf = c.large.B[:largeBuffer]
	c.got = true
	return nil
}

// grow goes over to a large buffer with what is in the small one.
func (c *Conn) grow() error {
	large, err := c.limits.Buffers.Get(largeBuffer)
	if err != nil {
		return err
	}
	copy(large.B[:largeBuffer], c.buf[:c.w])
	c.large, c.buf = large, large.B[:largeBuffer]
	return nil
}

// giveBack returns the large buffer. The bytes in it are gone.
func (c *Conn) giveBack() {
	if c.large == nil || c.r < c.w {
		return
	}
	c.limits.Buffers.Put(c.large)
	c.large, c.buf = nil, c.small
	c.r, c.w, c.last = 0, 0, 0
}

// Abandon gives back what is lent, with what was received. It is for the goroutine that
// has used the connection, which can only be closed then.
func (c *Conn) Abandon() {
	c.r, c.w = 0, 0
	c.giveBack()
	for _, r := range [...]*Receiver{c.plain, c.under} {
		if r != nil && r.buf != nil {
			r.buffers.Put(r.buf)
			r.buf = nil
		}
	}
	if c.phase != failed {
		_ = c.fail("read reply", net.ErrClosed)
	}
}

func (c *Conn) fail(doing string, err error) error {
	c.phase, c.keep = failed, false
	c.err = fmt.Errorf("%s: %w", doing, err)
	return c.err
}
