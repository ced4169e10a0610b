package cel

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// token is a lexical token: its text as it is written, or what a string says.
type token struct {
	kind byte // 'i'dentifier, 'n'umber, 's'tring, 'o'perator, 'e'nd
	text string
	pos  int
}

// operators, longer ones first.
var operators = []string{"==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "?", ":", "+", "-", ".", ",", "(", ")", "[", "]"} //nolint:gochecknoglobals // a table that nobody writes

// next reads the next token.
func (p *parser) next() {
	s := p.expr
	for p.at < len(s) {
		if strings.IndexByte(" \t\r\n\f", s[p.at]) >= 0 {
			p.at++
		} else if strings.HasPrefix(s[p.at:], "//") {
			if n := strings.IndexByte(s[p.at:], '\n'); n >= 0 {
				p.at += n
			} else {
				p.at = len(s)
			}
		} else {
			break
		}
	}
	p.tok = token{kind: 'e', pos: p.at}
	if p.at == len(s) {
		return
	}
	switch c := s[p.at]; {
	case letter(c):
		end := p.at
		for end < len(s) && (letter(s[end]) || digit(s[end])) {
			end++
		}
		p.take('i', end)
	case digit(c), c == '.' && p.at+1 < len(s) && digit(s[p.at+1]):
		p.take('n', numberEnd(s, p.at))
	case c == '"' || c == '\'':
		p.quoted(c)
	default:
		for _, op := range operators {
			if strings.HasPrefix(s[p.at:], op) {
				p.take('o', p.at+len(op))
				return
			}
		}
		p.fail(p.at, "unexpected "+strconv.Quote(firstRune(s[p.at:])))
	}
}

func (p *parser) take(kind byte, end int) {
	p.tok = token{kind, p.expr[p.at:end], p.at}
	p.at = end
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

func firstRune(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}

// numberEnd finds the end of a number: of digits, hexadecimal ones behind 0x, or a
// fraction or an exponent.
func numberEnd(s string, i int) int {
	digits := func(i int) int {
		for i < len(s) && digit(s[i]) {
			i++
		}
		return i
	}
	if strings.HasPrefix(s[i:], "0x") {
		end := i + 2
		for end < len(s) && (digit(s[end]) || 'a' <= s[end]|0x20 && s[end]|0x20 <= 'f') {
			end++
		}
		return end
	}
	i = digits(i)
	if i+1 < len(s) && s[i] == '.' && digit(s[i+1]) {
		i = digits(i + 1)
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if end := digits(j); end > j {
			return end
		}
	}
	return i
}

// quoted reads a string in quotes.
func (p *parser) quoted(quote byte) {
	s, start := p.expr, p.at
	var b strings.Builder
	for i := start + 1; i < len(s); {
		switch c := s[i]; c {
		case quote:
			p.at = i + 1
			p.tok = token{'s', b.String(), start}
			return
		case '\n', '\r':
			p.fail(start, "a string goes on behind its line")
			return
		case '\\':
			n, ok := escape(&b, s[i+1:])
			if !ok {
				p.fail(i, "unknown escape in a string")
				return
			}
			i += 1 + n
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				p.fail(i, "invalid UTF-8 in a string")
				return
			}
			b.WriteString(s[i : i+n])
			i += n
		}
	}
	p.fail(start, "a string without an end")
}

// escape reads what follows a backslash, and gives its length.
func escape(b *strings.Builder, s string) (n int, ok bool) {
	if s == "" {
		return 0, false
	}
	width, base := 0, 16
	switch c := s[0]; c {
	case '\\', '?', '"', '\'', '`':
		b.WriteByte(c)
		return 1, true
	case 'x', 'X':
		width = 2
	case 'u':
		width = 4
	case 'U':
		width = 8
	case '0', '1', '2', '3':
		s, width, base = " "+s, 3, 8
	default:
		i := strings.IndexByte("abfnrtv", c)
		if i < 0 {
			return 0, false
		}
		b.WriteByte("\a\b\f\n\r\t\v"[i])
		return 1, true
	}
	if len(s) < 1+width {
		return 0, false
	}
	r, err := strconv.ParseUint(s[1:1+width], base, 32)
	if err != nil || !utf8.ValidRune(rune(r)) {
		return 0, false
	}
	b.WriteRune(rune(r))
	if base == 8 {
		return width, true
	}
	return 1 + width, true
}
