package simulator

import (
	"encoding/json"
	"strings"
)

// prompt is what a request asks for, in the terms that all generating
// endpoints share.
type prompt struct {
	room     *room
	base     string
	digest   digest
	tokens   int    // of the whole input
	lastRole string // of the last message
	lastUser string // text of the last user message
	script   string // of sim-script: what it is to do, and how many calls of that were made
	taken    int
	tools    []function
	choice   toolChoice
	schema   json.RawMessage // the reply's text has to be an instance of it
	jsonMode bool            // the reply's text has to be some JSON object
	stop     []string
	limit    int // of output tokens; 0 is none
	exact    int // output tokens that a fault wants; 0 is none
}

// function is a tool that a model may call.
type function struct {
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters"`
}

// invocation is one call of a function by the model.
type invocation struct {
	id, name, arguments string
	pieces              []string // tokens of arguments
}

// output is one choice of a reply.
type output struct {
	reasoning []string // tokens
	text      []string // tokens
	calls     []invocation
	finish    string // "stop", "length" or "tool_calls"
}

// tokens counts the output's tokens, reasoning included.
func (o *output) tokens() int {
	n := len(o.reasoning) + len(o.text)
	for _, c := range o.calls {
		n += countTokens(c.name) + len(c.pieces)
	}
	return n
}

// generate makes the choice with the given index.
func (p *prompt) generate(index int) (output, error) {
	if p.base == modelScript {
		p.room.take(512 + 32*len(p.script))
		return p.scripted(index), nil
	}
	if fns := p.wanted(); len(fns) > 0 {
		return p.call(index, fns)
	}
	// The text, and a place in a list for each token.
	p.room.take(32 * p.exact)
	text, err := p.write(index)
	if err != nil {
		return output{}, err
	}
	out := output{finish: "stop"}
	if p.base == modelReasoner {
		out.reasoning = tokenise(prose(p.digest.rand(purpose(purposeReasoning, index)), 12))
	}
	for _, s := range p.stop {
		if s != "" {
			text, _, _ = strings.Cut(text, s)
		}
	}
	p.room.take(24 * max(countTokens(text)-p.exact, 0))
	out.text = tokenise(text)
	if p.exact > 0 {
		out.text = exactly(out.text, p.exact)
	}
	if p.limit > 0 && len(out.reasoning)+len(out.text) > p.limit {
		out.finish = "length"
		out.reasoning = out.reasoning[:min(len(out.reasoning), p.limit)]
		out.text = out.text[:p.limit-len(out.reasoning)]
	}
	p.room.written(out.text...)
	return out, nil
}

// write makes the whole text of a choice.
func (p *prompt) write(index int) (string, error) {
	r := p.digest.rand(purpose(purposeText, index))
	switch {
	case p.schema != nil:
		return instance(p.schema, r, p.room)
	case p.jsonMode:
		b, err := marshal(nil, map[string]string{"reply": prose(r, 8)})
		return string(b), err
	case p.base == modelEcho:
		return p.lastUser, nil
	default:
		return prose(r, max(16+r.IntN(48), p.exact)), nil
	}
}

// call makes a choice that calls fns.
func (p *prompt) call(index int, fns []function) (output, error) {
	out := output{finish: "tool_calls"}
	for i, fn := range fns {
		args := "{}"
		if len(fn.Parameters) > 0 && string(fn.Parameters) != "null" {
			var err error
			if args, err = instance(fn.Parameters, p.digest.rand(purpose(purposeArguments+uint64(i), index)), p.room); err != nil {
				return output{}, err
			}
		}
		p.room.take(512 + 24*len(fn.Name) + 40*len(args))
		out.calls = append(out.calls, invocation{
			id:   p.digest.identifier("call_", purpose(purposeCallID+uint64(i), index)),
			name: fn.Name, arguments: args, pieces: tokenise(args),
		})
	}
	return out, nil
}

// The purposes keep the random numbers of a reply's parts apart.
const (
	purposeID uint64 = iota
	purposeText
	purposeReasoning
	purposeItem
	purposeArguments = 1 << 10 // and one for each call
	purposeCallID    = 1 << 11
)

func purpose(kind uint64, index int) uint64 { return kind + uint64(index)<<16 }
