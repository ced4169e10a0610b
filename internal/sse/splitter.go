// Package sse reads and writes text/event-stream as the WHATWG HTML standard
// (section 9.2, server-sent events) defines it.
//
// It promises never to change a byte: a Splitter cuts a stream into events
// that, put together again, are the stream. Lines end in LF, CR or CRLF, in
// any mixture, and a stream may arrive cut at any byte. An event is handed on
// as soon as the line end that completes it is there.
package sse

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"sluice/internal/llm"
)

// DefaultMaxEvent is the cap on one event, in bytes, where none is given.
const DefaultMaxEvent = 8 << 20

// keepBuffer is the largest buffer, in bytes, that a Splitter keeps while it
// carries nothing over: thousands of streams are open and idle at a time.
const keepBuffer = 4 << 10

const bom = "\xef\xbb\xbf"

// ErrTooLarge says that an event is longer than the Splitter's cap.
var ErrTooLarge = errors.New("event exceeds the size limit")

// Splitter cuts a stream of bytes into events. The zero Splitter is ready for
// the beginning of a stream.
//
// An event is a run of lines up to and including the blank line that ends it.
// Blank lines that end nothing, which some servers send to keep a connection
// alive, are handed on as an event of their own, and so is a byte order mark at
// the beginning of the stream; IsComment is true for both.
//
// Where a piece ends in the CR that completes an event, the event is not held
// back for an LF that may belong to it. Should the next piece begin with that
// LF, it becomes the first byte of the next event, where readers of events
// pass over it as over any blank line.
type Splitter struct {
	MaxEvent int // cap on one event in bytes; 0 is DefaultMaxEvent

	// Grow, where it is set, is asked to have room for n bytes more in what is carried
	// over, which it may refuse, or leave to append. Feed ends with its error, unless the
	// event is too large by then.
	Grow func(carried []byte, n int) ([]byte, error)

	buf  []byte // what the last Feed handed out of it, then what is carried over
	used int    // how much of buf was handed out

	begun  bool // past the place where a byte order mark may stand
	lines  bool // the current event has bytes other than line ends
	inLine bool // and so has the current line
	cr     bool // the last byte was a CR: an LF that follows belongs to it
}

// Feed takes the next piece of the stream and appends the events that it
// completes to dst. An event that lies wholly inside piece aliases it; the
// others are valid until the next Feed.
//
// ErrTooLarge comes with the events before the one that is too large. The
// stream cannot be read on after it.
func (s *Splitter) Feed(piece []byte, dst []llm.Event) ([]llm.Event, error) {
	s.Trim()
	if n := len(s.buf); s.Grow != nil && n > 0 && n+len(piece) > cap(s.buf) {
		again := min(n, max(s.maxEvent()-n, 0)) // as much as there is
		var err error
		if s.buf, err = s.Grow(s.buf, max(len(piece), again)); err != nil {
			if s.exceeds(piece) { // then it is not for want of room
				err = ErrTooLarge
			}
			return dst, err
		}
	}
	start := 0
	if !s.begun {
		if start = s.mark(piece); start > 0 && s.begun {
			dst = append(dst, llm.Event{Raw: s.complete(piece[:start])})
		}
	}
	for i := start; i < len(piece); {
		n, complete := s.scan(piece[i:])
		i += n
		if s.len()+i-start > s.maxEvent() {
			return dst, ErrTooLarge
		}
		if complete {
			dst = append(dst, llm.Event{Raw: s.complete(piece[start:i])})
			start = i
		}
	}
	if start < len(piece) {
		s.buf = append(s.buf, piece[start:]...)
	}
	return dst, nil
}

// exceeds reports whether the event that is carried over is too large with what piece has of
// it. The stream cannot be read on after it.
func (s *Splitter) exceeds(piece []byte) bool {
	for i := 0; i < len(piece); {
		n, complete := s.scan(piece[i:])
		if i += n; s.len()+i > s.maxEvent() {
			return true
		}
		if complete {
			return false
		}
	}
	return false
}

// Tail returns the bytes after the last whole event. At the end of a stream
// they are an event that was not finished, or nothing.
func (s *Splitter) Tail() []byte { return s.buf[s.used:] }

func (s *Splitter) len() int { return len(s.buf) - s.used }

func (s *Splitter) maxEvent() int {
	if s.MaxEvent > 0 {
		return s.MaxEvent
	}
	return DefaultMaxEvent
}

// Cap is how much memory what is carried over takes, in bytes.
func (s *Splitter) Cap() int { return cap(s.buf) }

// Drop lets go of that memory where nothing is carried over, and reports whether it did.
// What the last Feed handed out must not be used any more.
func (s *Splitter) Drop() bool {
	if s.used < len(s.buf) {
		return false
	}
	s.buf, s.used = nil, 0
	return true
}

// Trim drops what the last Feed handed out, as the next one does.
func (s *Splitter) Trim() {
	if s.used == 0 {
		return
	}
	rest := s.buf[s.used:]
	if cap(s.buf) > keepBuffer && len(rest) <= keepBuffer {
		s.buf = append([]byte(nil), rest...)
	} else {
		s.buf = s.buf[:copy(s.buf, rest)]
	}
	s.used = 0
}

// complete returns the event that ends with end, the last bytes of the piece.
func (s *Splitter) complete(end []byte) []byte {
	if s.len() == 0 {
		return end[:len(end):len(end)]
	}
	s.buf = append(s.buf, end...)
	raw := s.buf[s.used:len(s.buf):len(s.buf)]
	s.used = len(s.buf)
	return raw
}

// mark looks for a byte order mark and returns how many bytes of piece belong
// to it; begun is set once it is known whether there is one.
func (s *Splitter) mark(piece []byte) int {
	have, n := len(s.buf), 0
	for have+n < len(bom) && n < len(piece) && piece[n] == bom[have+n] {
		n++
	}
	switch {
	case have+n == len(bom):
		s.begun = true
	case n == len(piece):
		s.buf = append(s.buf, piece...)
	default:
		s.begun = true
		s.inLine = have > 0
		s.lines = s.inLine
		n = 0
	}
	return n
}

// scan reads to the end of a line, or of b, which is not empty. It returns the
// bytes read and whether they complete an event.
func (s *Splitter) scan(b []byte) (n int, complete bool) {
	if s.cr {
		s.cr = false
		if b[0] == '\n' {
			return 1, false
		}
	}
	if n = lineEnd(b); n > 0 {
		s.inLine, s.lines = true, true
	}
	if n == len(b) {
		return n, false
	}
	blank := !s.inLine
	s.inLine = false
	n += endLen(b[n:])
	if blank && !s.lines {
		// Blank lines that end nothing go as one: a peer could otherwise turn
		// each of its bytes into an event.
		for n < len(b) && (b[n] == '\n' || b[n] == '\r') {
			n++
		}
	}
	s.cr = b[n-1] == '\r'
	if blank {
		s.lines = false
	}
	return n, blank
}

// endLen is the length of the line end that b begins with.
func endLen(b []byte) int {
	if b[0] == '\r' && len(b) > 1 && b[1] == '\n' {
		return 2
	}
	return 1
}

// lineEnd returns the index of the first LF or CR in b, or its length. It looks
// at eight bytes at a time; a borrow
// only runs upwards from a hit, so the lowest hit, which alone is used, is exact.
func lineEnd(b []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		lf, cr := x^'\n'*ones, x^'\r'*ones
		if hit := ((lf-ones)&^lf | (cr-ones)&^cr) & tops; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for i < len(b) && b[i] != '\n' && b[i] != '\r' {
		i++
	}
	return i
}
