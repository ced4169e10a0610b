package jsonscan

import (
	"bytes"
	"iter"
)

// What follows walks JSON that was found sound (Validate) without checking it again: each
// level is passed over once, with ValueEnd. On bytes that are no JSON it ends early.

// MembersOf gives the names and values of the object b in their order. Names have their
// escapes decoded. Any other value has none.
func MembersOf(b []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := enter(b, '{'); i >= 0 && i < len(b) && b[i] == '"'; {
			end := TextEnd(b, i+1)
			if end < 0 {
				return
			}
			name := b[i+1 : end-1]
			if bytes.IndexByte(name, '\\') >= 0 {
				text, err := String(b[i:end])
				if err != nil {
					return
				}
				name = []byte(text)
			}
			if i = spaceFrom(b, end); i >= len(b) || b[i] != ':' {
				return
			}
			start := spaceFrom(b, i+1)
			if end = ValueEnd(b, start); end < 0 || !yield(name, b[start:end]) {
				return
			}
			i = after(b, end)
		}
	}
}

// ElementsOf gives the elements of the array b in their order. Any other value has none.
func ElementsOf(b []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		for i := enter(b, '['); i >= 0; {
			end := ValueEnd(b, i)
			if end < 0 || !yield(b[i:end]) {
				return
			}
			i = after(b, end)
		}
	}
}

// Member gives the value of the first member of a name, nil for none and for null.
func Member(b []byte, name string) []byte {
	for n, v := range MembersOf(b) {
		if string(n) == name {
			if string(v) == "null" {
				return nil
			}
			return v
		}
	}
	return nil
}

// enter gives where the first member or element of b begins, -1 for none.
func enter(b []byte, bracket byte) int {
	i := spaceFrom(b, 0)
	if i >= len(b) || b[i] != bracket {
		return -1
	}
	return spaceFrom(b, i+1)
}

// after gives where what follows a value begins, -1 for none.
func after(b []byte, end int) int {
	i := spaceFrom(b, end)
	if i >= len(b) || b[i] != ',' {
		return -1
	}
	return spaceFrom(b, i+1)
}

func spaceFrom(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}
