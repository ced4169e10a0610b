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
			if high&tops != 0 && !utf8.Valid(t.raw) {
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

// str reads a string and writes it with its length before it.
func (e *encoder) str() (size int, ok bool) {
	if cap(e.out)-len(e.out) >= len(e.in)-e.i+8 {
		return e.copied()
	}
	t, ok := e.text()
	if ok && e.short(e.out, t.size) {
		ok = e.grow(t.size)
	}
	if ok {
		e.out = appendVarint(e.out, uint64(t.size))
		e.out = t.appendTo(e.out)
	}
	return t.size, ok
}

// copied is str in one pass over the bytes, for an output that has room for
// all that is left of the input.
func (e *encoder) copied() (size int, ok bool) {
	in, i := e.in, e.i+1
	at := len(e.out)
	out := e.out[:cap(e.out)]
	o := at + 1 // one byte for the length, as most strings need
	var high uint64
	for {
		for i+8 <= len(in) {
			x := binary.LittleEndian.Uint64(in[i:])
			binary.LittleEndian.PutUint64(out[o:], x)
			if hit := special(x); hit != 0 {
				n := bits.TrailingZeros64(hit)
				high |= x & (1<<n - 1)
				i, o = i+n/8, o+n/8
				break
			}
			high |= x
			i, o = i+8, o+8
		}
		for i < len(in) && in[i] >= ' ' && in[i] != '"' && in[i] != '\\' {
			out[o] = in[i]
			high |= uint64(in[i])
			i, o = i+1, o+1
		}
		if i >= len(in) || in[i] != '\\' {
			break
		}
		r, n := escape(in[i:])
		if n == 0 {
			return 0, e.fail(i, "invalid escape in a string")
		}
		o += utf8.EncodeRune(out[o:], r)
		i += n
	}
	switch {
	case i >= len(in):
		return 0, e.fail(i, "unexpected end of a string")
	case in[i] != '"':
		return 0, e.fail(i, "control character in a string")
	case high&tops != 0 && !utf8.Valid(out[at+1:o]):
		return 0, e.fail(e.i, "invalid UTF-8 in a string")
	}
	e.i = i + 1
	size = o - at - 1
	if more := varintSize(uint64(size)) - 1; more > 0 {
		copy(out[at+1+more:], out[at+1:o])
		o += more
	}
	putVarint(out[at:], uint64(size))
	e.out = out[:o]
	return size, true
}

// plain returns the first index from i on that holds a quote, a backslash, a
// control character or the end of b. high has the top bit of a byte set once
// one from 0x80 up was passed.
func plain(b []byte, i int, high uint64) (int, uint64) {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		if hit := special(x); hit != 0 {
			n := bits.TrailingZeros64(hit)
			return i + n/8, high | x&(1<<n-1)
		}
		high |= x
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		high |= uint64(b[i])
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
