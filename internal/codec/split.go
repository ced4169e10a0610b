package codec

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strings"
)

// Here the places of items are found, eight bytes at a time, without a look at
// whether they are JSON. That shows when an item is read. Where each turns out to
// be JSON, these are its ends: a sound document has no other.

// itemsAt gives where the array of items begins, the bracket included, in an
// envelope that has it before any data; -1 where this cannot be seen at a glance.
func itemsAt(b []byte) int {
	i := space(b, 0)
	for open := byte('{'); ; open = ',' {
		if at(b, i) != open {
			return -1
		}
		start := space(b, i+1)
		if at(b, start) != '"' {
			return -1
		}
		stop := stringEnd(b, start)
		if i = space(b, max(stop, 0)); stop < 0 || at(b, i) != ':' {
			return -1
		}
		i = space(b, i+1)
		switch string(b[start:stop]) {
		case `"items"`:
			if at(b, i) == '[' {
				return i
			}
			return -1
		case `"data"`:
			return -1
		}
		if i = valueEnd(b, i); i < 0 {
			return -1
		}
		i = space(b, i)
	}
}

// item is where an item of a batch stands in the body. data is the whole value of
// its member of that name where the item has no other, else empty.
type item struct{ start, end, data, dataEnd int }

// itemAt finds the end of the item that begins at i; ok is false where it has none.
func itemAt(b []byte, i int) (it item, ok bool) {
	const begin = `{"data":`
	it.start = i
	if !bytes.HasPrefix(b[i:], []byte(begin)) {
		it.end = valueEnd(b, i)
		return it, it.end > 0
	}
	start := space(b, i+len(begin))
	stop := valueEnd(b, start)
	if stop < 0 {
		return it, false
	}
	if end := space(b, stop); at(b, end) == '}' {
		it.data, it.dataEnd, it.end = start, stop, end+1
	} else {
		it.end = nestedEnd(b, stop, 1)
	}
	return it, it.end > 0
}

// separator gives what stands between two items, from the bracket that ends the
// first to the first key of the second, which begins at next bytes of it; "" where
// they are no objects.
func separator(b []byte, end, start int) (text []byte, next int) {
	if key := space(b, start+1); b[end-1] == '}' && at(b, start) == '{' && at(b, key) == '"' {
		if stop := stringEnd(b, key); stop > 0 {
			return b[end-1 : stop], start - (end - 1)
		}
	}
	return nil, 0
}

// valueEnd finds the end of the value that begins at i, -1 for none.
func valueEnd(b []byte, i int) int {
	switch at(b, i) {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		return nestedEnd(b, i+1, 1)
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

// stringEnd finds the end of the string whose opening quote is at i.
func stringEnd(b []byte, i int) int {
	for i++; ; i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		slashes := i + n
		for slashes > i && b[slashes-1] == '\\' {
			slashes--
		}
		if i += n; (i-slashes)%2 == 0 {
			return i + 1
		}
	}
}

// nestedEnd finds the end of the outermost of depth arrays and objects of which i
// is inside, in no string. It does not tell the two kinds of brackets apart.
func nestedEnd(b []byte, i, depth int) int {
	text := false // inside a string
	for i < len(b) {
		w := eight(b, i)
		x := w ^ '"'*ones
		quotes := ^((x&^tops + (tops - ones)) | x) & tops
		// With bit 5 set, [ \ ] are { | }, which stand side by side.
		x = (w | 0x20*ones) &^ tops
		marks := (x + (0x80-'{')*ones) &^ (x + (0x7f-'}')*ones) &^ w & tops
		next := i + 8
		if marks == 0 {
			text = text != (bits.OnesCount64(quotes)&1 == 1)
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
				next = n + 2 // what follows ends no string
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

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// at gives the byte at i, 0 behind the end.
func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}
