package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strings"
)

// What follows passes over JSON, eight bytes at a time, without a look at whether
// it is any. A value that is JSON ends where they say; any other somewhere in b, or
// not at all. All else is read strictly: see Validate and Members.

// ValueEnd finds the end of the value that begins at i, -1 for none.
func ValueEnd(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return TextEnd(b, i+1)
	case '{', '[':
		return NestedEnd(b, i+1, 1)
	}
	stop := i
	for stop < len(b) && strings.IndexByte(",]}:[{\" \n\r\t", b[stop]) < 0 {
		stop++
	}
	if stop == i {
		return -1
	}
	return stop
}

// TextEnd finds the end of the string of which i is inside, right behind its
// opening quote or further on but behind no backslash: the index after its closing
// quote, -1 for none.
func TextEnd(b []byte, i int) int {
	const short = 64 // most are, and looked through by words
	for stop := min(i+short, len(b)-7); i < stop; {
		w := binary.LittleEndian.Uint64(b[i:])
		quotes, slashes := w^'"'*ones, w^'\\'*ones
		// The lowest bit that is set is that of the first; there may be more than there are.
		found := ((quotes-ones)&^quotes | (slashes-ones)&^slashes) & tops
		if found == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(found) / 8
		if b[i] == '"' {
			return i + 1
		}
		i += 2
	}
	for begin := i; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		if i += n; !escaped(b[begin:i]) {
			return i + 1
		}
	}
	return -1
}

// escaped reports whether what follows text, a part of a string, is escaped by it.
func escaped(text []byte) bool {
	n := len(text)
	for n > 0 && text[n-1] == '\\' {
		n--
	}
	return (len(text)-n)%2 == 1
}

// NestedEnd finds the end of the outermost of depth arrays and objects of which i
// is inside, in no string; -1 for none. It does not tell the two kinds of brackets
// apart.
func NestedEnd(b []byte, i, depth int) int {
	s := Skip{Depth: depth}
	return s.nested(b, i)
}

// Skip passes over the rest of a value that comes in pieces, however they are cut:
// of a string right behind its opening quote, or of Depth arrays and objects, where
// that is above 0.
type Skip struct {
	Depth     int
	text      bool // inside a string of these
	backslash bool // the last byte escapes the next
}

// End finds the end of the value in the next piece, from i on; -1 where the piece
// has none. After the end s is not used again.
func (s *Skip) End(b []byte, i int) int {
	if s.backslash && i < len(b) {
		s.backslash = false
		i++
	}
	if s.Depth > 0 {
		return s.nested(b, i)
	}
	end := TextEnd(b, i)
	if end < 0 && i < len(b) {
		s.backslash = escaped(b[i:])
	}
	return end
}

func (s *Skip) nested(b []byte, i int) int {
	// From this many words inside of one string on, it is faster to look for its end.
	const long = 4
	depth, text, quiet := s.Depth, s.text, 0
	for i < len(b) {
		w := eight(b, i)
		x := w ^ '"'*ones
		quotes := ^((x&^tops + (tops - ones)) | x) & tops
		// With bit 5 set, [ \ ] are { | }, which stand side by side.
		x = (w | 0x20*ones) &^ tops
		marks := (x + (0x80-'{')*ones) &^ (x + (0x7f-'}')*ones) &^ w & tops
		next := i + 8
		if marks == 0 {
			if !text || quotes != 0 {
				text = text != (bits.OnesCount64(quotes)&1 == 1)
				quiet = 0
			} else if quiet++; quiet == long {
				if next = TextEnd(b, i); next < 0 {
					s.Depth, s.text, s.backslash = depth, true, escaped(b[i:])
					return -1
				}
				text, quiet = false, 0
			}
			i = next
			continue
		}
	word:
		for all := quotes | marks; all != 0; all &= all - 1 {
			n := i + bits.TrailingZeros64(all)/8
			switch c := b[n]; {
			case c == '"':
				text = !text
			case text && c == '\\':
				if next = n + 2; next > len(b) { // what follows ends no string
					s.backslash = true
				}
				break word
			case text:
			case c == '[' || c == '{':
				depth++
			case c == ']' || c == '}':
				if depth--; depth == 0 {
					return n + 1
				}
			}
		}
		i = next
	}
	s.Depth, s.text = depth, text
	return -1
}

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// eight gives the eight bytes at i, with zeros behind the end.
func eight(b []byte, i int) uint64 {
	if len(b)-i >= 8 {
		return binary.LittleEndian.Uint64(b[i:])
	}
	var last [8]byte
	copy(last[:], b[i:])
	return binary.LittleEndian.Uint64(last[:])
}
