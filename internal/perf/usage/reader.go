package usage

import (
	"sluice/internal/jsonscan"
	"sluice/internal/perf"
)

// Reader reads a reply that comes in pieces, cut anywhere. The zero value is ready
// for one.
type Reader struct {
	state state
	wraps bool // the reply is an event, which may wrap an object with the usage

	in    [4]place // the objects around what comes next, from the reply on
	depth int      // how many they are
	field field    // the member that is being read, where it is of use
	value bool     // its colon was read

	skip  jsonscan.Skip // of what is passed over
	token [longest]byte // the name or number that is being read
	n     int           // its bytes, also those that there was no room for

	counts Counts // of the usage that is being read
	found  [1 + wrappers]Counts
	where  int // in found, of the usage that is being read: 0 for the reply's own
}

// state is what comes next.
type state uint8

const (
	begin   state = iota // the reply
	members              // something of an object that is looked into
	naming               // the rest of a member's name
	passing              // the rest of a value that is of no use
	done                 // nothing of use
)

// place is an object that is looked into.
type place uint8

const (
	reply place = iota
	wrapper
	usage
	promptDetails
	inputDetails
)

// field is a member that is of use, in the place where it is.
type field uint8

const (
	none field = iota
	own
	details // of the prompt or the input
	inDetails
	response // the first wrapper
	message
	groq
	prompt // the first count
	input
	completion
	output
	thoughts  // beside completion
	toolInput // beside prompt
	cachedPrompt
	cachedInput
	cacheRead // beside input, of Messages: prompts that its cache had, and that it took
	cacheWritten

	wrappers = int(groq-response) + 1
	counted  = int(cacheWritten-prompt) + 1
)

// longest bounds names and numbers, in bytes: one that is longer is of no use.
const longest = 64

// Usage is what the reply said up to here.
func (r *Reader) Usage() perf.Usage { return r.told().Usage() }

// told is the first of what was found that says anything.
func (r *Reader) told() *Counts {
	for i := range r.found {
		if r.found[i].said != 0 {
			return &r.found[i]
		}
	}
	return &r.found[0]
}

// Feed takes the next piece and returns how many bytes of it are the reply's, which
// is all of them until its last brace, or until there can be nothing of use.
func (r *Reader) Feed(b []byte) int {
	i := 0
	for i < len(b) {
		switch r.state {
		case begin:
			switch {
			case b[i] == '{':
				r.enter(reply)
			case !space(b[i]):
				r.state = done
				continue
			}
			i++
		case members:
			i = r.members(b, i)
		case done:
			return i
		default:
			i = r.pass(b, i)
		}
	}
	return i
}

// members reads on inside an object, from i on, until its state changes.
func (r *Reader) members(b []byte, i int) int {
	for r.state == members && i < len(b) {
		switch c := b[i]; c {
		case ' ', '\t', '\n', '\r':
		case '"':
			if end := jsonscan.TextEnd(b, i+1); end >= 0 {
				if !r.value {
					r.name(b[i+1 : end-1])
				}
				i = end
				continue
			}
			r.skip = jsonscan.Skip{}
			if r.value {
				r.state = passing
			} else {
				r.state, r.n = naming, 0
			}
			i = r.pass(b, i+1)
			continue
		case ':':
			r.value = true
		case ',':
			r.settle()
		case '{':
			if next := r.opens(); next != reply {
				r.enter(next)
				break
			}
			fallthrough
		case '[':
			r.skip = jsonscan.Skip{Depth: 1}
			r.state = passing
			i = r.pass(b, i+1)
			continue
		case '}':
			r.settle()
			r.leave()
		case ']': // it is no JSON
			r.state = done
		default:
			if r.field >= prompt && r.value {
				if r.n < longest {
					r.token[r.n] = c
				}
				r.n++
			}
		}
		i++
	}
	return i
}

// pass reads on inside a name or a value that is passed over, from i on.
func (r *Reader) pass(b []byte, i int) int {
	end := r.skip.End(b, i)
	last := end
	if end < 0 {
		last = len(b)
	}
	if r.state == naming {
		if end >= 0 && r.n == 0 {
			r.name(b[i : end-1])
			r.state = members
			return end
		}
		r.keep(b[i:last])
	}
	if end >= 0 {
		if r.state == naming && r.n <= longest {
			r.name(r.token[:r.n-1])
		}
		r.state, r.n = members, 0
	}
	return last
}

// keep adds to the token.
func (r *Reader) keep(b []byte) {
	if r.n < longest {
		copy(r.token[r.n:], b)
	}
	r.n += len(b)
}

// name takes note of which member comes. What one of the same name said before does
// not count any more.
func (r *Reader) name(name []byte) {
	r.field = r.fieldOf(name)
	switch f := r.field; {
	case f >= prompt:
		r.counts.forget(f)
	case f >= response:
		r.found[1+f-response] = Counts{}
	case f == own:
		r.found[r.where] = Counts{}
	case f == details:
		r.counts.forget(cachedPrompt)
	case f == inDetails:
		r.counts.forget(cachedInput)
	}
}

func (r *Reader) fieldOf(name []byte) field {
	in := r.in[r.depth-1]
	switch in {
	case usage:
		switch string(name) {
		case "prompt_tokens", "promptTokenCount":
			return prompt
		case "input_tokens":
			return input
		case "completion_tokens", "candidatesTokenCount":
			return completion
		case "output_tokens":
			return output
		case "prompt_tokens_details":
			return details
		case "input_tokens_details":
			return inDetails
		case "thoughtsTokenCount":
			return thoughts
		case "toolUsePromptTokenCount":
			return toolInput
		case "cachedContentTokenCount":
			return cachedPrompt
		case "cache_read_input_tokens":
			return cacheRead
		case "cache_creation_input_tokens":
			return cacheWritten
		}
	case promptDetails, inputDetails:
		switch {
		case string(name) != "cached_tokens":
		case in == promptDetails:
			return cachedPrompt
		default:
			return cachedInput
		}
	default:
		switch {
		case string(name) == "usage", string(name) == "usageMetadata":
			return own
		case in == wrapper || !r.wraps:
		case string(name) == "response":
			return response
		case string(name) == "message":
			return message
		case string(name) == "x_groq":
			return groq
		}
	}
	return none
}

// opens gives what the object that comes next is, reply for one that is passed over.
func (r *Reader) opens() place {
	switch f := r.field; {
	case !r.value:
	case f == own:
		return usage
	case f == details:
		return promptDetails
	case f == inDetails:
		return inputDetails
	case response <= f && f < prompt:
		return wrapper
	}
	return reply
}

func (r *Reader) enter(p place) {
	switch p {
	case usage:
		r.counts = Counts{}
	case wrapper:
		r.where = 1 + int(r.field-response)
	}
	r.in[r.depth] = p
	r.depth++
	r.state, r.field, r.value = members, none, false
}

func (r *Reader) leave() {
	r.depth--
	switch r.in[r.depth] {
	case usage:
		r.found[r.where] = r.counts
	case wrapper:
		r.where = 0
	}
	if r.depth == 0 {
		r.state = done
	}
}

// settle ends a member.
func (r *Reader) settle() {
	if r.n > 0 && r.n <= longest {
		if n, ok := number(r.token[:r.n]); ok {
			r.counts.say(r.field, n)
		}
	}
	r.field, r.value, r.n = none, false, 0
}
