package protobuf

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf8"
)

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// appendText appends s as a JSON string, and reports whether s is UTF-8. It
// copies eight bytes at a time and looks for what must be escaped meanwhile.
func appendText(dst, s []byte) ([]byte, bool) {
	const room = 16 // for eight bytes, an escape and a quote
	dst = append(dst, '"')
	n := len(dst)
	out := slices.Grow(dst, len(s)+room)
	out = out[:cap(out)]
	var high uint64 // the top bits of what was read
	i := 0
	for i < len(s) {
		for len(s)-i >= 8 {
			w := binary.LittleEndian.Uint64(s[i:])
			binary.LittleEndian.PutUint64(out[n:], w)
			high |= w
			if found := special(w); found != 0 {
				k := bits.TrailingZeros64(found) / 8
				n, i = n+k, i+k
				break
			}
			n, i = n+8, i+8
		}
		for i < len(s) && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' {
			high |= uint64(s[i])
			out[n] = s[i]
			n, i = n+1, i+1
		}
		if i < len(s) {
			out = appendEscape(out[:n], s[i])
			n, i = len(out), i+1
			out = slices.Grow(out, len(s)-i+room)
			out = out[:cap(out)]
		}
	}
	dst = append(out[:n], '"')
	return dst, high&tops == 0 || utf8.Valid(s)
}

// special marks, with its top bit, the first of eight bytes that a JSON string
// cannot hold as it is. What it says of the bytes after that may be wrong.
func special(w uint64) uint64 {
	quotes, slashes := w^ones*'"', w^ones*'\\'
	return ((w-ones*' ')&^w | (quotes-ones)&^quotes | (slashes-ones)&^slashes) & tops
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
