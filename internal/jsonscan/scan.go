// Package jsonscan looks into JSON without decoding it.
//
// It promises a strict reading of RFC 8259 in one pass over the bytes: UTF-8
// is enforced, depth is bounded, nothing but space follows the document, and
// nothing is allocated unless a fault is found or a key has escapes. It never
// changes a byte: callers get spans of their input and splice those.
//
// Two points that RFC 8259 leaves open: a byte order mark is a fault, and a
// \u escape of half a surrogate pair is none, since it travels on as it is.
package jsonscan

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"

	"sluice/internal/llm"
)

// DefaultDepth is how deep arrays and objects may nest where no limit is given.
const DefaultDepth = 512

// Error says where and why a document is not JSON, or is not read to its end.
type Error struct {
	Offset int // bytes before the fault
	Msg    string
	Limit  bool // it is deeper or longer than is taken; it may be sound
}

// Error gives the fault and its offset in bytes.
func (e *Error) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d: %s", e.Offset, e.Msg)
}

// Position gives the line and the column of the fault in body, the document
// that was scanned. Both count from 1, columns in characters.
func (e *Error) Position(body []byte) (line, column int) {
	line = 1
	before := body[:min(e.Offset, len(body))]
	start := 0
	for i, c := range before {
		if c == '\n' {
			line, start = line+1, i+1
		}
	}
	return line, 1 + utf8.RuneCount(before[start:])
}

// Validate checks that b is one JSON document whose arrays and objects nest at
// most maxDepth deep (DefaultDepth when maxDepth is 0). The error is an *Error.
func Validate(b []byte, maxDepth int) error {
	s := newScanner(b, maxDepth)
	return s.document(s.value(s.space(0), 0))
}

// Members validates b as Validate does and, in the same pass, calls visit for
// each member of the object that b must be, in order, duplicates included. The
// key comes without quotes and escapes; value is where its value stands in b.
//
// Members are visited before the rest of b has been read, so what they say
// holds only once Members has returned nil. An error from visit ends the scan
// and is returned as it is; every other error is an *Error.
func Members(b []byte, maxDepth int, visit func(key []byte, value llm.Span) error) error {
	s := newScanner(b, maxDepth)
	i := s.space(0)
	if s.at(i) != '{' {
		return s.document(s.fail(i, "expected an object"))
	}
	return s.document(s.object(i, 1, visit))
}

// scanner walks one document. Its methods take the index they begin at and
// return the index after what they read, or -1 when that is not JSON.
type scanner struct {
	b        []byte
	maxDepth int

	fault int    // where the scan failed
	msg   string // why
	limit bool   // it was too deep
	err   error  // what visit returned
}

func newScanner(b []byte, maxDepth int) scanner {
	if maxDepth <= 0 {
		maxDepth = DefaultDepth
	}
	return scanner{b: b, maxDepth: maxDepth}
}

// document gives the verdict on a document whose value ended at i.
func (s *scanner) document(i int) error {
	if i >= 0 {
		if i = s.space(i); i == len(s.b) {
			return nil
		}
		s.fail(i, "expected nothing after the document")
	}
	if s.err != nil {
		return s.err
	}
	return &Error{Offset: s.fault, Msg: s.msg, Limit: s.limit}
}

func (s *scanner) fail(i int, msg string) int {
	if i >= len(s.b) {
		i, msg = len(s.b), "unexpected end, "+msg
	}
	s.fault, s.msg = i, msg
	return -1
}

// tooDeep is the fault of an array or object, beginning at i, in too many others.
func (s *scanner) tooDeep(i int) int {
	s.limit = true
	return s.fail(i, "nested too deeply")
}

// at returns the byte at i, 0 past the end: NUL is valid nowhere outside a
// string, so no caller has to tell the two apart.
func (s *scanner) at(i int) byte {
	if i < len(s.b) {
		return s.b[i]
	}
	return 0
}

func (s *scanner) space(i int) int {
	for i < len(s.b) {
		if c := s.b[i]; c > ' ' || (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
			break
		}
		i++
	}
	return i
}

// value reads a value inside depth arrays and objects.
func (s *scanner) value(i, depth int) int {
	switch c := s.at(i); c {
	case '"':
		return s.str(i)
	case '{':
		return s.object(i, depth+1, nil)
	case '[':
		return s.array(i, depth+1, nil)
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number(i)
	default:
		return s.fail(i, "expected a value")
	}
}

func (s *scanner) object(i, depth int, visit func([]byte, llm.Span) error) int {
	if depth > s.maxDepth {
		return s.tooDeep(i)
	}
	if i = s.space(i + 1); s.at(i) == '}' {
		return i + 1
	}
	for {
		if s.at(i) != '"' {
			return s.fail(i, "expected a key in double quotes")
		}
		key := llm.Span{Start: i}
		if key.End = s.str(i); key.End < 0 {
			return -1
		}
		if i = s.space(key.End); s.at(i) != ':' {
			return s.fail(i, "expected ':' after a key")
		}
		start := s.space(i + 1)
		end := s.value(start, depth)
		if end < 0 {
			return -1
		}
		if visit != nil {
			if s.err = visit(unquote(s.b[key.Start:key.End]), llm.Span{Start: start, End: end}); s.err != nil {
				return -1
			}
		}
		switch i = s.space(end); s.at(i) {
		case ',':
			i = s.space(i + 1)
		case '}':
			return i + 1
		default:
			return s.fail(i, "expected ',' or '}' after a member")
		}
	}
}

// array reads an array. Where visit is given, it stops the scan with false.
func (s *scanner) array(i, depth int, visit func(llm.Span) bool) int {
	if depth > s.maxDepth {
		return s.tooDeep(i)
	}
	if i = s.space(i + 1); s.at(i) == ']' {
		return i + 1
	}
	for {
		end := s.value(i, depth)
		if end < 0 {
			return -1
		}
		if visit != nil && !visit(llm.Span{Start: i, End: end}) {
			return -1
		}
		switch i = s.space(end); s.at(i) {
		case ',':
			i = s.space(i + 1)
		case ']':
			return i + 1
		default:
			return s.fail(i, "expected ',' or ']' after an element")
		}
	}
}

func (s *scanner) literal(i int, word string) int {
	for n := range len(word) {
		if s.at(i+n) != word[n] {
			return s.fail(i+n, "expected true, false or null")
		}
	}
	return i + len(word)
}

// number reads a number as RFC 8259, section 6, has it.
func (s *scanner) number(i int) int {
	if s.at(i) == '-' {
		i++
	}
	if s.at(i) == '0' {
		i++
	} else if i = s.digits(i); i < 0 {
		return -1
	}
	if s.at(i) == '.' {
		if i = s.digits(i + 1); i < 0 {
			return -1
		}
	}
	if c := s.at(i); c == 'e' || c == 'E' {
		i++
		if c := s.at(i); c == '+' || c == '-' {
			i++
		}
		return s.digits(i)
	}
	return i
}

func (s *scanner) digits(i int) int {
	start := i
	for i < len(s.b) && s.b[i]-'0' <= 9 {
		i++
	}
	if i == start {
		return s.fail(i, "expected a digit")
	}
	return i
}

// str reads a string whose opening quote is at i.
func (s *scanner) str(i int) int {
	for i++; ; {
		i = plain(s.b, i)
		switch c := s.at(i); {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = s.escape(i + 1); i < 0 {
				return -1
			}
		case i >= len(s.b):
			return s.fail(i, `expected '"'`)
		case c < ' ':
			return s.fail(i, "control character in a string: escape it")
		default:
			for i < len(s.b) && s.b[i] >= utf8.RuneSelf {
				r, n := utf8.DecodeRune(s.b[i:])
				if r == utf8.RuneError && n == 1 {
					return s.fail(i, "invalid UTF-8 in a string")
				}
				i += n
			}
		}
	}
}

// escape reads what follows a backslash.
func (s *scanner) escape(i int) int {
	switch s.at(i) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for n := 1; n <= 4; n++ {
			if _, ok := hex(s.at(i + n)); !ok {
				return s.fail(i+n, `expected four hexadecimal digits after \u`)
			}
		}
		return i + 5
	default:
		return s.fail(i, "unknown escape in a string")
	}
}

// plain returns the first index from i on that does not hold ASCII text: that
// is at a quote, a backslash, a control character, a byte from 0x80 up, or the
// end of b. It looks at eight bytes at a time. A borrow in the subtractions
// can only run upwards from a byte that is a hit itself, so the lowest hit,
// which alone is used, is exact.
func plain(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		// Flipping bit 1 puts '"' (0x22) right above the control characters
		// (0x00 to 0x1f) and moves nothing else below it.
		low := (x ^ 0x02*ones) - 0x21*ones
		slash := x ^ '\\'*ones
		if hit := (low&^x | (slash-ones)&^slash | x) & tops; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' && b[i] < utf8.RuneSelf {
		i++
	}
	return i
}
