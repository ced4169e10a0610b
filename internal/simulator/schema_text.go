package simulator

import (
	"encoding/json"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

func appendString(dst []byte, s string) ([]byte, error) {
	b, err := json.Marshal(s)
	return append(dst, b...), err
}

// text invents a string: one of the format, of the pattern, or some words of
// the right length.
func (in *inventor) text(s *schema) (string, error) {
	if v := in.formatted(s.Format); v != "" {
		return v, nil
	}
	if s.MinLength > maxText {
		return "", unsatisfiable("strings of %d characters are too long.", s.MinLength)
	}
	if s.Pattern != "" {
		return in.matching(s.Pattern, s.MinLength)
	}
	words := vocabulary()
	v := words[in.r.IntN(len(words))]
	if s.MinLength > utf8.RuneCountInString(v) {
		v = prose(in.r, s.MinLength) // a token has a character at least
	}
	if s.MaxLength != nil {
		runes := []rune(v)
		v = string(runes[:min(len(runes), max(*s.MaxLength, 0))])
	}
	return v, nil
}

// formatted invents a string of a well-known format, "" for any other.
func (in *inventor) formatted(format string) string {
	n := func(least, most int) int { return least + in.r.IntN(most-least+1) }
	date := fmt.Sprintf("20%02d-%02d-%02d", n(0, 99), n(1, 12), n(1, 28))
	clock := fmt.Sprintf("%02d:%02d:%02dZ", n(0, 23), n(0, 59), n(0, 59))
	switch format {
	case "date-time":
		return date + "T" + clock
	case "date":
		return date
	case "time":
		return clock
	case "duration":
		return fmt.Sprintf("PT%dM", n(1, 59))
	case "email":
		return fmt.Sprintf("person%d@example.com", n(1, 999))
	case "hostname":
		return fmt.Sprintf("host%d.example.com", n(1, 999))
	case "uri":
		return fmt.Sprintf("https://example.com/%d", n(1, 999))
	case "ipv4":
		return fmt.Sprintf("192.0.2.%d", n(1, 254))
	case "ipv6":
		return fmt.Sprintf("2001:db8::%x", n(1, 0xffff))
	case "uuid":
		return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", in.r.Uint32(), n(0, 0xffff), n(0, 0xfff), n(0, 0xfff), in.r.Int64N(1<<48))
	}
	return ""
}

// matching invents a string that a regular expression matches.
func (in *inventor) matching(text string, least int) (string, error) {
	p, err := in.understood(text)
	if err != nil {
		return "", err
	}
	// More repetitions make a longer string, should it have to be.
	for extra := 0; extra <= 2*(least+1); extra = max(extra+1, extra*3/2) {
		var b strings.Builder
		steps := maxText
		in.expand(&b, p.syntax, extra, &steps)
		v := b.String()
		if in.nodes += len(v) * p.size >> 16; in.nodes > 2*maxNodes {
			break
		}
		if utf8.RuneCountInString(v) >= least && p.check.MatchString(v) {
			return v, nil
		}
	}
	return "", unsatisfiable("no string was found for pattern '%s'.", text)
}

// pattern is a regular expression, compiled.
type pattern struct {
	syntax *syntax.Regexp
	check  *regexp.Regexp
	size   int // of its program: a step of a match takes as long at most
}

// maxPattern is how long the program of a pattern may be, and all patterns of a schema
// together, in instructions and bytes.
const maxPattern = 4096

// understood gives the expression of a pattern, which is compiled once.
func (in *inventor) understood(text string) (*pattern, error) {
	if p := in.patterns[text]; p != nil {
		return p, nil
	}
	if in.compiled += len(text); in.compiled > maxPattern {
		return nil, unsatisfiable("its patterns are too long.")
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, unsatisfiable("pattern '%s' is not understood.", text)
	}
	p := &pattern{syntax: re.Simplify()}
	program, err := syntax.Compile(p.syntax)
	if err != nil {
		return nil, unsatisfiable("pattern '%s' is not understood.", text)
	}
	if p.size = len(program.Inst); p.size > maxPattern {
		return nil, unsatisfiable("pattern '%s' is too large.", text)
	}
	if p.check, err = regexp.Compile(text); err != nil {
		return nil, unsatisfiable("pattern '%s' is not understood.", text)
	}
	in.patterns[text] = p
	return p, nil
}

// maxText bounds the characters that a schema may ask of one string, and the
// steps that making one from a pattern may take.
const maxText = 64 << 10

// expand writes a string for re, with so many repetitions more than needed
// wherever there may be any number. It ends early when steps are used up.
func (in *inventor) expand(b *strings.Builder, re *syntax.Regexp, extra int, steps *int) {
	if *steps--; *steps < 0 {
		return
	}
	times := 1
	switch re.Op {
	case syntax.OpLiteral:
		if *steps -= len(re.Rune); *steps < 0 {
			return
		}
		for _, r := range re.Rune {
			b.WriteRune(r)
		}
		return
	case syntax.OpCharClass:
		b.WriteRune(in.member(re.Rune))
		return
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
		return
	case syntax.OpAlternate:
		in.expand(b, re.Sub[in.r.IntN(len(re.Sub))], extra, steps)
		return
	case syntax.OpStar:
		times = extra
	case syntax.OpPlus:
		times = 1 + extra
	case syntax.OpQuest:
		times = min(extra, 1)
	}
	for i := 0; i < times && *steps > 0; i++ {
		for _, sub := range re.Sub {
			in.expand(b, sub, extra, steps)
		}
	}
}

// member picks a character of a class, which is a list of ranges: a letter or
// digit where there is one.
func (in *inventor) member(ranges []rune) rune {
	for range 32 {
		c := rune(alphanumerics[in.r.IntN(len(alphanumerics))])
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= c && c <= ranges[i+1] {
				return c
			}
		}
	}
	if len(ranges) == 0 {
		return 'x'
	}
	return ranges[0]
}
