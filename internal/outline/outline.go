// Package outline reads what a whole reply of a model says of itself. It knows what
// OpenAI's operations and services like them call it.
//
// It promises to take time in proportion to the reply, of which hardly anything is looked
// at twice, and to allocate nothing unless a name has escapes. It is no judge of JSON:
// what is none says something or nothing, up to where it is none.
package outline

import (
	"bytes"
	"math"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Read reads a reply.
func Read(body []byte) llm.Outline {
	if len(body) > math.MaxUint32 {
		return llm.Outline{}
	}
	r := reader{body: body, said: llm.Outline{Read: true, Nothing: true}}
	r.reply()
	return r.said
}

// Fails reports whether a reply tells of an error, as Read does, and is faster where
// most of it are numbers.
func Fails(body []byte) bool {
	return bytes.Contains(body, []byte("error")) && Read(body).Failed
}

// names are the members of a reply, or of a choice, that came already. Of several of
// one name the first counts.
type names uint8

const (
	id names = 1 << iota
	status
	failure
	kind
	choices
	output
	data
	wrapped
)

type reader struct {
	body []byte
	said llm.Outline
	seen names
}

// first reports whether it is the first member of a name among those that were seen. Of
// two it is a matter of who reads them which one counts, but of ids nothing depends.
func (r *reader) first(seen *names, name names) bool {
	if *seen&name != 0 {
		r.said.Twice = r.said.Twice || name != id
		return false
	}
	*seen |= name
	return true
}

// reply reads the members of the reply. A response that is incomplete is a failure
// where the reply wraps it and it has an error, as an event does.
func (r *reader) reply() {
	incomplete, inner := false, false
	for i := r.open(r.space(0), '{'); i >= 0; {
		name, at := r.member(i)
		if at < 0 {
			return
		}
		end, null := -1, r.null(at)
		if string(name) == "choices" && r.first(&r.seen, choices) {
			if r.said.Nothing = r.said.Nothing && null; r.is(at, '[') {
				end = r.choices(at)
			}
		}
		if end < 0 {
			end = jsonscan.ValueEnd(r.body, at)
		}
		if end < 0 {
			return
		}
		part := llm.Part{Start: uint32(at), End: uint32(end)}
		switch string(name) {
		case "id":
			if r.first(&r.seen, id) {
				r.said.ID = part
			}
		case "status":
			if r.first(&r.seen, status) {
				r.said.Status = part
			}
		case "usage", "usageMetadata":
			r.said.Usage = part
		case "error":
			r.said.Failed = r.first(&r.seen, failure) && !null || r.said.Failed
		case "output":
			if r.first(&r.seen, output) {
				r.said.Output = !null
				r.said.Nothing = r.said.Nothing && null
			}
		case "data":
			if r.first(&r.seen, data) {
				r.said.Nothing = r.said.Nothing && null
			}
		case "type":
			if r.first(&r.seen, kind) {
				switch string(r.body[at:end]) {
				case `"error"`, `"response.failed"`:
					r.said.Failed = true
				case `"response.incomplete"`:
					incomplete = true
				}
			}
		case "response":
			if r.first(&r.seen, wrapped) {
				inner = r.has(at, "error")
			}
		}
		r.said.Failed = r.said.Failed || incomplete && inner
		i = r.next(end)
	}
}

// choices reads the choices that begin at i, and gives where they end, -1 where that
// is nowhere.
func (r *reader) choices(i int) (end int) {
	for i = r.space(i + 1); !r.is(i, ']'); {
		if r.is(i, '{') {
			end = r.choice(i)
		} else {
			end = jsonscan.ValueEnd(r.body, i)
		}
		if end < 0 {
			return -1
		}
		r.said.Choices = true
		if i = r.space(end); r.is(i, ',') {
			i = r.space(i + 1)
		}
	}
	return i + 1
}

// choice reads a choice as choices reads them all.
func (r *reader) choice(i int) (end int) {
	var seen names
	end = -1
	if j := r.space(i + 1); r.is(j, '}') {
		return j + 1
	}
	for i = r.open(i, '{'); i >= 0; i = r.next(end) {
		name, at := r.member(i)
		if at < 0 {
			return -1
		}
		if end = jsonscan.ValueEnd(r.body, at); end < 0 {
			return -1
		}
		switch string(name) {
		case "error":
			r.said.Failed = r.first(&seen, failure) && !r.null(at) || r.said.Failed
		case "finish_reason":
			r.said.Failed = r.first(&seen, status) && string(r.body[at:end]) == `"error"` || r.said.Failed
		}
	}
	if end = r.space(end); r.is(end, '}') {
		return end + 1
	}
	return -1
}

// has reports whether an object that begins at i has a member that is not null.
func (r *reader) has(i int, wanted string) bool {
	for i = r.open(i, '{'); i >= 0; {
		name, at := r.member(i)
		if at < 0 {
			return false
		}
		if string(name) == wanted {
			return !r.null(at)
		}
		end := jsonscan.ValueEnd(r.body, at)
		if end < 0 {
			return false
		}
		i = r.next(end)
	}
	return false
}

// open gives where the first member of what begins at i does, -1 where it has none.
func (r *reader) open(i int, bracket byte) int {
	if !r.is(i, bracket) {
		return -1
	}
	return r.space(i + 1)
}

// next gives where the member behind one that ended at i begins, -1 where there is none.
func (r *reader) next(i int) int {
	if i = r.space(i); !r.is(i, ',') {
		return -1
	}
	return r.space(i + 1)
}

// member gives the name of the member that begins at i, and where its value does,
// -1 where it is none.
func (r *reader) member(i int) (name []byte, value int) {
	if !r.is(i, '"') {
		return nil, -1
	}
	end := i + 1
	for end < len(r.body) && r.body[end] != '"' && r.body[end] != '\\' {
		end++
	}
	if name = r.body[i+1 : end]; r.is(end, '"') {
		end++
	} else {
		if end = jsonscan.TextEnd(r.body, i+1); end < 0 {
			return nil, -1
		}
		if s, err := jsonscan.String(r.body[i:end]); err == nil {
			name = []byte(s)
		}
	}
	if value = r.space(end); !r.is(value, ':') {
		return nil, -1
	}
	return name, r.space(value + 1)
}

func (r *reader) null(i int) bool {
	return bytes.HasPrefix(r.body[min(i, len(r.body)):], []byte("null"))
}

func (r *reader) is(i int, c byte) bool { return i < len(r.body) && r.body[i] == c }

func (r *reader) space(i int) int {
	for i < len(r.body) && (r.body[i] == ' ' || r.body[i] == '\n' || r.body[i] == '\r' || r.body[i] == '\t') {
		i++
	}
	return i
}
