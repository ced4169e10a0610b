package schema

import (
	"fmt"
	"iter"
	"strings"
)

// unknown says that there is no what of that name, and which was probably
// meant.
func unknown(what, name, where string, names iter.Seq[string]) error {
	hint := ""
	if n := nearest(name, names); n != "" {
		hint = fmt.Sprintf("; did you mean %q?", n)
	}
	if where != "" {
		where = " " + where
	}
	return fmt.Errorf("%w %s %.200q%s%s", ErrUnknown, what, name, where, hint)
}

// maxCompared is how many names are compared with an unknown one: anyone may
// ask for unknown names.
const maxCompared = 20_000

// nearest returns the name that was probably meant by word, "" when none is
// near enough. The same last part in another package or case is near.
func nearest(word string, names iter.Seq[string]) string {
	const sameLast = 1 // as near as a slip of one letter
	last := word[strings.LastIndexByte(word, '.')+1:]
	best, least, n := "", max(len(word)/3, 1)+1, 0
	for name := range names {
		if n++; n > maxCompared {
			break
		}
		d := distance(word, name, least)
		if strings.EqualFold(last, name[strings.LastIndexByte(name, '.')+1:]) {
			d = min(d, sameLast)
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace that turn a into b,
// up to bound. Words longer than 128 bytes are bound apart.
func distance(a, b string, bound int) int {
	const most = 128
	if len(a) > most || len(b) > most || len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	var row [most + 1]int
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal, low := row[0], i
		row[0] = i
		for j := 1; j <= len(b); j++ {
			d := diagonal
			if a[i-1] != b[j-1] {
				d = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], d
			low = min(low, d)
		}
		if low >= bound {
			return bound
		}
	}
	return row[len(b)]
}
