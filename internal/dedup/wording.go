package dedup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// wording is how a reference is put: the text that stands in place of lines that are repeated.
// It is a line of its own, in JSON's escapes as the texts around it are.
//
// A reference names lines of a message as that is sent, so that whoever reads it finds them:
// lines are counted from 1 over all texts of a message, messages (which dialect.Shape.Noun has
// another name for) from 1 over those that are sent.
type wording struct {
	literals []string // before, between and after the blanks, escaped
	blanks   []string
	sign     string // what stands before the first blank, as a model sees it, without what invisible says at its beginning

	// odd has the bytes that a line may begin with which looks like a reference, or with white
	// space.
	odd [256]bool
}

// The blanks of a wording.
const (
	blankLines  = "{lines}"  // lines 12-88, or line 12
	blankSource = "{source}" // message 7, this message, the system prompt: dialect.Shape names them
	blankFirst  = "{first}"  // how the first line begins
	blankLast   = "{last}"
)

// quoted is how much of a line's beginning a reference quotes, in bytes.
const quoted = 32

// parseWording reads a wording. The error says what is wrong with it.
func parseWording(s string) (w wording, err error) {
	for rest := s; ; {
		at, blank := -1, ""
		for _, b := range [...]string{blankLines, blankSource, blankFirst, blankLast} {
			if i := strings.Index(rest, b); i >= 0 && (at < 0 || i < at) {
				at, blank = i, b
			}
		}
		if at < 0 {
			w.literals = append(w.literals, escape(rest))
			break
		}
		if len(w.blanks) == 0 {
			w.sign = strings.TrimLeftFunc(rest[:at], invisible)
		}
		w.literals, w.blanks = append(w.literals, escape(rest[:at])), append(w.blanks, blank)
		rest = rest[at+len(blank):]
	}
	switch {
	case len(w.blanks) < 2 || !numbers(w.blanks[0]) || !numbers(w.blanks[1]) || w.blanks[0] == w.blanks[1]:
		return w, errors.New("it has to have {lines} and {source} once each, before {first} and {last}")
	case strings.Count(s, blankLines) != 1 || strings.Count(s, blankSource) != 1:
		return w, errors.New("it has to have {lines} and {source} once each")
	case len(w.sign) < 4:
		return w, errors.New("it has to begin with four characters or more that tell it from other text")
	case w.literals[1] == "" || strings.ContainsAny(w.literals[1][:1], "0123456789-"):
		return w, errors.New("something has to stand between {lines} and {source} that is no number")
	case w.literals[2] == "" && len(w.blanks) > 2 || strings.IndexAny(w.literals[2], "0123456789") == 0:
		// A number, which the second of them ends with, would seem to go on there.
		return w, fmt.Errorf("something has to stand behind %s that does not begin with a digit", w.blanks[1])
	case strings.ContainsAny(s, "\n\r"):
		return w, errors.New("it has to be one line")
	case len(s) > 200:
		return w, fmt.Errorf("it has %d bytes, which is more than 200", len(s))
	}
	for c := range w.odd {
		w.odd[c] = c <= ' ' || c >= utf8.RuneSelf || c == '\\' || c == int(w.sign[0])
	}
	return w, nil
}

func numbers(blank string) bool { return blank == blankLines || blank == blankSource }

// escape gives s as it stands in a JSON string.
func escape(s string) string {
	b := jsonscan.AppendString(nil, s)
	return string(b[1 : len(b)-1])
}

// begins reports whether a line may be a reference.
func (w *wording) begins(line []byte) bool {
	first := w.literals[0]
	return len(line) >= len(first) && string(line[:len(first)]) == first
}

// suspects reports whether a line may look like one, by what stands in it behind some white
// space. What follows the line goes on behind it.
func (w *wording) suspects(line []byte) bool {
	if len(line) < 9 {
		return true
	}
	return w.odd[line[indent(line)]]
}

// indent gives how many of a line's first eight bytes are spaces, or escapes of tabs, which
// many lines begin with, without a branch for each.
func indent(line []byte) int {
	const spaces, tabs = 0x2020202020202020, 0x745c745c745c745c // the latter as \t
	next := binary.LittleEndian.Uint64(line)
	return bits.TrailingZeros64(next^spaces)/8 + bits.TrailingZeros64(next^tabs)/8&^1
}

// looks reports whether a line looks like a reference to a model, which sees no escapes and may
// not see what invisible says before it. line goes on with the rest of the text.
func (w *wording) looks(line []byte) bool {
	for len(line) >= 8 {
		n := indent(line)
		if line = line[n:]; n < 8 && !w.odd[line[0]] {
			return false // nearly all
		}
		if n == 0 {
			break
		}
	}
	r, n := decode(line)
	for n > 0 && r != '\n' && invisible(r) {
		line = line[n:]
		r, n = decode(line)
	}
	for _, want := range w.sign {
		if r != want || n == 0 {
			return false
		}
		line = line[n:]
		r, n = decode(line)
	}
	return true
}

// within reports whether a line of a text looks like a reference, wherever lines begin.
func (w *wording) within(text []byte) bool {
	for !w.looks(text) {
		for {
			i := bytes.IndexByte(text, '\\')
			if i < 0 || i+2 > len(text) {
				return false
			}
			n := lineBreak(text[i:])
			text = text[i+max(n, 2):]
			if n > 0 {
				break
			}
		}
	}
	return true
}

// invisible reports whether nobody sees a character at the beginning of a line.
func invisible(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

// decode gives the first character of what stands in a JSON string, and its length there, 0 at
// the end.
func decode(b []byte) (r rune, n int) {
	if len(b) < 2 || b[0] != '\\' {
		return utf8.DecodeRune(b)
	}
	if b[1] != 'u' {
		if i := strings.IndexByte("bfnrt", b[1]); i >= 0 {
			return rune("\b\f\n\r\t"[i]), 2
		}
		return rune(b[1]), 2
	}
	r = unit(b)
	if utf16.IsSurrogate(r) && len(b) > 6 {
		if pair := utf16.DecodeRune(r, unit(b[6:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return r, min(len(b), 6)
}

// unit gives what an escape \u that b begins with stands for, utf8.RuneError where it begins
// with none.
func unit(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return utf8.RuneError
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}

// The sources that have no number of a message. That of a reference to its own message is here.
const (
	sourcePrompt = 0
	sourceHere   = -1
)

// reference is what a reference says.
type reference struct {
	source      int // number of the message, sourcePrompt, sourceHere
	first, last int // lines, from 1
	shape       *dialect.Shape
}

// append puts a reference, of which first and last are lines of the source.
func (w *wording) append(dst []byte, r reference, first, last []byte) []byte {
	for i, blank := range w.blanks {
		dst = append(dst, w.literals[i]...)
		switch blank {
		case blankLines:
			dst = append(dst, "line"...)
			if r.last > r.first {
				dst = append(dst, 's')
			}
			dst = strconv.AppendInt(append(dst, ' '), int64(r.first), 10)
			if r.last > r.first {
				dst = strconv.AppendInt(append(dst, '-'), int64(r.last), 10)
			}
		case blankSource:
			dst = r.appendSource(dst)
		case blankFirst:
			dst = append(dst, beginning(first)...)
		case blankLast:
			dst = append(dst, beginning(last)...)
		}
	}
	return append(dst, w.literals[len(w.blanks)]...)
}

func (r reference) appendSource(dst []byte) []byte {
	switch r.source {
	case sourcePrompt:
		return append(dst, r.shape.Prompt...)
	case sourceHere:
		return append(append(dst, "this "...), r.shape.Noun...)
	default:
		return strconv.AppendInt(append(append(dst, r.shape.Noun...), ' '), int64(r.source), 10)
	}
}

// quotable gives the first and the last of some lines that a reference can quote from; the ones
// at the ends where nothing stands in any.
func (c *conversation) quotable(first, last int) (from, to []byte) {
	line := func(i int) []byte { return c.body[c.start(i):c.end(i)] }
	for first < last && len(beginning(line(first))) == 0 {
		first++
	}
	for last > first && len(beginning(line(last))) == 0 {
		last--
	}
	return line(first), line(last)
}

// beginning gives some of a line's beginning that has no escapes in it.
func beginning(line []byte) []byte {
	for len(line) > 0 {
		switch {
		case line[0] == ' ':
			line = line[1:]
			continue
		case line[0] == '\\' && len(line) >= 6 && line[1] == 'u':
			line = line[6:]
			continue
		case line[0] == '\\' && len(line) >= 2:
			line = line[2:]
			continue
		}
		break
	}
	if i := bytes.IndexByte(line[:min(len(line), quoted)], '\\'); i >= 0 {
		line = line[:i]
	} else if len(line) > quoted {
		n := quoted
		for n > 0 && !utf8.RuneStart(line[n]) {
			n--
		}
		line = line[:n]
	}
	return bytes.TrimRight(line, " ")
}

// parse reads what a line says that may be a reference. Whether it is one only a comparison
// with what append makes of that can tell.
func (w *wording) parse(line []byte, shape *dialect.Shape) (r reference, ok bool) {
	r.shape = shape
	for i, blank := range w.blanks[:2] {
		if line, ok = bytes.CutPrefix(line, []byte(w.literals[i])); !ok {
			return r, false
		}
		if blank == blankLines {
			line, ok = r.cutLines(line)
		} else {
			line, ok = r.cutSource(line)
		}
		if !ok {
			return r, false
		}
	}
	return r, true
}

func (r *reference) cutLines(line []byte) (rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(line, []byte("lines ")); ok {
		if r.first, rest, ok = cutNumber(rest); ok {
			if rest, ok = bytes.CutPrefix(rest, []byte("-")); ok {
				r.last, rest, ok = cutNumber(rest)
			}
		}
		return rest, ok && r.first < r.last
	}
	if rest, ok = bytes.CutPrefix(line, []byte("line ")); ok {
		r.first, rest, ok = cutNumber(rest)
		r.last = r.first
	}
	return rest, ok
}

func (r *reference) cutSource(line []byte) (rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(line, []byte(r.shape.Prompt)); ok && r.shape.Prompt != "" {
		r.source = sourcePrompt
		return rest, true
	}
	if rest, ok = bytes.CutPrefix(line, []byte("this "+r.shape.Noun)); ok {
		r.source = sourceHere
		return rest, true
	}
	if rest, ok = bytes.CutPrefix(line, []byte(r.shape.Noun+" ")); ok {
		r.source, rest, ok = cutNumber(rest)
	}
	return rest, ok
}

// cutNumber reads a number from 1 to a billion.
func cutNumber(b []byte) (n int, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && i < 9 && b[i]-'0' <= 9; i++ {
		n = n*10 + int(b[i]-'0')
	}
	return n, b[i:], n > 0 && b[0] != '0'
}
