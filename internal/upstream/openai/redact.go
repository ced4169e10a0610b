package openai

import (
	"strings"
)

const (
	redacted = "[redacted]"
	// minSecret is how long a key must be to be looked for, in bytes. Servers
	// that need no key are given ones like "x", which stand in every text.
	minSecret = 4
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

// redact returns text with every secret in it replaced, also where its
// characters are escaped as in JSON or in a URL. The secrets are visible
// ASCII, the longest first. text is returned as it is when it holds none.
func redact(text []byte, secrets []string) []byte {
	var out []byte
	kept := 0 // text up to here is in out
	for i := 0; i < len(text); {
		n := 0
		for _, secret := range secrets {
			if n = match(text[i:], secret); n > 0 {
				break
			}
		}
		switch {
		case n > 0:
			out = append(append(out, text[kept:i]...), redacted...)
			i += n
			kept = i
		case text[i] == '\\':
			i += 2 // an escape is not torn apart
		default:
			i++
		}
	}
	if kept == 0 {
		return text
	}
	return append(out, text[kept:]...)
}

// match returns how many bytes of text spell secret, 0 if it does not begin
// with it.
func match(text []byte, secret string) int {
	at := 0
	for i := range len(secret) {
		n := spells(text[at:], secret[i])
		if n == 0 {
			return 0
		}
		at += n
	}
	return at
}

// spells returns how many bytes at the beginning of text stand for c: itself,
// \c, \u00XX or %XX.
func spells(text []byte, c byte) int {
	switch {
	case len(text) >= 6 && text[0] == '\\' && text[1]|0x20 == 'u' && text[2] == '0' && text[3] == '0' && hexByte(text[4:]) == int(c):
		return 6
	case len(text) >= 2 && text[0] == '\\' && text[1] == c:
		return 2
	case len(text) >= 3 && text[0] == '%' && hexByte(text[1:]) == int(c):
		return 3
	case len(text) >= 1 && text[0] == c:
		return 1
	}
	return 0
}

// hexByte reads two hexadecimal digits, -1 where there are none.
func hexByte(text []byte) int {
	n := 0
	for _, c := range text[:2] {
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
