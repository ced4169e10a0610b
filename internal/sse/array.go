package sse

import (
	"bytes"

	"sluice/internal/jsonscan"
)

// Array has the events of a stream be the elements of one JSON array, which grows as they
// come: the form in which Google's APIs send a stream unless they are asked for events. An
// element is an event's payload, byte for byte; what has none, as comments, and [DONE] are no
// elements. The zero Array is ready for the beginning of a stream.
type Array struct{ begun, some bool }

// Fits reports whether an event can be part of an array: what it says, if it does, is JSON.
func Fits(raw []byte) bool {
	data, _ := Data(bytes.TrimPrefix(raw, []byte(bom)), nil)
	return len(bytes.TrimLeft(data, blank)) == 0 || IsDone(data) || jsonscan.Validate(data, 0) == nil
}

// blank is what may stand in front of a payload, or in place of one.
const blank = " \t\n"

// Frame turns events that fit into elements, in place: what comes out is never longer. It is never
// empty where b is not: in place of events without an element there is white space, which keeps a
// connection alive as a comment does, or the array's beginning, before which readers take no white
// space. An event without its blank line, which can only be the last, is one all the same.
func (a *Array) Frame(b []byte) []byte {
	rest, out := b, b[:0]
	if !a.begun {
		rest = bytes.TrimPrefix(rest, []byte(bom))
	}
	open, other := false, false
	for len(rest) > 0 {
		var line []byte
		line, rest = cutLine(rest)
		if len(line) == 0 {
			if open {
				out = append(out, '\n')
			}
			open, other = false, false
			continue
		}
		name, value := cutField(line)
		switch {
		case string(name) != "data" || other:
		case open: // an end of a line is shorter than "data:"
			out = append(append(out, '\n'), value...)
		case IsDone(value):
			other = true
		case len(bytes.TrimLeft(value, blank)) > 0:
			open = true
			out = append(a.separate(out), value...) // and so is what separates elements
		}
	}
	switch {
	case len(out) > 0 || len(b) == 0:
		return out
	case a.begun:
		return append(out, '\n')
	default:
		a.begun = true
		return append(out, '[')
	}
}

// separate appends what stands in front of an element.
func (a *Array) separate(dst []byte) []byte {
	switch {
	case a.some:
		dst = append(dst, ",\r\n"...)
	case !a.begun:
		dst = append(dst, '[')
	}
	a.begun, a.some = true, true
	return dst
}

// End is the end of the array. Nothing may follow it: there are readers that take no byte more.
func (a *Array) End() string {
	if a.begun {
		return "]"
	}
	return "[]"
}
