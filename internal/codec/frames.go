package codec

import (
	"encoding/binary"
)

// keepBuffer is the largest buffer in bytes that frames keeps between messages.
const keepBuffer = 64 << 10

// frames is a source of messages that each have their length before them as a
// varint.
type frames struct {
	max  int // bytes of a message
	buf  []byte
	used int // how much of buf was handed out
}

// put implements source. What next returned before is gone.
func (f *frames) put(piece []byte) error {
	if f.used > 0 {
		rest := f.buf[f.used:]
		if len(rest) == 0 && cap(f.buf) > keepBuffer {
			f.buf = nil
		}
		f.buf, f.used = f.buf[:copy(f.buf, rest)], 0
	}
	f.buf = append(f.buf, piece...)
	return nil
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
