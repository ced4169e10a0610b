package jsonscan

import (
	"bytes"
	"errors"
	"strconv"

	"sluice/internal/llm"
)

// lenientDepth bounds Get and Elements, which read documents that were
// accepted elsewhere; it only keeps hostile bytes from exhausting the stack.
const lenientDepth = 10_000

// Get finds a value by its path in b, which is valid JSON. An element of path
// names a member of an object (the first of that name) or, as a decimal number
// from 0, an element of an array. It reads no further than the value. On bytes
// that are not JSON it may find nothing or something, and does no harm.
func Get(b []byte, path ...string) (value llm.Span, ok bool) {
	s := newScanner(b, lenientDepth)
	start := s.space(0)
	for _, name := range path {
		var found llm.Span
		switch s.at(start) {
		case '{':
			found, ok = s.member(start, name)
		case '[':
			found, ok = s.element(start, name)
		default:
			return llm.Span{}, false
		}
		if !ok {
			return llm.Span{}, false
		}
		start = found.Start
		value = found
	}
	if len(path) == 0 {
		value = llm.Span{Start: start, End: s.value(start, 0)}
	}
	return value, value.End > 0
}

// errFound ends a scan; it reaches no caller.
var errFound = errors.New("found")

func (s *scanner) member(i int, name string) (value llm.Span, ok bool) {
	s.object(i, 1, func(key []byte, v llm.Span) error {
		if string(key) != name {
			return nil
		}
		value, ok = v, true
		return errFound
	})
	return value, ok
}

func (s *scanner) element(i int, name string) (value llm.Span, ok bool) {
	n, err := strconv.Atoi(name)
	if err != nil || n < 0 {
		return llm.Span{}, false
	}
	s.array(i, 1, func(v llm.Span) bool {
		if n == 0 {
			value, ok = v, true
		}
		n--
		return !ok
	})
	return value, ok
}

// Elements calls visit with the place of each element of the array b, which is
// valid JSON, until visit returns false. It calls nothing where b is no array.
func Elements(b []byte, visit func(value llm.Span) bool) {
	s := newScanner(b, lenientDepth)
	if i := s.space(0); s.at(i) == '[' {
		s.array(i, 1, visit)
	}
}

// Bool reads true or false; ok is false for any other bytes.
func Bool(raw []byte) (value, ok bool) {
	switch {
	case bytes.Equal(raw, []byte("true")):
		return true, true
	case bytes.Equal(raw, []byte("false")):
		return false, true
	default:
		return false, false
	}
}
