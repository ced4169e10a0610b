package gemini

import (
	"bytes"
	"math/bits"

	"sluice/internal/jsonscan"
)

// offsets knows where the characters of a text begin: the API counts in bytes, the vocabulary
// in characters.
type offsets struct {
	ascii int      // bytes at the beginning of the text that are a character each
	after int      // bytes after those
	begin []uint64 // a bit for each of them: a character begins there
	text  []byte   // room
}

// maxKnown bounds the bytes of a text of which it is kept where characters begin.
const maxKnown = 1 << 20

func (o *offsets) reset() {
	if cap(o.text) > 64<<10 || cap(o.begin) > 8<<10 {
		*o = offsets{}
		return
	}
	*o = offsets{begin: o.begin[:0], text: o.text[:0]}
}

// add adds a piece of the text, a JSON string.
func (o *offsets) add(v []byte) {
	if o.after > maxKnown {
		return
	}
	text := v[1 : len(v)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		o.text = jsonscan.AppendText(o.text[:0], v)
		text = o.text
	}
	if o.after == 0 {
		n := 0
		for n < len(text) && text[n] < 0x80 {
			n++
		}
		o.ascii += n
		text = text[n:]
	}
	for _, c := range text {
		if o.after%64 == 0 {
			o.begin = append(o.begin, 0)
		}
		if c&0xc0 != 0x80 {
			o.begin[o.after/64] |= 1 << (o.after % 64)
		}
		o.after++
	}
}

// characters is how many characters are in the first n bytes; ok is false where that is not known.
func (o *offsets) characters(n int) (count int, ok bool) {
	if n <= o.ascii {
		return max(n, 0), n >= 0
	}
	if n -= o.ascii; n > o.after {
		return 0, false
	}
	count = o.ascii
	for _, word := range o.begin[:n/64] {
		count += bits.OnesCount64(word)
	}
	if n%64 != 0 {
		count += bits.OnesCount64(o.begin[n/64] & (1<<(n%64) - 1))
	}
	return count, true
}

// bytes is how many bytes the first n characters are; ok is false where that is not known.
func (o *offsets) bytes(n int) (count int, ok bool) {
	if n <= o.ascii {
		return max(n, 0), n >= 0
	}
	n -= o.ascii
	for i, word := range o.begin {
		ones := bits.OnesCount64(word)
		if n < ones {
			for ; n > 0; n-- {
				word &= word - 1
			}
			return o.ascii + i*64 + bits.TrailingZeros64(word), true
		}
		n -= ones
	}
	return o.ascii + o.after, n == 0
}
