package front

import (
	"strings"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

// maxDelta is what a number of seconds counts as that is larger (RFC 9111,
// section 1.2.2).
const maxDelta = (1 << 31) * time.Second

// cachePolicy reads what a request asks of caches (RFC 9111, section 5.2.1).
// Of directives that are given twice the strictest holds, and an argument that
// cannot be read is taken for the strictest there is: that costs a stored reply,
// where the other way the client would get one that it did not want.
func cachePolicy(h engine.Header) llm.CachePolicy {
	var d directives
	lines, old := h.Values("Cache-Control"), false
	if len(lines) == 0 {
		lines, old = h.Values("Pragma"), true // RFC 9111, section 5.4
	}
	for _, rest := range lines {
		for rest != "" {
			var name, argument string
			var given bool
			name, argument, given, rest = cutDirective(rest)
			if !old || strings.EqualFold(name, "no-cache") {
				d.add(name, argument, given)
			}
		}
	}
	return d.CachePolicy
}

// directives is a policy that is being read.
type directives struct {
	llm.CachePolicy
	stale bool // max-stale was given, perhaps as 0
}

// add takes one directive. given says that it has an argument, perhaps an
// empty one.
func (d *directives) add(name, argument string, given bool) {
	switch {
	case strings.EqualFold(name, "no-store"):
		d.NoStore = true
	case strings.EqualFold(name, "no-cache"):
		d.NoCache = true
	case strings.EqualFold(name, "only-if-cached"):
		d.OnlyIfCached = true
	case strings.EqualFold(name, "max-age"):
		age := seconds(argument, 0)
		if d.HasMaxAge {
			age = min(age, d.MaxAge)
		}
		d.MaxAge, d.HasMaxAge = age, true
	case strings.EqualFold(name, "max-stale"):
		late := llm.AnyStale
		if given {
			late = seconds(argument, 0)
		}
		if d.stale {
			late = min(late, d.MaxStale)
		}
		d.MaxStale, d.stale = late, true
	case strings.EqualFold(name, "min-fresh"):
		d.MinFresh = max(d.MinFresh, seconds(argument, maxDelta))
	}
}

// cutDirective returns the first directive of a list, its argument as it stands
// there, and what follows the comma.
func cutDirective(list string) (name, argument string, given bool, rest string) {
	end := comma(list, 0)
	name, _, given = strings.Cut(list[:end], "=")
	if given {
		from := len(name) + 1
		for from < end && isBlank(list[from]) {
			from++
		}
		if n := quoted(list[from:]); n > 0 {
			end = comma(list, from+n)
		}
		argument = strings.Trim(list[from:end], " \t")
	}
	if end < len(list) {
		rest = list[end+1:]
	}
	return strings.Trim(name, " \t"), argument, given, rest
}

// comma returns the index of the first comma of s at or after from, len(s) when
// there is none.
func comma(s string, from int) int {
	if i := strings.IndexByte(s[from:], ','); i >= 0 {
		return from + i
	}
	return len(s)
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// quoted returns the length of the quoted string that s begins with, 0 when
// there is none. A quote that nothing closes does not begin one, so that it
// cannot hide a directive behind it.
func quoted(s string) int {
	if s == "" || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// seconds reads a number of seconds, quoted or not; faulty is for what is none.
func seconds(s string, faulty time.Duration) time.Duration {
	inQuotes := quoted(s) == len(s) && s != ""
	if inQuotes {
		s = s[1 : len(s)-1]
	}
	if s == "" {
		return faulty
	}
	var n time.Duration
	for i := 0; i < len(s); i++ {
		if inQuotes && s[i] == '\\' && i+1 < len(s) {
			i++
		}
		if s[i] < '0' || s[i] > '9' {
			return faulty
		}
		n = min(10*n+time.Duration(s[i]-'0'), maxDelta/time.Second)
	}
	return n * time.Second
}
