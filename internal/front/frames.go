package front

import (
	"encoding/binary"
	"math/rand/v2"
)

// frames follows the frames of one direction of a WebSocket (RFC 6455 section
// 5.2) without looking at what is in them: where one ends, another may be put
// behind it, and whether one said Close.
type frames struct {
	head   [14]byte
	n      int    // bytes of head that are there
	left   uint64 // bytes of the frame that are to come, once its head is there
	closed bool   // a Close frame has begun
}

const opClose = 8

// between reports whether a frame has ended and no other begun.
func (f *frames) between() bool { return f.n == 0 && f.left == 0 }

// feed takes bytes as they come, all of them or, with stop, those up to the end
// of the frame that is under way. It returns how many it took.
func (f *frames) feed(b []byte, stop bool) (taken int) {
	for taken < len(b) && !(stop && f.between()) {
		if f.left > 0 {
			n := min(f.left, uint64(len(b)-taken))
			f.left -= n
			taken += int(n)
			continue
		}
		f.head[f.n] = b[taken]
		f.n++
		taken++
		if f.n >= 2 && f.n == f.headSize() {
			f.begin()
		}
	}
	return taken
}

// headSize is how long the head is, as its first two bytes say.
func (f *frames) headSize() int {
	size := 2
	switch f.head[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.head[1]&0x80 != 0 {
		size += 4
	}
	return size
}

// begin reads a whole head.
func (f *frames) begin() {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		f.left = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		f.left = binary.BigEndian.Uint64(f.head[2:])
	default:
		f.left = uint64(n)
	}
	f.closed = f.closed || f.head[0]&0xf == opClose
	f.n = 0
}

// maxCloseFrame is the length in bytes of the longest frame of appendClose.
const maxCloseFrame = 2 + 4 + 125

// appendClose appends a Close frame, masked as those to a server have to be.
// reason is at most 123 bytes.
func appendClose(dst []byte, code uint16, reason string, masked bool) []byte {
	dst = append(dst, 0x80|opClose, byte(2+len(reason)))
	start := len(dst)
	if masked {
		dst[start-1] |= 0x80
		dst = binary.NativeEndian.AppendUint32(dst, rand.Uint32())
		start += 4
	}
	dst = append(binary.BigEndian.AppendUint16(dst, code), reason...)
	if masked {
		mask := dst[start-4 : start]
		for i := range dst[start:] {
			dst[start+i] ^= mask[i%4]
		}
	}
	return dst
}
