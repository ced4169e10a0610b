package schema

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// scanner looks over the text of a .proto file before a compiler does. It
// knows just enough of the language to count braces and declarations and to
// measure names; where a text is wrong, the compiler says so better.
type scanner struct {
	path    string
	text    []byte
	at      int
	tally   *tally
	tokens  int
	imports int
	open    []block
	chain   int  // bytes of the dotted name being read
	dotted  bool // the name goes on
	head    int  // bytes of the names since the last ';', '{' or '}'
	first   string
	pkg     int // bytes of the package's name
}

// block is an open brace or bracket.
type block struct {
	names int  // bytes of the names of what is around
	value bool // of an option or in brackets: nothing is declared there
}

// scan checks a text against the limits.
func scan(path string, text []byte, t *tally) error {
	s := &scanner{path: path, text: text, tally: t}
	for line := range bytes.Lines(text) {
		if len(line) > maxLine {
			return s.fault(over("bytes of a line", maxLine))
		}
		if !utf8.Valid(line) {
			for r, n := rune(0), 0; r != utf8.RuneError || n != 1; s.at += n {
				line = line[n:]
				r, n = utf8.DecodeRune(line)
			}
			s.at--
			return s.fault(errNotUTF8)
		}
		s.at += len(line)
	}
	for s.at = 0; s.at < len(text); {
		if err := s.token(); err != nil {
			return s.fault(err)
		}
	}
	return nil
}

var errNotUTF8 = errors.New("the text is not UTF-8")

// fault says where in the text an error is, as compilers do.
func (s *scanner) fault(err error) error {
	before := s.text[:s.at]
	line := bytes.Count(before, []byte{'\n'}) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Errorf("%s:%d:%d: %w", s.path, line, column, err)
}

// token goes past one token, comment or space.
func (s *scanner) token() error {
	if s.tokens > maxTokens {
		return over("tokens", maxTokens)
	}
	c := s.text[s.at]
	switch {
	case isWord(c):
		return s.word()
	case c == '.':
		s.tokens++
		s.chain, s.dotted = s.chain+1, true
	case c == '"' || c == '\'':
		s.quoted(c)
		return nil
	case c == '/' && s.comment():
		return nil
	case c == ' ' || '\t' <= c && c <= '\r':
	default:
		if err := s.punctuation(c); err != nil {
			return err
		}
	}
	s.at++
	return nil
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

func (s *scanner) word() error {
	s.tokens++
	start := s.at
	for s.at < len(s.text) && isWord(s.text[s.at]) {
		s.at++
	}
	n := s.at - start
	if !s.dotted {
		s.chain = 0
	}
	s.chain, s.dotted = s.chain+n, false
	if s.chain > maxFullName {
		s.at = start
		return over("bytes of a name", maxFullName)
	}
	if s.first == "" {
		s.first = string(s.text[start:min(s.at, start+16)])
	}
	s.head = min(s.head+n, maxNames)
	return nil
}

// quoted goes past a string. It ends with its line at the latest.
func (s *scanner) quoted(quote byte) {
	s.tokens++
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case quote, '\n':
			s.at++
			return
		}
	}
}

// comment goes past a comment, if there is one.
func (s *scanner) comment() bool {
	rest := s.text[s.at:]
	end := 0
	switch {
	case bytes.HasPrefix(rest, []byte("//")):
		end = bytes.IndexByte(rest, '\n')
	case bytes.HasPrefix(rest, []byte("/*")):
		if end = bytes.Index(rest[2:], []byte("*/")); end >= 0 {
			end += 4
		}
	default:
		return false
	}
	if end < 0 {
		end = len(rest)
	}
	s.at += end
	return true
}

func (s *scanner) punctuation(c byte) error {
	s.tokens++
	s.dotted = false
	around, value := s.pkg, false
	if n := len(s.open); n > 0 {
		around, value = s.open[n-1].names, s.open[n-1].value
	}
	switch c {
	case '{', '[', '<', '(':
		return s.push(c, around, value)
	case '}', ']', '>', ')':
		s.open = s.open[:max(len(s.open)-1, 0)]
	case '=':
		if !value && s.first != "option" {
			return s.tally.declare(&s.tally.fields, 1, min(around, maxFullName)+s.head)
		}
	case ';':
		switch s.first {
		case "package":
			s.pkg = s.head
		case "import":
			if s.imports++; s.imports > s.tally.limits.MaxFiles {
				return over("imports", s.tally.limits.MaxFiles)
			}
		}
	}
	if c == '}' || c == ';' {
		s.head, s.first = 0, ""
	}
	return nil
}

// push opens a block.
func (s *scanner) push(c byte, around int, value bool) error {
	if len(s.open) == maxNesting {
		return over("nested braces", maxNesting)
	}
	b := block{names: around + s.head, value: value || c != '{' || s.first == "option"}
	s.open = append(s.open, b)
	if b.value {
		return nil
	}
	defer func() { s.head, s.first = 0, "" }()
	switch s.first {
	case "oneof", "extend", "extensions", "rpc":
		return nil
	}
	return s.tally.declare(&s.tally.messages, 1, b.names)
}
