package responses

import (
	"bytes"
	"fmt"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// What a text that is all of the input is as an item.
const (
	messageHead = `{"type":"message","role":"user","content":[{"type":"input_text","text":`
	messageTail = `}]}`
	messageRoom = len(messageHead) + len(messageTail)
)

// maxDepth bounds the nesting of a body, which was found sound before.
const maxDepth = 10_000

// asked is what a request says that matters here, as spans of its body; empty for what it does
// not say.
type asked struct {
	previous, input, store llm.Span
	twice                  string // a member of these that stands there twice
}

func read(body []byte) (a asked) {
	_ = jsonscan.Members(body, maxDepth, func(name []byte, v llm.Span) error {
		to := &a.previous
		switch string(name) {
		case "previous_response_id":
		case "input":
			to = &a.input
		case "store":
			to = &a.store
		default:
			return nil
		}
		if to.End > 0 {
			a.twice = string(name)
		}
		*to = v
		return nil
	})
	return a
}

// begin gives the call that a request is; nil for one that passes as it came.
//
//go:noinline
func (r *Responses) begin(req *llm.Request, out llm.Sink) (*call, error) {
	a := read(req.Body)
	of := func(s llm.Span) []byte { return req.Body[s.Start:s.End] }
	input := of(a.input)
	previous := ownText(of(a.previous))
	refers := isList(input) && bytes.Contains(input, []byte("_"+mark))
	store := string(of(a.store))
	keep := (store == "" || store == "true" || store == "null") && a.twice == "" && (isList(input) || isText(input) || len(input) == 0 && previous != "")
	switch {
	case previous == "" && !refers && !keep:
		return nil, nil
	case a.twice != "":
		return nil, refuse("duplicate_parameter", a.twice, "\"%s\" is given twice.", a.twice)
	}
	c, _ := r.calls.Get().(*call)
	c.out, c.req = out, *req
	c.req.Thread = &c.thread
	if err := c.edit(previous, &a, refers); err != nil {
		c.end()
		return nil, err
	}
	size := int64(len(input))
	if c.before != nil {
		size += c.before.size
	}
	switch {
	case keep && size <= r.cfg.MaxEntryBytes:
		c.thread.ID = newID()
	case keep:
		r.store.figures.tooLarge.Add(1)
	}
	return c, nil
}

func isText(v []byte) bool { return len(v) > 0 && v[0] == '"' }
func isList(v []byte) bool { return len(v) > 0 && v[0] == '[' }

// ownText gives an id from here that is a JSON string, "" for anything else.
func ownText(v []byte) string {
	if !isText(v) {
		return ""
	}
	id, err := jsonscan.String(v)
	if err != nil || !isOwn(id) {
		return ""
	}
	return id
}

// edit puts what was said before into the body.
func (c *call) edit(previous string, a *asked, refers bool) error {
	body := c.req.Body
	behind := a.previous.Start > a.input.Start
	if previous != "" {
		kept, err := c.r.find(c.req.Tenant, previous)
		if err != nil {
			return err
		}
		if kept == nil {
			return refuse("previous_response_not_found", "previous_response_id", "Previous response with id '%s' not found.", shown(previous))
		}
		c.before, c.thread.Previous = kept.turn, previous
		if !behind && a.input.End > 0 {
			c.replace(a.previous, "null")
		}
	}
	input := body[a.input.Start:a.input.End]
	if previous != "" {
		switch {
		case len(input) == 0: // in the place of the member that goes
			c.replace(a.previous, `null,"input":[`)
			c.said(a.previous.End)
			c.insert(a.previous.End, "]")
			behind = false
		case isText(input):
			c.insert(a.input.Start, "[")
			c.said(a.input.Start)
			c.comma(a.input.Start)
			c.insert(a.input.Start, messageHead)
			c.insert(a.input.End, messageTail+"]")
		case isList(input):
			c.said(a.input.Start + 1)
			if len(bytes.TrimSpace(input[1:len(input)-1])) > 0 {
				c.comma(a.input.Start + 1)
			}
		default:
			return refuse("invalid_type", "input", "Invalid type for 'input': expected a string or an array of input items.")
		}
	}
	if refers {
		if err := c.resolve(input, a.input.Start); err != nil {
			return err
		}
	}
	if previous != "" && behind {
		c.replace(a.previous, "null")
	}
	return c.apply()
}

// replace is not to become part of each caller.
//
//go:noinline
func (c *call) replace(at llm.Span, text string) {
	c.edits = append(c.edits, llm.Replacement{Span: at, With: []byte(text)})
}

func (c *call) insert(at int, text string) { c.replace(llm.Span{Start: at, End: at}, text) }

// said inserts what was said before.
func (c *call) said(at int) {
	for _, t := range c.before.turns() {
		for _, items := range [...][]byte{t.input, t.output} {
			if len(items) == 0 {
				continue
			}
			c.comma(at)
			c.edits = append(c.edits, llm.Replacement{Span: llm.Span{Start: at, End: at}, With: items})
			c.inside += len(items)
		}
	}
}

// comma inserts one where something was said before.
func (c *call) comma(at int) {
	if c.inside > 0 {
		c.insert(at, ",")
		c.inside++
	}
}

// apply makes the body anew.
func (c *call) apply() error {
	if len(c.edits) == 0 {
		return nil
	}
	more := 0
	for i := range c.edits {
		more += len(c.edits[i].With)
	}
	var dst []byte
	var err error
	if c.r.buffers != nil {
		if c.buffer, err = c.r.buffers.Get(len(c.req.Body) + more); err != nil {
			return err
		}
		dst = c.buffer.B[:0]
	}
	if c.req, err = c.req.Edit(dst, c.edits); err != nil {
		return fmt.Errorf("put a conversation together: %w", err)
	}
	c.letGo()
	clear(c.edits)
	c.edits = c.edits[:0]
	return nil
}

// resolve replaces items of the input that stand for items of replies that are kept.
func (c *call) resolve(input []byte, from int) (err error) {
	var kept *reply // that the last one was of
	var owner string
	more := int64(0)
	jsonscan.Elements(input, func(at llm.Span) bool {
		id := reference(input[at.Start:at.End])
		of := ownerOf(id)
		if of == "" {
			return true
		}
		if of != owner {
			if kept, err = c.r.find(c.req.Tenant, of); err != nil {
				return false
			}
			if owner = of; kept != nil {
				c.others = append(c.others, kept.turn)
			}
		}
		item := kept.item(id)
		if item == nil {
			err = refuse("", "input", "Item with id '%s' not found.", shown(id))
			return false
		}
		if more += int64(len(item)); more > c.r.cfg.MaxEntryBytes {
			err = llm.Errorf(413, "request_too_large", "The items that the input refers to are larger than the gateway keeps of a conversation (%d bytes).", c.r.cfg.MaxEntryBytes)
			return false
		}
		c.edits = append(c.edits, llm.Replacement{Span: llm.Span{Start: from + at.Start, End: from + at.End}, With: item})
		return true
	})
	return err
}

// reference gives the id of the item that one stands for, "" for one that stands for itself.
// The type of a reference may be left out.
func reference(item []byte) (id string) {
	typed := false
	for name, v := range jsonscan.MembersOf(item) {
		switch string(name) {
		case "type":
			if typed = string(v) != "null"; typed && string(v) != `"item_reference"` {
				return ""
			}
		case "role":
			return ""
		case "id":
			if isText(v) {
				id, _ = jsonscan.String(v)
			}
		}
	}
	return id
}

// item gives the item of an id in the reply's output, nil for none.
func (r *reply) item(id string) []byte {
	if r == nil {
		return nil
	}
	for item := range items(r.turn.output) {
		if v := jsonscan.Member(item, "id"); isText(v) && string(v[1:len(v)-1]) == id {
			return item
		}
	}
	return nil
}

// shown bounds what an error repeats of a request.
func shown(id string) string {
	if len(id) > 64 {
		return id[:64] + "..."
	}
	return id
}

// refuse makes the error of a request that asks for what there is not.
func refuse(code, param, format string, args ...any) error {
	e := llm.Errorf(400, code, format, args...)
	e.Param = param
	return e
}
