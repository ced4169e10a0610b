package dedup

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// scan reads the rest of the JSON string in which i is, right behind its opening quote, and
// gives the index of its closing quote, below 0 for none. Where lines are noted it appends
// where each begins that is behind an escape \n. It looks at 64 bytes at a time: which of them
// are escaped is found as in simdjson (Langdale and Lemire, Parsing Gigabytes of JSON per
// Second, 2019), without a branch for each.
func (c *conversation) scan(i int) int {
	b, starts, noting := c.body, c.starts, c.noting
	most := len(starts) + crowd(len(b)-i) // a text with more is crowded, however long it is
	var unicode uint64                    // not 0: it may have an escape \u
	var escaped uint64                    // bit 0: the first byte of the block is
	for ; i+64 <= len(b); i += 64 {
		block := (*[64]byte)(b[i:])
		q0, s0 := marks(block[0:8])
		q1, s1 := marks(block[8:16])
		q2, s2 := marks(block[16:24])
		q3, s3 := marks(block[24:32])
		q4, s4 := marks(block[32:40])
		q5, s5 := marks(block[40:48])
		q6, s6 := marks(block[48:56])
		q7, s7 := marks(block[56:64])
		quotes := q0 | q1<<8 | q2<<16 | q3<<24 | q4<<32 | q5<<40 | q6<<48 | q7<<56
		slashes := s0 | s1<<8 | s2<<16 | s3<<24 | s4<<32 | s5<<40 | s6<<48 | s7<<56
		mask := escaped
		if slashes != 0 {
			mask, escaped = escapes(slashes, escaped)
		} else {
			escaped = 0
		}
		closing := quotes &^ mask
		if noting && mask != 0 {
			if closing != 0 {
				mask &= closing&-closing - 1
			}
			newlines, us := letters(block)
			unicode |= us & mask
			newlines &= mask &^ slashes
			for ; newlines != 0; newlines &= newlines - 1 {
				starts = append(starts, uint32(i+bits.TrailingZeros64(newlines)+1))
			}
			noting = len(starts) <= most
		}
		if closing != 0 {
			c.starts, c.unicode = starts, unicode != 0
			return i + bits.TrailingZeros64(closing)
		}
	}
	if i < len(b) {
		unicode = 1 // what is left is short
	}
	if escaped != 0 && i < len(b) {
		if noting && b[i] == 'n' {
			starts = append(starts, uint32(i+1))
		}
		i++
	}
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			c.starts, c.unicode = starts, unicode != 0
			return i
		case '\\':
			if i++; noting && i < len(b) && b[i] == 'n' {
				starts = append(starts, uint32(i+1))
			}
		}
	}
	return -1
}

// crowd is how many lines a text of n bytes may have. One with more is left alone: noting them
// would take more memory than it does.
func crowd(n int) int { return n/8 + 16 }

// oddBreak reports whether a text has a line break that is written as \u000a.
func oddBreak(b []byte) bool {
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte(`\u000`))
		if i < 0 {
			return false
		}
		i += at
		at = i + len(`\u000`)
		if lineBreak(b[i:]) == 0 {
			continue
		}
		from := i // where the backslashes before it begin
		for from > 0 && b[from-1] == '\\' {
			from--
		}
		if (i-from)%2 == 0 {
			return true
		}
	}
}

// lineBreak gives the length of the escape that b begins with where it is one of a line break,
// else 0.
func lineBreak(b []byte) int {
	switch {
	case len(b) >= 2 && b[1] == 'n':
		return 2
	case len(b) >= 6 && string(b[1:5]) == "u000" && b[5]|0x20 == 'a':
		return 6
	}
	return 0
}

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// marks gives a bit for each of eight bytes that is a quote, a backslash. Of those below 0x80
// only one that is 0 leaves the top bit when it is subtracted from 0x80.
func marks(b []byte) (quotes, slashes uint64) {
	const gather = 0x0002040810204081 // brings the top bits together
	w := binary.LittleEndian.Uint64(b)
	ascii, low := tops&^w, w&^tops
	quotes = (tops - (low ^ '"'*ones)) & ascii * gather >> 56
	slashes = (tops - (low ^ '\\'*ones)) & ascii * gather >> 56
	return quotes, slashes
}

// letters gives which of 64 bytes may be the n and the u of an escape: of what JSON has behind a
// backslash, n alone has bits 3 and 6, the backslash aside, and u alone bits 0 and 6.
func letters(b *[64]byte) (ens, us uint64) {
	n0, u0 := letters8(b[0:8])
	n1, u1 := letters8(b[8:16])
	n2, u2 := letters8(b[16:24])
	n3, u3 := letters8(b[24:32])
	n4, u4 := letters8(b[32:40])
	n5, u5 := letters8(b[40:48])
	n6, u6 := letters8(b[48:56])
	n7, u7 := letters8(b[56:64])
	return n0 | n1<<8 | n2<<16 | n3<<24 | n4<<32 | n5<<40 | n6<<48 | n7<<56,
		u0 | u1<<8 | u2<<16 | u3<<24 | u4<<32 | u5<<40 | u6<<48 | u7<<56
}

func letters8(b []byte) (ens, us uint64) {
	const gather = 0x0102040810204080 // brings the low bits together
	w := binary.LittleEndian.Uint64(b)
	six := w >> 6 & ones
	return w >> 3 & six * gather >> 56, w & six * gather >> 56
}

// escapes gives which of 64 bytes are escaped by the backslashes among them, and whether the
// byte after them is. first says whether the first one is, by what stands before.
func escapes(slashes, first uint64) (escaped, next uint64) {
	const even = 0x5555555555555555
	slashes &^= first
	follows := slashes<<1 | first
	odd := slashes &^ even &^ follows
	sum, next := bits.Add64(odd, slashes, 0)
	return (even ^ sum<<1) & follows, next
}
