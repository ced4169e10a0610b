package codec

import (
	"bytes"
	"encoding/binary"
)

// keepBuffer is the largest buffer in bytes that a source keeps between messages.
const keepBuffer = 16 << 10

// frames is a source of messages that each have their length before them as a
// varint.
type frames struct {
	max  int // bytes of a message
	buf  []byte
	used int // how much of buf was handed out
	room room
}

// put implements source. What next returned before is gone.
func (f *frames) put(piece []byte) error {
	if err := f.trim(); err != nil {
		return err
	}
	if n := len(f.buf); n+len(piece) > cap(f.buf) {
		// As much again as came, not as was announced.
		again := min(n, max(f.max+binary.MaxVarintLen64-n, 0))
		var err error
		if f.buf, err = f.room.least(f.buf, max(len(piece), again)); err != nil {
			return err
		}
	}
	f.buf = append(f.buf, piece...)
	return nil
}

// trim implements source.
func (f *frames) trim() error {
	if f.used > 0 {
		rest := f.buf[f.used:]
		if cap(f.buf) > keepBuffer && len(rest) < keepBuffer/2 {
			f.buf = bytes.Clone(rest)
		} else {
			f.buf = f.buf[:copy(f.buf, rest)]
		}
		f.used = 0
	}
	return f.room.fit(cap(f.buf))
}

// next implements source. The message is valid until the next put.
func (f *frames) next() (data []byte, ok bool, err error) {
	rest := f.buf[f.used:]
	length, n := binary.Uvarint(rest)
	switch {
	case n < 0, n == 0 && len(rest) >= binary.MaxVarintLen64:
		return nil, false, errParam("invalid_data", "data", "The length before the message is not a varint of 64 bits.")
	case n == 0:
		return nil, false, nil
	case length > uint64(f.max):
		return nil, false, errLimit("data", "The message has %d bytes, more than the %d that are taken.", length, f.max)
	case len(rest)-n < int(length):
		return nil, false, nil
	}
	end := n + int(length)
	f.used += end
	return rest[n:end:end], true, nil
}

// ended implements source: only the body's end ends it.
func (f *frames) ended() bool { return false }

// rest implements source.
func (f *frames) rest() error {
	if n := len(f.buf) - f.used; n > 0 {
		return errParam("invalid_data", "data", "The stream ends within a message, of which there are %d bytes.", n)
	}
	return nil
}
