package front

import (
	"bytes"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/perf"
)

// usageWindow is how many bytes from its end a reply is searched for its usage,
// which services write last. An event of a stream is searched as a reply is.
const usageWindow = 4 << 10

// usageDepth bounds how deeply a usage's JSON may nest.
const usageDepth = 8

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
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != ':' {
		return perf.Usage{}
	}
	b = bytes.TrimLeft(b[1:], " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return perf.Usage{}
	}
	b = braced(b)
	err := jsonscan.Members(b, usageDepth, func(key []byte, value llm.Span) error {
		v := b[value.Start:value.End]
		switch string(key) {
		case "prompt_tokens", "input_tokens":
			u.Input = count(v, u.Input, &u.Known)
		case "completion_tokens", "output_tokens":
			u.Output = count(v, u.Output, &u.Known)
		case "prompt_tokens_details", "input_tokens_details":
			u.Cached = cachedTokens(v)
		}
		return nil
	})
	if err != nil || !u.Known {
		return perf.Usage{}
	}
	u.Cached = min(u.Cached, u.Input)
	return u
}

// braced gives the object that b begins with. No string of a usage has braces;
// one that does is cut in the wrong place, and is no JSON then.
func braced(b []byte) []byte {
	depth, end := 0, 0
	for {
		n := bytes.IndexByte(b[end:], '}')
		if n < 0 {
			return nil
		}
		depth += bytes.Count(b[end:end+n], []byte{'{'}) - 1
		if end += n + 1; depth == 0 {
			return b[:end]
		}
	}
}

// cachedTokens reads the part of the input that the service had cached, 0 where
// it does not say.
func cachedTokens(details []byte) (n int64) {
	if details[0] != '{' {
		return 0
	}
	known := false
	_ = jsonscan.Members(details, usageDepth, func(key []byte, value llm.Span) error {
		if string(key) == "cached_tokens" {
			n = count(details[value.Start:value.End], n, &known)
		}
		return nil
	})
	return n
}

// maxDigits bounds a count of tokens: more is no count.
const maxDigits = 15

// count reads a whole number, or gives old for anything else.
func count(v []byte, old int64, known *bool) (n int64) {
	if len(v) > maxDigits {
		return old
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return old
		}
		n = 10*n + int64(c-'0')
	}
	*known = true
	return n
}
