//go:build linux

package lean

import (
	"errors"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/front/lean/wire"
	"sluice/internal/memory"
)

// joinedBytes is up to how many bytes of a body are copied behind what is written
// before them, rather than written from where they stand.
const joinedBytes = 16 << 10

// reply is the writing of a reply. The head leaves with the first piece, and a piece
// in chunks with Flush.
type reply struct {
	wire.Reply
	began   bool
	left    int64          // of the announced length, -1 where none was
	held    *memory.Buffer // what is to leave next, nil for nothing
	through engine.Follower
	now     time.Duration // when the head was made, on the Server's clock; 0 once it has left
	err     error         // of a write: nothing is written after it
}

var (
	errTooMuch = errors.New("more of the reply was given than its announced length")
	errNoReply = errors.New("no reply was begun")
	errTwice   = errors.New("the reply has begun already")
)

// Begin implements engine.Exchange.
func (x *exchange) Begin(h *engine.Head) {
	x.out.err = x.begin(h, h.Length, 0)
}

// begin makes the head, with room for more bytes behind it.
func (x *exchange) begin(h *engine.Head, length int64, more int) (err error) {
	out, s := &x.out, x.c.server
	if out.began {
		return errTwice
	}
	x.refuseToWait()
	out.began = true
	out.Close = out.Close || h.Close || x.expects.Load() == refused || s.closing.Load()
	out.left = length
	h.Length = length
	size := fixedHead + more
	for i := 0; i < h.Fields.Len(); {
		name, values := h.Fields.Run(i)
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
		i += len(values)
	}
	out.held = s.lend(size, size-more)
	now := time.Now()
	out.now = s.clock.At(now)
	out.held.B, err = out.AppendHead(out.held.B, h, s.date(now))
	return err
}

// fixedHead is what a head has besides its fields, at most, in bytes.
const fixedHead = 192

// Whole implements engine.Exchange.
func (x *exchange) Whole(h *engine.Head, b []byte) (n int, err error) {
	room := 0
	if len(b) <= joinedBytes {
		room = len(b)
	}
	if err := x.begin(h, int64(len(b)), room); err != nil {
		x.out.err = err
		return 0, err
	}
	if x.out.Framing == wire.NoBody {
		return len(b), x.Flush()
	}
	return x.Write(b)
}

// Holds implements engine.Exchange.
func (x *exchange) Holds(int) bool { return false }

// maxWrite bounds what is written at once, in bytes.
const maxWrite = 256 << 10

// Write implements engine.Exchange.
func (x *exchange) Write(b []byte) (n int, err error) {
	for len(b) > maxWrite && err == nil {
		var m int
		m, err = x.write(b[:maxWrite])
		n, b = n+m, b[maxWrite:]
	}
	if err != nil {
		return n, err
	}
	m, err := x.write(b)
	return n + m, err
}

func (x *exchange) write(b []byte) (n int, err error) {
	out := &x.out
	switch {
	case out.err != nil:
		return 0, out.err
	case !out.began:
		return 0, errNoReply
	case out.Framing == wire.NoBody:
		return len(b), nil
	case len(b) == 0:
		return 0, x.Flush()
	case out.left >= 0 && int64(len(b)) > out.left:
		return 0, errTooMuch
	case out.left >= 0:
		out.left -= int64(len(b))
	}
	chunked := out.Framing == wire.Chunked
	if chunked && out.held != nil && cap(out.held.B)-len(out.held.B) < chunkFrame {
		if err := x.Flush(); err != nil {
			return 0, err
		}
	}
	if out.held == nil {
		if !chunked {
			return x.send(b)
		}
		out.held = x.c.server.lend(chunkFrame+min(len(b), joinedBytes), chunkFrame)
	}
	if chunked {
		out.held.B = wire.AppendChunkSize(out.held.B, len(b))
	}
	before := len(out.held.B)
	switch {
	case len(b)+len(wire.ChunkEnd) <= cap(out.held.B)-before: // it has room for it
		out.held.B = append(out.held.B, b...)
		if chunked {
			out.held.B = append(out.held.B, wire.ChunkEnd...)
			if out.through == nil {
				return len(b), nil
			}
		}
		n, err = x.send(out.held.B)
	case chunked:
		n, err = x.send(out.held.B, b, x.c.server.chunkEnd)
	default:
		n, err = x.send(out.held.B, b)
	}
	x.release()
	return min(max(n-before, 0), len(b)), err
}

// chunkFrame is what a chunk has besides its bytes, at most, in bytes.
const chunkFrame = 20

// Flush implements engine.Exchange.
func (x *exchange) Flush() error {
	if x.out.err != nil || x.out.held == nil {
		return x.out.err
	}
	_, err := x.send(x.out.held.B)
	x.release()
	return err
}

// release gives back what was held.
func (x *exchange) release() {
	x.c.server.o.Buffers.Put(x.out.held)
	x.out.held = nil
}

// send writes to the connection.
func (x *exchange) send(parts ...[]byte) (n int, err error) {
	out := &x.out
	now := out.now
	if out.now = 0; now == 0 {
		now = x.c.server.clock.Now()
	}
	if n, err = x.c.write(now, parts...); err != nil {
		out.err = err
		x.c.cancel(nil)
		return n, err
	}
	if out.through != nil {
		out.through.Moved()
	}
	return n, nil
}

// conclude ends the reply as its handler has said, and reports whether the connection
// can have another.
func (x *exchange) conclude(ending engine.Ending) (more bool) {
	out := &x.out
	defer x.release()
	out.through = nil   // the handler's, which is over
	x.c.cut = out.began // so far
	if !out.began || ending != engine.Whole {
		return false
	}
	if out.err == nil && out.Framing == wire.Chunked {
		if out.held == nil {
			out.held = x.c.server.lend(len(wire.LastChunk), len(wire.LastChunk))
		}
		out.held.B = append(out.held.B, wire.LastChunk...)
	}
	if x.Flush() != nil || out.left > 0 && out.Framing != wire.NoBody {
		return false
	}
	x.c.cut = false
	return !out.Close && !x.GivenUp()
}

// Follow implements engine.Exchange. Each piece leaves at once as it is.
func (x *exchange) Follow(f engine.Follower) { x.out.through = f }

// GiveUp implements engine.Exchange.
func (x *exchange) GiveUp() { x.c.giveUp() }

// GivenUp implements engine.Exchange.
func (x *exchange) GivenUp() bool { return x.c.givenUp.Load() }
