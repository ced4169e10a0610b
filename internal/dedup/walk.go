package dedup

import (
	"bytes"

	"sluice/internal/jsonscan"
)

// object calls visit with each key, and where its value begins, of the object at i. visit gives
// where the value ends; below 0 ends it all. A key with escapes does too: it may be any.
func (c *conversation) object(i int, visit func(key []byte, at int) int) int {
	b := c.body
	if i >= len(b) || b[i] != '{' {
		return -1
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for i < len(b) && b[i] == '"' {
		start := i + 1
		if i = jsonscan.TextEnd(b, start); i < 0 {
			return -1
		}
		key := b[start : i-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			return -1
		}
		if i = space(b, i); i >= len(b) || b[i] != ':' {
			return -1
		}
		if i = space(b, i+1); i >= len(b) {
			return -1
		}
		if i = visit(key, i); i < 0 {
			return -1
		}
		var more bool
		if i, more = after(b, i, '}'); !more {
			return i
		}
	}
	return -1
}

// array calls visit with where each element of the array at i begins.
func (c *conversation) array(i int, visit func(at int) int) int {
	b := c.body
	if i = space(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1
	}
	for i < len(b) {
		if i = visit(i); i < 0 {
			return -1
		}
		var more bool
		if i, more = after(b, i, ']'); !more {
			return i
		}
	}
	return -1
}

// after gives what follows a member or an element that ends at i: the next one, or the end,
// below 0 where there is neither.
func after(b []byte, i int, closing byte) (next int, more bool) {
	i = space(b, i)
	switch {
	case i >= len(b):
		return -1, false
	case b[i] == ',':
		return space(b, i+1), true
	case b[i] == closing:
		return i + 1, false
	}
	return -1, false
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// readText reads the string at i.
func (c *conversation) readText(i int, t *text) int {
	t.Start, t.first = i+1, len(c.starts)
	if c.noting {
		c.starts = append(c.starts, uint32(i+1))
	}
	if t.End = c.scan(i + 1); t.End < 0 {
		return -1
	}
	c.spoken += t.End - t.Start
	if !c.noting {
		return t.End + 1
	}
	switch t.lines = len(c.starts) - t.first; {
	case t.lines > crowd(t.End-t.Start) || c.unicode && oddBreak(c.body[t.Start:t.End]):
		c.starts, t.lines, t.unread = c.starts[:t.first], 0, true
	default:
		if c.start(t.first+t.lines-1) == t.End { // nothing stands behind the last \n
			t.lines--
		} else {
			c.starts = append(c.starts, uint32(t.End+2))
		}
	}
	return t.End + 1
}

// empty reports whether the value at i is null, or a list or an object with nothing in it.
func (c *conversation) empty(i int) bool {
	b := c.body
	if b[i] != '[' && b[i] != '{' {
		return b[i] == 'n'
	}
	i = space(b, i+1)
	return i < len(b) && (b[i] == ']' || b[i] == '}')
}
