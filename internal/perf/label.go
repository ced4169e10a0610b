package perf

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLabel bounds what a name takes as a label, in bytes.
const MaxLabel = 128

// Label makes a name that comes from outside fit for labels, attributes and logs: it
// is UTF-8, as exporters have to have it, of at most MaxLabel bytes, without control
// characters. What is no such character becomes U+FFFD, and what is too long ends in
// "…". A name that is fit is returned as it is.
func Label(s string) string {
	if len(s) <= MaxLabel {
		i := 0
		for i < len(s) && ' ' <= s[i] && s[i] < 0x7f {
			i++
		}
		if i == len(s) {
			return s
		}
	}
	return fit(s)
}

func fit(s string) string {
	const more = "…"
	var b strings.Builder
	short := 0 // the length at which more still has room
	for _, r := range s {
		if unicode.IsControl(r) {
			r = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(r) > MaxLabel {
			return b.String()[:short] + more
		}
		b.WriteRune(r)
		if b.Len() <= MaxLabel-len(more) {
			short = b.Len()
		}
	}
	if b.String() == s {
		return s
	}
	return b.String()
}
