package front

import (
	"bytes"

	"sluice/internal/perf"
)

// usageWindow is how many bytes from its end a reply is searched for its usage,
// which services write last. An event of a stream is searched as a reply is.
const usageWindow = 4 << 10

// usageKey is the key without its first quote, for which a search would stop at
// every string.
const usageKey = `usage"`

// noteUsage takes from bytes of a reply how many tokens it took. The last that
// says so counts.
func (x *exchange) noteUsage(b []byte) {
	if len(x.s.observers) == 0 || x.own != nil {
		return
	}
	if u := findUsage(b); u.Known {
		x.record.Usage = u
	}
}

// findUsage reads the last usage in b, without looking at the rest of it: the
// key's bytes cannot stand in a string of JSON, where quotes are escaped.
func findUsage(b []byte) (last perf.Usage) {
	b = b[max(len(b)-usageWindow, 0):]
	for from := 0; ; {
		at := bytes.Index(b[from:], []byte(usageKey))
		if at < 0 {
			return last
		}
		at += from
		from = at + len(usageKey)
		if at == 0 || b[at-1] != '"' || at > 1 && b[at-2] == '\\' {
			continue
		}
		if u := readUsage(b[from:]); u.Known {
			last = u
		}
	}
}

// readUsage reads what follows the key: a colon and an object. Anything else is
// no usage.
func readUsage(b []byte) (u perf.Usage) {
	r := usageReader{b: b}
	if r.next() != ':' {
		return perf.Usage{}
	}
	r.at++
	if r.next() != '{' || !r.object(&u, false) || !u.Known {
		return perf.Usage{}
	}
	u.Cached = min(u.Cached, u.Input)
	return u
}

// usageReader reads a usage in one go. It takes what cannot be one for none, and
// it is no judge of JSON: a strict scan costs three times as much, for each
// request, and nothing but these numbers is taken.
type usageReader struct {
	b  []byte
	at int
}

// next gives the next byte that is no space, 0 at the end.
func (r *usageReader) next() byte {
	for ; r.at < len(r.b); r.at++ {
		switch c := r.b[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// object reads the usage, or the details of its input, whose brace comes next.
func (r *usageReader) object(u *perf.Usage, details bool) bool {
	r.at++
	if r.next() == '}' {
		r.at++
		return true
	}
	for {
		key, ok := r.key()
		if !ok {
			return false
		}
		c := r.next()
		switch {
		case '0' <= c && c <= '9':
			if n, ok := r.count(); ok {
				take(u, details, key, n)
			}
		case c == '{' && !details && (string(key) == "prompt_tokens_details" || string(key) == "input_tokens_details"):
			ok = r.object(u, true)
		default:
			ok = r.skip()
		}
		if !ok {
			return false
		}
		switch c := r.next(); c {
		case ',', '}':
			r.at++
			if c == '}' {
				return true
			}
		default:
			return false
		}
	}
}

// take takes a member's number for what it is.
func take(u *perf.Usage, details bool, key []byte, n int64) {
	switch string(key) {
	case "prompt_tokens", "input_tokens":
		if !details {
			u.Input, u.Known = n, true
		}
	case "completion_tokens", "output_tokens":
		if !details {
			u.Output, u.Known = n, true
		}
	case "cached_tokens":
		if details {
			u.Cached = n
		}
	}
}

// key reads a member's name and the colon behind it.
func (r *usageReader) key() (key []byte, ok bool) {
	if r.next() != '"' {
		return nil, false
	}
	begin := r.at + 1
	if !r.str() {
		return nil, false
	}
	key = r.b[begin : r.at-1]
	if r.next() != ':' {
		return nil, false
	}
	r.at++
	return key, true
}

// maxDigits bounds a count of tokens: more is no count.
const maxDigits = 15

// count reads a number, which is one of tokens where it is whole.
func (r *usageReader) count() (n int64, ok bool) {
	begin := r.at
	for ; r.at < len(r.b); r.at++ {
		c := r.b[r.at]
		if c < '0' || c > '9' {
			break
		}
		if r.at-begin < maxDigits {
			n = 10*n + int64(c-'0')
		}
	}
	ok = r.at-begin <= maxDigits
	whole := r.at
	r.literal()
	return n, ok && r.at == whole
}

// literal passes over a number or a word.
func (r *usageReader) literal() {
	for ; r.at < len(r.b); r.at++ {
		switch r.b[r.at] {
		case ',', '}', ']', ' ', '\t', '\n', '\r', '"', '{', '[', ':':
			return
		}
	}
}

// skip passes over a value.
func (r *usageReader) skip() bool {
	for depth := 0; ; {
		switch r.next() {
		case 0:
			return false
		case '"':
			if !r.str() {
				return false
			}
		case '{', '[':
			depth++
			r.at++
		case '}', ']':
			depth--
			r.at++
		case ',', ':':
			r.at++ // inside
		default:
			r.literal()
		}
		if depth <= 0 {
			return depth == 0
		}
	}
}

// str passes over a string whose quote comes next.
func (r *usageReader) str() bool {
	for r.at++; r.at < len(r.b); r.at++ {
		switch r.b[r.at] {
		case '\\':
			r.at++
		case '"':
			r.at++
			return true
		}
	}
	return false
}
