package protobuf

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// text is a JSON string that was found sound: what stands between its quotes,
// and how many bytes that is once its escapes are resolved.
type text struct {
	raw  []byte
	size int
}

// escaped reports whether the bytes of t differ from what they mean.
func (t text) escaped() bool { return t.size != len(t.raw) }

// appendTo appends what t means to dst.
func (t text) appendTo(dst []byte) []byte {
	if !t.escaped() {
		return append(dst, t.raw...)
	}
	raw := t.raw
	for i := bytes.IndexByte(raw, '\\'); i >= 0; i = bytes.IndexByte(raw, '\\') {
		dst = append(dst, raw[:i]...)
		r, n := escape(raw[i:])
		dst = utf8.AppendRune(dst, r)
		raw = raw[i+n:]
	}
	return append(dst, raw...)
}

// text reads the string whose opening quote is the next byte. It takes what
// protojson takes: valid UTF-8, no control characters, and no half of a
// surrogate pair, not even as an escape.
func (e *encoder) text() (text, bool) {
	b := e.in
	start := e.i + 1
	saved := 0
	var high uint64
	for i := start; ; {
		i, high = plain(b, i, high)
		if i >= len(b) {
			return text{}, e.fail(i, "unexpected end of a string")
		}
		switch b[i] {
		case '"':
			t := text{b[start:i], i - start - saved}
			if high != 0 && !utf8.Valid(t.raw) {
				return text{}, e.fail(e.i, "invalid UTF-8 in a string")
			}
			e.i = i + 1
			return t, true
		case '\\':
			r, n := escape(b[i:])
			if n == 0 {
				return text{}, e.fail(i, "invalid escape in a string")
			}
			saved += n - utf8.RuneLen(r)
			i += n
		default:
			return text{}, e.fail(i, "control character in a string")
		}
	}
}

// plain returns the first index from i on that holds a quote, a backslash, a
// control character or the end of b. high is not zero once a byte from 0x80 up
// may have been passed. It looks at eight bytes at a time: a borrow in the
// subtractions can only run upwards from a byte that is a hit itself, so the
// lowest hit, which alone is used, is exact.
func plain(b []byte, i int, high uint64) (int, uint64) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		// Flipping bit 1 puts '"' (0x22) right above the control characters
		// (0x00 to 0x1f) and moves nothing else below it.
		low := ((x ^ 0x02*ones) - 0x21*ones) &^ x
		slash := x ^ '\\'*ones
		hit := (low | (slash-ones)&^slash) & tops
		if hit != 0 {
			n := bits.TrailingZeros64(hit)
			return i + n/8, high | x&tops&(1<<n-1)
		}
		high |= x & tops
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		high |= uint64(b[i] & utf8.RuneSelf)
		i++
	}
	return i, high
}

// escape reads the escape that b begins with. n is its length, 0 where it is
// none or half of a surrogate pair.
func escape(b []byte) (r rune, n int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch c := b[1]; c {
	case '"', '\\', '/':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	r, ok := unit(b)
	if !ok || !utf16.IsSurrogate(r) {
		return r, 6 * btoi(ok)
	}
	second, ok := unit(b[6:])
	if r = utf16.DecodeRune(r, second); !ok || r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// unit reads \u and four hexadecimal digits, the head of b.
func unit(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
