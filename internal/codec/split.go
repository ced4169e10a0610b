package codec

import (
	"bytes"

	"sluice/internal/jsonscan"
)

// Here the places of items are found without a look at whether they are JSON. That
// shows when an item is read. Where each turns out to be JSON, these are its ends: a
// sound document has no other.

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
		stop := jsonscan.TextEnd(b, start+1)
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
		if i = jsonscan.ValueEnd(b, i); i < 0 {
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
		it.end = jsonscan.ValueEnd(b, i)
		return it, it.end > 0
	}
	start := space(b, i+len(begin))
	stop := jsonscan.ValueEnd(b, start)
	if stop < 0 {
		return it, false
	}
	if end := space(b, stop); at(b, end) == '}' {
		it.data, it.dataEnd, it.end = start, stop, end+1
	} else {
		it.end = jsonscan.NestedEnd(b, stop, 1)
	}
	return it, it.end > 0
}

// separator gives what stands between two items, from the bracket that ends the
// first to the first key of the second, which begins at next bytes of it; "" where
// they are no objects.
func separator(b []byte, end, start int) (text []byte, next int) {
	if key := space(b, start+1); b[end-1] == '}' && at(b, start) == '{' && at(b, key) == '"' {
		if stop := jsonscan.TextEnd(b, key+1); stop > 0 {
			return b[end-1 : stop], start - (end - 1)
		}
	}
	return nil, 0
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
