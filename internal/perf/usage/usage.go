// Package usage reads what a reply says it took: its top-level member "usage", or
// that of the object that an event of a stream wraps; in replies of the Gemini API
// "usageMetadata".
//
// It promises to find it wherever it stands and however the reply is cut, and
// nothing that only looks like it: a usage in text, metadata, a tool's output or a
// choice is none. Of members of one name the last counts, as in most readers of
// JSON. It is no judge of JSON: a reply that is none has some usage or none. Names
// are compared as every service spells them, without escapes.
//
// Nothing is allocated, and what a Reader holds does not depend on the reply.
package usage

import (
	"bytes"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/sse"
)

// name is what is looked for, without its first quote, for which a search would
// stop at every string.
const name = `usage"`

// geminiName is the same in replies of the Gemini API.
const geminiName = `usageMetadata"`

// tail is how many bytes from its end a reply is searched first, since services
// write their usage last.
const tail = 1 << 10

// Of reads a reply that is held whole, by its outline where somebody has made one.
func Of(b []byte, said *llm.Outline) perf.Usage {
	if !said.Read {
		return Whole(b)
	}
	r := Reader{state: members, depth: 1, field: own, value: true}
	r.Feed(said.Usage.Of(b))
	return r.Usage()
}

// Whole reads a reply that is held whole.
func Whole(b []byte) perf.Usage {
	if u, ok := last(b); ok {
		return u
	}
	if !bytes.Contains(b, []byte(name)) && !bytes.Contains(b, []byte(geminiName)) {
		return perf.Usage{}
	}
	var r Reader
	r.Feed(b)
	return r.Usage()
}

// last reads the usage near the end of a reply. ok is false where that takes a look
// at the whole.
//
// A quote that no backslash precedes begins or ends a string, and none ends right
// before a letter: so the name in its quotes is a string, and with a colon behind it
// the name of a member. The object that it is a member of is the reply itself if the
// reply ends with it.
func last(b []byte) (u perf.Usage, ok bool) {
	end := 0
	for at := max(len(b)-tail, 0); ; at = end {
		n := bytes.Index(b[at:], []byte(name))
		if n < 0 {
			break
		}
		end = at + n + len(name)
	}
	begin := end - len(name) - 1
	if begin < 1 || b[begin] != '"' || b[begin-1] == '\\' {
		return perf.Usage{}, false
	}
	for end < len(b) && space(b[end]) {
		end++
	}
	if end == len(b) || b[end] != ':' {
		return perf.Usage{}, false
	}
	r := Reader{state: members, depth: 1, field: own}
	end += r.Feed(b[end:])
	for end < len(b) && space(b[end]) {
		end++
	}
	return r.Usage(), r.state == done && end == len(b)
}

// event reads an event that seems to have a usage, which few do. What a Reader takes on
// the stack is not there for the others.
//
//go:noinline
func (c *Counts) event(raw []byte) bool {
	data, ok := sse.Data(raw, nil)
	if !ok {
		return false
	}
	r := Reader{wraps: true}
	r.Feed(data)
	told := r.told()
	c.update(told)
	return told.said != 0
}

// mentioned reports whether an event may have a usage. In many streams each says
// that it has none yet.
func mentioned(raw []byte) bool {
	for {
		const stem = "usage"
		n := bytes.Index(raw, []byte(stem))
		if n < 0 {
			return false
		}
		raw = raw[n:]
		if bytes.HasPrefix(raw, []byte(geminiName)) {
			return true
		}
		if !bytes.HasPrefix(raw, []byte(name)) {
			raw = raw[len(stem):]
			continue
		}
		raw = raw[len(name):]
		if !bytes.HasPrefix(raw, []byte(":null")) && !bytes.HasPrefix(raw, []byte(": null")) {
			return true
		}
	}
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
