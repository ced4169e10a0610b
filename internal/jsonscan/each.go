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
		for i := enter(b, '{'); i >= 0; {
			var name, value []byte
			if name, value, i = memberAt(b, i); value == nil || !yield(name, value) {
				return
			}
		}
	}
}

// ElementsOf gives the elements of the array b in their order. Any other value has none.
func ElementsOf(b []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		for i := enter(b, '['); i >= 0; {
			var value []byte
			if value, i = elementAt(b, i); value == nil || !yield(value) {
				return
			}
		}
	}
}

// memberAt reads the member that begins at i, and gives where the next does, -1 for none.
// value is nil where there is none. It is not to become part of each loop.
//
//go:noinline
func memberAt(b []byte, i int) (name, value []byte, next int) {
	if i >= len(b) || b[i] != '"' {
		return nil, nil, -1
	}
	end := TextEnd(b, i+1)
	if end < 0 {
		return nil, nil, -1
	}
	name = b[i+1 : end-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		text, err := String(b[i:end])
		if err != nil {
			return nil, nil, -1
		}
		name = []byte(text)
	}
	if i = spaceFrom(b, end); i >= len(b) || b[i] != ':' {
		return nil, nil, -1
	}
	value, next = elementAt(b, spaceFrom(b, i+1))
	return name, value, next
}

// elementAt reads the element that begins at i as memberAt reads a member.
//
//go:noinline
func elementAt(b []byte, i int) (value []byte, next int) {
	end := ValueEnd(b, i)
	if end < 0 {
		return nil, -1
	}
	return b[i:end], after(b, end)
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
//
//go:noinline
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
