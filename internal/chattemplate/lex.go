package chattemplate

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is what is wrong with a template, or with a chat for a template.
type Error struct {
	Line   int // of the template, from 1; 0 where the fault is the chat's, whatever the template
	Msg    string
	Raised bool // the template itself said so, by raise_exception
	Limit  bool // it takes more than the limits allow
}

// Error gives the line and what is wrong.
func (e *Error) Error() string {
	switch {
	case e.Raised:
		return "the chat template refuses this chat: " + e.Msg
	case e.Line == 0:
		return "chat template: " + e.Msg
	}
	return fmt.Sprintf("chat template, line %d: %s", e.Line, e.Msg)
}

// token is a piece of a template: text, the begin or the end of a tag, or a piece of an
// expression.
type token struct {
	kind byte // 't' text, '{' and '}' of an output, '%' and 'e' of a statement, 'n' name, 's' string, 'i' int, 'f' float, 'o' operator, 0 the end
	text string
	line int
}

// lexer cuts a template into tokens, with the white space as trim_blocks and
// lstrip_blocks leave it.
type lexer struct {
	src    string
	at     int
	line   int
	tokens []token
}

func (l *lexer) fail(msg string, args ...any) {
	panic(&Error{Line: l.line, Msg: fmt.Sprintf(msg, args...)})
}

func (l *lexer) add(kind byte, text string) {
	l.tokens = append(l.tokens, token{kind, text, l.line})
}

// lex gives all tokens.
func lex(src string) []token {
	src = strings.ReplaceAll(src, "\r\n", "\n")
	src = strings.ReplaceAll(src, "\r", "\n")
	src = strings.TrimSuffix(src, "\n")
	l := &lexer{src: src, line: 1}
	trim := byte(0) // what the tag before does to the text: '-' all space, 'n' one newline
	for l.at < len(src) {
		open := l.nextTag()
		text := src[l.at:open]
		lines := strings.Count(text, "\n")
		switch trim {
		case '-':
			text = strings.TrimLeft(text, space)
		case 'n':
			text = strings.TrimPrefix(text, "\n")
		}
		if open == len(src) {
			l.text(text)
			l.line += lines
			break
		}
		kind, sign := src[open+1], byte(0)
		if open+2 < len(src) && (src[open+2] == '-' || src[open+2] == '+') {
			sign = src[open+2]
		}
		switch {
		case sign == '-':
			text = strings.TrimRight(text, space)
		case sign == 0 && kind != '{':
			// Blanks before a statement or a comment that begins its line.
			if cut := strings.TrimRight(text, " \t"); strings.HasSuffix(cut, "\n") || cut == "" && l.beginsLine(open) {
				text = cut
			}
		}
		l.text(text)
		l.line += lines
		l.at = open + 2
		if sign != 0 {
			l.at++
		}
		trim = l.tag(kind)
	}
	l.add(0, "the end of the template")
	return l.tokens
}

// space is what is stripped around tags.
const space = " \t\n\v\f\r"

// beginsLine reports whether only blanks stand before i in its line.
func (l *lexer) beginsLine(i int) bool {
	before := strings.TrimRight(l.src[:i], " \t")
	return before == "" || strings.HasSuffix(before, "\n")
}

func (l *lexer) text(s string) {
	if s != "" {
		l.add('t', s)
	}
}

// nextTag finds where the next tag begins.
func (l *lexer) nextTag() int {
	for i := l.at; i+1 < len(l.src); i++ {
		if l.src[i] == '{' && (l.src[i+1] == '{' || l.src[i+1] == '%' || l.src[i+1] == '#') {
			return i
		}
	}
	return len(l.src)
}

// tag reads a tag to its end, and tells how the text behind it is trimmed.
func (l *lexer) tag(kind byte) (trim byte) {
	if kind == '#' {
		end := strings.Index(l.src[l.at:], "#}")
		if end < 0 {
			l.fail("a comment has no end")
		}
		body := l.src[l.at : l.at+end]
		l.line += strings.Count(body, "\n")
		l.at += end + 2
		if strings.HasSuffix(body, "-") {
			return '-'
		}
		if strings.HasSuffix(body, "+") {
			return 0
		}
		return 'n'
	}
	closing := "}}"
	if kind == '%' {
		closing = "%}"
		if l.isRaw() {
			return l.raw()
		}
	}
	l.add(kind, "")
	depth := 0
	for {
		l.blanks()
		rest := l.src[l.at:]
		if depth == 0 {
			for _, sign := range []string{"", "-", "+"} {
				if strings.HasPrefix(rest, sign+closing) && (sign != "+" || kind == '%') {
					l.at += len(sign) + 2
					l.add(map[byte]byte{'{': '}', '%': 'e'}[kind], "the end of the tag")
					switch {
					case sign == "-":
						return '-'
					case sign == "" && kind == '%':
						return 'n'
					}
					return 0
				}
			}
		}
		if rest == "" {
			l.fail("a tag has no end")
		}
		depth += l.piece(rest)
	}
}

func (l *lexer) blanks() {
	for l.at < len(l.src) && strings.IndexByte(space, l.src[l.at]) >= 0 {
		if l.src[l.at] == '\n' {
			l.line++
		}
		l.at++
	}
}

// word skips a word of a tag that is spelled out, with blanks before it.
func word(s, w string) (rest string, ok bool) {
	s = strings.TrimLeft(s, space)
	rest, ok = strings.CutPrefix(s, w)
	return rest, ok && (rest == "" || !isWord(rest[0]))
}

// endsTag cuts the end of a statement's tag off.
func endsTag(s string) (rest string, sign byte, ok bool) {
	s = strings.TrimLeft(s, space)
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[0], s[1:]
	}
	rest, ok = strings.CutPrefix(s, "%}")
	return rest, sign, ok
}

func (l *lexer) isRaw() bool {
	rest, ok := word(l.src[l.at:], "raw")
	if !ok {
		return false
	}
	_, _, ok = endsTag(rest)
	return ok
}

// raw takes all up to {% endraw %} as text.
func (l *lexer) raw() (trim byte) {
	rest, _ := word(l.src[l.at:], "raw")
	rest, sign, _ := endsTag(rest)
	body := rest
	for from := 0; ; {
		i := strings.Index(body[from:], "{%")
		if i < 0 {
			l.fail("raw has no endraw")
		}
		i += from
		tag, first := body[i+2:], byte(0)
		if tag != "" && (tag[0] == '-' || tag[0] == '+') {
			first, tag = tag[0], tag[1:]
		}
		if after, ok := word(tag, "endraw"); ok {
			if after, last, ok := endsTag(after); ok {
				text := body[:i]
				l.line += strings.Count(l.src[l.at:len(l.src)-len(after)], "\n")
				l.at = len(l.src) - len(after)
				if sign == '-' { // the newline behind raw stays, unlike that behind other tags
					text = strings.TrimLeft(text, space)
				}
				if first == '-' {
					text = strings.TrimRight(text, space)
				} else if cut := strings.TrimRight(text, " \t"); first == 0 && strings.HasSuffix(cut, "\n") {
					text = cut
				}
				l.text(text)
				switch last {
				case '-':
					return '-'
				case 0:
					return 'n'
				}
				return 0
			}
		}
		from = i + 2
	}
}

// operators, the longer ones first.
var operators = [...]string{"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|"}

// piece reads a piece of an expression, and gives how much deeper in brackets it leads.
func (l *lexer) piece(rest string) (deeper int) {
	c := rest[0]
	switch {
	case c == '"' || c == '\'':
		l.quoted(rest)
		return 0
	case c >= '0' && c <= '9':
		n := 1
		kind := byte('i')
		for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '_') {
			n++
		}
		if n+1 < len(rest) && rest[n] == '.' && rest[n+1] >= '0' && rest[n+1] <= '9' {
			kind = 'f'
			for n++; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; {
				n++
			}
		}
		if m := exponent(rest[n:]); m > 0 {
			kind = 'f'
			n += m
		}
		l.add(kind, strings.ReplaceAll(rest[:n], "_", ""))
		l.at += n
		return 0
	case isWord(c):
		n := 1
		for n < len(rest) && isWord(rest[n]) {
			n++
		}
		l.add('n', rest[:n])
		l.at += n
		return 0
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			l.add('o', op)
			l.at += len(op)
			switch c {
			case '(', '[', '{':
				return 1
			case ')', ']', '}':
				return -1
			}
			return 0
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	l.fail("unexpected character %q", r)
	return 0
}

func exponent(s string) (n int) {
	if s == "" || s[0] != 'e' && s[0] != 'E' {
		return 0
	}
	if n = 1; n < len(s) && (s[n] == '+' || s[n] == '-') {
		n++
	}
	digits := n
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == digits {
		return 0
	}
	return n
}

func isWord(c byte) bool {
	return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c >= 0x80
}

// quoted reads a string with its escapes.
func (l *lexer) quoted(rest string) {
	var b strings.Builder
	i := 1
	for ; i < len(rest) && rest[i] != rest[0]; i++ {
		if rest[i] != '\\' || i+1 == len(rest) {
			b.WriteByte(rest[i])
			continue
		}
		i++
		switch c := rest[i]; c {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case '0':
			b.WriteByte(0)
		case '\n':
		case '\\', '\'', '"':
			b.WriteByte(c)
		case 'x', 'u', 'U':
			n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
			var r rune
			if i+n >= len(rest) {
				l.fail("a string ends within an escape")
			}
			if _, err := fmt.Sscanf(rest[i+1:i+1+n], "%x", &r); err != nil {
				l.fail("a string has a wrong escape")
			}
			b.WriteRune(r)
			i += n
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	if i >= len(rest) {
		l.fail("a string has no end")
	}
	l.add('s', b.String())
	l.line += strings.Count(rest[:i], "\n")
	l.at += i + 1
}
