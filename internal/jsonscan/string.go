package jsonscan

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// String decodes one JSON string, quotes included, with nothing around it.
// Half a surrogate pair becomes U+FFFD. The error is an *Error.
func String(raw []byte) (string, error) {
	s := newScanner(raw, 0)
	if s.at(0) != '"' {
		return "", s.document(s.fail(0, "expected a string"))
	}
	end := s.str(0)
	if end >= 0 && end < len(raw) {
		end = s.fail(end, "expected nothing after the string")
	}
	if end < 0 {
		return "", s.document(end)
	}
	return string(unquote(raw)), nil
}

// AppendText appends what raw says, which is a valid JSON string, quotes included.
// Half a surrogate pair becomes U+FFFD.
func AppendText(dst, raw []byte) []byte { return appendUnquoted(dst, raw[1:len(raw)-1]) }

// unquote decodes a sound JSON string. Without escapes that is a part of raw.
func unquote(raw []byte) []byte {
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return appendUnquoted(make([]byte, 0, len(raw)), raw)
}

// appendUnquoted decodes what stands between the quotes of a sound JSON string.
func appendUnquoted(dst, raw []byte) []byte {
	for i := bytes.IndexByte(raw, '\\'); i >= 0; i = bytes.IndexByte(raw, '\\') {
		dst = append(dst, raw[:i]...)
		dst, raw = unescape(dst, raw[i+1:])
	}
	return append(dst, raw...)
}

// unescape appends the character that raw, which follows a backslash, begins
// with, and returns what is left of raw.
func unescape(dst, raw []byte) (out, rest []byte) {
	switch c := raw[0]; c {
	case 'b':
		return append(dst, '\b'), raw[1:]
	case 'f':
		return append(dst, '\f'), raw[1:]
	case 'n':
		return append(dst, '\n'), raw[1:]
	case 'r':
		return append(dst, '\r'), raw[1:]
	case 't':
		return append(dst, '\t'), raw[1:]
	case 'u':
		r := unit(raw[1:])
		raw = raw[5:]
		if utf16.IsSurrogate(r) {
			pair := rune(utf8.RuneError)
			if len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
				pair = utf16.DecodeRune(r, unit(raw[2:]))
			}
			if r = pair; pair != utf8.RuneError {
				raw = raw[6:]
			}
		}
		return utf8.AppendRune(dst, r), raw
	default:
		return append(dst, c), raw[1:]
	}
}

// unit reads the four hexadecimal digits that raw begins with.
func unit(raw []byte) (r rune) {
	for _, c := range raw[:4] {
		d, _ := hex(c)
		r = r<<4 | rune(d)
	}
	return r
}

func hex(c byte) (digit byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	default:
		return 0, false
	}
}

// Room is how many bytes AppendString appends at most for s.
func Room(s []byte) int {
	n := len(s) + 2
	wide := 0
	for _, c := range s {
		switch {
		case c < ' ':
			n += 5
		case c == '"' || c == '\\':
			n++
		case c >= utf8.RuneSelf:
			wide++
		}
	}
	if wide > 0 && !utf8.Valid(s) {
		n += 2 * wide
	}
	return n
}

// AppendString appends s to dst as a JSON string. Only what must be escaped
// is; bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	return AppendBytes(dst, unsafe.Slice(unsafe.StringData(s), len(s)))
}

// AppendBytes is AppendString of a text that is bytes.
func AppendBytes(dst, s []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; ; {
		if i = plain(s, i); i >= len(s) {
			break
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
