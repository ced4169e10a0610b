// Package credentials is what an upstream is told of who asks, the same for all
// protocols: its key and further header fields. It keeps them out of whatever reaches
// a client.
package credentials

import (
	"encoding/base64"
	"slices"
	"sort"
	"strings"
)

const (
	redacted = "[redacted]"
	// minSecret is how long a key must be to be looked for, in bytes. Servers
	// that need no key are given ones like "x", which stand in every text.
	minSecret = 4
	// minRandom is how long one must be to be looked for in other letter case and
	// in base64 too. Shorter ones are words: "EMPTY" stands for no key.
	minRandom = 16
)

// confidential reports whether a header or query parameter of that name is
// likely to hold a credential.
func confidential(name string) bool {
	name = strings.ToLower(name)
	for _, part := range [...]string{"key", "token", "secret", "auth", "password", "cookie", "signature", "sig"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// Secrets are texts that no client may see, the longest first: a shorter one may
// be a part of it.
type Secrets struct {
	list     []secret
	first    [256]bool // the bytes that one can begin with, however spelt
	shortest int
}

// secret is visible ASCII.
type secret struct {
	text string // in lower case where fold
	fold bool
}

func newSecrets(texts []string) *Secrets {
	s := &Secrets{}
	for _, text := range texts {
		s.add(text, len(text) >= minRandom)
		if len(text) >= minRandom {
			for shift := range 3 {
				s.add(inBase64(base64.RawStdEncoding, text, shift), false)
				s.add(inBase64(base64.RawURLEncoding, text, shift), false)
			}
		}
	}
	sort.SliceStable(s.list, func(i, j int) bool { return len(s.list[i].text) > len(s.list[j].text) })
	if len(s.list) > 0 {
		s.shortest = len(s.list[len(s.list)-1].text)
		s.first['\\'], s.first['%'] = true, true
	}
	return s
}

func (s *Secrets) add(text string, fold bool) {
	if fold {
		text = strings.ToLower(text)
	}
	one := secret{text, fold}
	if len(text) < minSecret || slices.Contains(s.list, one) {
		return
	}
	s.list = append(s.list, one)
	s.first[text[0]] = true
	if fold && 'a' <= text[0] && text[0] <= 'z' {
		s.first[text[0]-'a'+'A'] = true
	}
}

// inBase64 gives what of text's coding is the same whatever stands before it, as
// a user's name does in Basic credentials, and behind it. shift is how many bytes
// before it are not a whole group of three.
func inBase64(coding *base64.Encoding, text string, shift int) string {
	all := coding.EncodeToString([]byte("\x00\x00"[:shift] + text))
	if (shift+len(text))%3 != 0 {
		all = all[:len(all)-1]
	}
	return all[(8*shift+5)/6:]
}

// Redact returns text with every secret in it replaced, also where its
// characters are escaped as in JSON or in a URL. text is returned as it is when
// it holds none.
func (s *Secrets) Redact(text []byte) []byte {
	at, n := find(s, text, 0)
	if n == 0 {
		return text
	}
	var out []byte
	kept := 0 // text up to here is in out
	for n > 0 {
		out = append(append(out, text[kept:at]...), redacted...)
		kept = at + n
		at, n = find(s, text, kept)
	}
	return append(out, text[kept:]...)
}

// RedactField is Redact for the value of a header field.
func (s *Secrets) RedactField(value string) string {
	if !s.In(value) {
		return value
	}
	return string(s.Redact([]byte(value)))
}

// In reports whether text holds a secret.
func (s *Secrets) In(text string) bool {
	if len(text) < s.shortest {
		return false
	}
	_, n := find(s, text, 0)
	return n > 0
}

// find gives where the first secret in text[from:] stands and how many bytes it
// has there, 0 where there is none.
func find[T string | []byte](s *Secrets, text T, from int) (at, n int) {
	for i := from; i < len(text); i++ {
		if !s.first[text[i]] {
			continue
		}
		for k := range s.list {
			if n := match(text[i:], &s.list[k]); n > 0 {
				return i, n
			}
		}
		if text[i] == '\\' {
			i++ // an escape is not torn apart
		}
	}
	return 0, 0
}

// match returns how many bytes of text spell secret, 0 if it does not begin
// with it.
func match[T string | []byte](text T, s *secret) int {
	at := 0
	for i := range len(s.text) {
		n := spells(text[at:], s.text[i], s.fold)
		if n == 0 {
			return 0
		}
		at += n
	}
	return at
}

// spells returns how many bytes at the beginning of text stand for c: itself,
// \c, \u00XX or %XX. With fold c is in lower case and stands for both.
func spells[T string | []byte](text T, c byte, fold bool) int {
	switch {
	case len(text) >= 6 && text[0] == '\\' && text[1]|0x20 == 'u' && text[2] == '0' && text[3] == '0' && same(hexByte(text[4], text[5]), c, fold):
		return 6
	case len(text) >= 2 && text[0] == '\\' && same(int(text[1]), c, fold):
		return 2
	case len(text) >= 3 && text[0] == '%' && same(hexByte(text[1], text[2]), c, fold):
		return 3
	case len(text) >= 1 && same(int(text[0]), c, fold):
		return 1
	}
	return 0
}

func same(b int, c byte, fold bool) bool {
	if fold && 'A' <= b && b <= 'Z' {
		b += 'a' - 'A'
	}
	return b == int(c)
}

// hexByte reads two hexadecimal digits, -1 where they are none.
func hexByte(high, low byte) int {
	n := 0
	for _, c := range [2]byte{high, low} {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | int(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			n = n<<4 | int(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return n
}
