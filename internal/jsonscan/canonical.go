package jsonscan

import (
	"bytes"
	"io"
	"math"
	"slices"
)

const (
	// gather is how many bytes are written at a time where pieces are small.
	gather = 2 << 10
	// keepScratch bounds each part of the memory that is kept for the next
	// document, in bytes.
	keepScratch = 256 << 10
)

// Canonical writes JSON in a form that does not depend on white space and the
// order of members, to be digested. The zero value is ready. It is kept for
// the next document so that nothing is allocated, and is for one goroutine.
//
// A document is read once into a list of pieces, which are spans of it without
// white space. Sorting the members of an object links their pieces anew and
// moves no byte, so neither depth nor width makes the work quadratic. The list
// may be several times as large as a document of tiny members.
type Canonical struct {
	s      scanner
	start  int // where the piece that is being read begins
	pieces []piece
	open   []member // of the objects around what is being read
	keys   []byte   // decoded keys of open
	buf    []byte
}

// piece is a span of the document and the index of the piece that follows it.
type piece struct {
	start, end, next int32
	comma            bool // goes before it
}

// member is a member of an object by its first and last piece. Its key is a
// span of the document or, complemented, of Canonical.keys.
type member struct {
	key, keyEnd, first, last int32
	null                     bool // and may be left out
}

// Write writes the canonical form of b to w. White space between tokens is
// dropped and the members of each object are sorted by their decoded keys,
// those of one key in the order they came. Keys and scalars stay as they are
// spelled. Members directly in the value of a member "properties" keep their
// order: a JSON Schema tells a model in which order to write. So texts that
// differ in anything else have different forms, and a form is JSON that is its
// own form.
//
// skip, if not nil, is asked with the decoded key of each member of b itself
// whether to leave it out. The key is lent for the call. Those of b itself that are
// null are left out then too, as if they were absent, unless their key stands twice.
//
// The error is an *Error, and nothing was written, where b is not JSON, nests
// more than 10,000 deep or has 2 GiB or more; else it is w's.
func (c *Canonical) Write(w io.Writer, b []byte, skip func(key []byte) bool) error {
	defer c.release()
	if len(b) > math.MaxInt32 {
		return &Error{Offset: math.MaxInt32, Msg: "too long", Limit: true}
	}
	c.s = newScanner(b, lenientDepth)
	c.start = c.s.space(0)
	var end int
	if c.s.at(c.start) == '{' {
		end = c.object(c.start, 1, false, skip)
	} else {
		end = c.value(c.start, 0, false)
	}
	if err := c.s.document(end); err != nil {
		return err
	}
	c.cut(end, end)
	return c.emit(w)
}

// release readies c for the next document.
func (c *Canonical) release() {
	c.s = scanner{} // which holds the document
	c.pieces, c.open, c.keys = kept(c.pieces, 16), kept(c.open, 20), kept(c.keys, 1)
	c.buf = c.buf[:0]
}

// kept empties scratch, whose elements are size bytes, or gives it up.
func kept[E any](scratch []E, size int) []E {
	if cap(scratch)*size > keepScratch {
		return nil
	}
	return scratch[:0]
}

// cut ends a piece at end. The next begins at start.
func (c *Canonical) cut(end, start int) {
	if end > c.start {
		c.pieces = append(c.pieces, piece{start: int32(c.start), end: int32(end), next: int32(len(c.pieces) + 1)})
	}
	c.start = start
}

// space skips white space, which is in no piece.
func (c *Canonical) space(i int) int {
	if i < len(c.s.b) && c.s.b[i] > ' ' {
		return i
	}
	after := c.s.space(i)
	if after > i {
		c.cut(i, after)
	}
	return after
}

// value reads a value as scanner.value does. The members of an ordered one are
// not sorted.
func (c *Canonical) value(i, depth int, ordered bool) int {
	switch c.s.at(i) {
	case '{':
		return c.object(i, depth+1, ordered, nil)
	case '[':
		return c.array(i, depth+1)
	default:
		return c.s.value(i, depth)
	}
}

func (c *Canonical) array(i, depth int) int {
	if depth > c.s.maxDepth {
		return c.s.tooDeep(i)
	}
	if i = c.space(i + 1); c.s.at(i) == ']' {
		return i + 1
	}
	for {
		if i = c.value(i, depth, false); i < 0 {
			return -1
		}
		switch i = c.space(i); c.s.at(i) {
		case ',':
			i = c.space(i + 1)
		case ']':
			return i + 1
		default:
			return c.s.fail(i, "expected ',' or ']' after an element")
		}
	}
}

func (c *Canonical) object(i, depth int, ordered bool, skip func([]byte) bool) int {
	if depth > c.s.maxDepth {
		return c.s.tooDeep(i)
	}
	if i = c.space(i + 1); c.s.at(i) == '}' {
		return i + 1
	}
	c.cut(i, i)
	head, base, keys := len(c.pieces)-1, len(c.open), len(c.keys)
	inOrder := true
	for {
		m := member{first: int32(len(c.pieces))}
		if i = c.member(i, depth, &m); i < 0 {
			return -1
		}
		m.null = skip != nil && string(c.s.b[i-len("null"):i]) == "null"
		i = c.space(i)
		c.cut(i, i)
		m.last = int32(len(c.pieces) - 1)
		if key := c.key(m); skip != nil && skip(key) {
			inOrder = false
		} else {
			if n := len(c.open); n > base {
				c.pieces[m.first].comma = true
				inOrder = inOrder && (ordered || bytes.Compare(c.key(c.open[n-1]), key) <= 0)
			}
			inOrder = inOrder && !m.null
			c.open = append(c.open, m)
		}
		switch c.s.at(i) {
		case ',':
			c.start = i + 1
			i = c.s.space(i + 1)
			c.start = i
		case '}':
			if !inOrder {
				c.sort(head, c.open[base:])
			}
			c.open, c.keys = c.open[:base], c.keys[:keys]
			return i + 1
		default:
			return c.s.fail(i, "expected ',' or '}' after a member")
		}
	}
}

// member reads a member whose key begins at i, and notes the key in m.
func (c *Canonical) member(i, depth int, m *member) int {
	if c.s.at(i) != '"' {
		return c.s.fail(i, "expected a key in double quotes")
	}
	end := c.s.str(i)
	if end < 0 {
		return -1
	}
	m.key, m.keyEnd = int32(i+1), int32(end-1)
	if raw := c.s.b[i+1 : end-1]; bytes.IndexByte(raw, '\\') >= 0 {
		m.key = ^int32(len(c.keys))
		c.keys = appendUnquoted(c.keys, raw)
		m.keyEnd = int32(len(c.keys))
	}
	if i = c.space(end); c.s.at(i) != ':' {
		return c.s.fail(i, "expected ':' after a key")
	}
	return c.value(c.space(i+1), depth, string(c.key(*m)) == "properties")
}

// key gives the decoded key of a member of an open object.
func (c *Canonical) key(m member) []byte {
	if m.key < 0 {
		return c.keys[^m.key:m.keyEnd]
	}
	return c.s.b[m.key:m.keyEnd]
}

// sort links the members of an object in order between the piece head, which
// ends with its brace, and the piece that comes next. Those that may be left out
// are, where nothing else has their key: of two, a reader may take either.
func (c *Canonical) sort(head int, members []member) {
	slices.SortFunc(members, func(a, b member) int {
		if order := bytes.Compare(c.key(a), c.key(b)); order != 0 {
			return order
		}
		return int(a.first - b.first)
	})
	last := head
	same := func(n, other int) bool {
		return other >= 0 && other < len(members) && bytes.Equal(c.key(members[n]), c.key(members[other]))
	}
	for n, m := range members {
		if m.null && !same(n, n-1) && !same(n, n+1) {
			continue
		}
		c.pieces[last].next = m.first
		c.pieces[m.first].comma = last != head
		last = int(m.last)
	}
	c.pieces[last].next = int32(len(c.pieces))
}

// emit writes the pieces, small ones together.
func (c *Canonical) emit(w io.Writer) error {
	for i := 0; i < len(c.pieces); {
		p := c.pieces[i]
		i = int(p.next)
		text := c.s.b[p.start:p.end]
		if p.comma {
			c.buf = append(c.buf, ',')
		}
		if len(c.buf)+len(text) < gather {
			c.buf = append(c.buf, text...)
			continue
		}
		if _, err := w.Write(c.buf); err != nil {
			return err
		}
		c.buf = c.buf[:0]
		if len(text) < gather/2 {
			c.buf = append(c.buf, text...)
		} else if _, err := w.Write(text); err != nil {
			return err
		}
	}
	_, err := w.Write(c.buf)
	return err
}
