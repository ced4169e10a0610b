package http1

import "strings"

// parseLength reads 1*DIGIT that fits an int64.
func parseLength(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// isTokenChar reports whether b is a tchar (RFC 9110 section 5.6.2).
func isTokenChar(b byte) bool {
	switch {
	case 'a' <= b|0x20 && b|0x20 <= 'z', '0' <= b && b <= '9', b == '-':
		return true
	}
	return strings.IndexByte("!#$%&'*+.^_`|~", b) >= 0
}

// isValueChar reports whether b may stand in a field value: a tab, or any byte
// that is not a control character (RFC 9110 section 5.5).
func isValueChar(b byte) bool { return b >= ' ' && b != 0x7f || b == '\t' }

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

// isVisible reports whether s is visible ASCII only, and not empty.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// canonicalize turns a field name into its canonical form, Content-Type, and
// reports whether it was a token.
func canonicalize(name []byte) bool {
	upper := true
	for i, b := range name {
		if !isTokenChar(b) {
			return false
		}
		switch {
		case upper && 'a' <= b && b <= 'z':
			name[i] = b - 0x20
		case !upper && 'A' <= b && b <= 'Z':
			name[i] = b + 0x20
		}
		upper = b == '-'
	}
	return true
}
