package chat

import (
	"bytes"
	"slices"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// thought is one of what OpenRouter tells of reasoning. Texts are nil where there is none.
type thought struct{ text, signature, id []byte }

// thought reads one. Its text stands in another member of what is said too.
func (r *reader) thought(v []byte) {
	var t thought
	for name, v := range jsonscan.MembersOf(v) {
		if !dialect.IsText(v) || dialect.IsEmpty(v) {
			continue
		}
		switch string(name) {
		case "signature", "data":
			t.signature = v
		case "text", "summary":
			if t.text == nil {
				t.text = v
			}
		case "id":
			t.id = v
		}
	}
	if (t.text != nil || t.signature != nil) && len(r.event.Choices)+len(r.thoughts) < dialect.MaxChoices {
		r.thoughts = append(r.thoughts, t)
	}
}

// think puts what was thought where it was: before all else that c says, or directly before the
// call whose id it has. Each that has a signature of its own is said in a choice of its own; the
// last of them, which has the rest of what c says, is returned.
func (r *reader) think(c *dialect.Choice) *dialect.Choice {
	list := r.thoughts
	r.thoughts = list[:0]
	if len(list) == 0 {
		return c
	}
	first := c.Text == nil && c.Refusal == nil && len(c.ToolCalls) > 0 && same(list[0].id, c.ToolCalls[0].ID)
	if len(list) == 1 && (first || !slices.ContainsFunc(c.ToolCalls, func(t dialect.ToolCall) bool { return same(list[0].id, t.ID) })) {
		if c.Thinking == nil {
			c.Thinking = list[0].text
		}
		c.Signature = list[0].signature
		return c
	}
	shareText(list, c.Thinking)
	said := *c
	said.ToolCalls, said.Citations, said.Images = slices.Clone(c.ToolCalls), slices.Clone(c.Citations), slices.Clone(c.Images) // c keeps their room
	*c = dialect.Choice{Index: c.Index, ToolCalls: c.ToolCalls[:0], Citations: c.Citations[:0], Images: c.Images[:0]}
	var to *dialect.Choice
	next := func() {
		if to != nil {
			c = r.event.Choice(said.Index)
		}
		to = c
	}
	tell := func(id []byte) {
		for i := range list {
			t := &list[i]
			if t.text == nil && t.signature == nil || id != nil && !same(t.id, id) {
				continue
			}
			if id == nil && slices.ContainsFunc(said.ToolCalls, func(call dialect.ToolCall) bool { return same(t.id, call.ID) }) {
				continue
			}
			next()
			to.Thinking, to.Signature = t.text, t.signature
			*t = thought{}
		}
	}
	tell(nil)
	if to == nil && (said.Text != nil || said.Refusal != nil || len(said.Citations)+len(said.Images) > 0) {
		next()
	}
	if to != nil {
		to.Text, to.Refusal = said.Text, said.Refusal
		to.Citations = append(to.Citations, said.Citations...)
		to.Images = append(to.Images, said.Images...)
	}
	for _, call := range said.ToolCalls {
		if call.ID != nil {
			tell(call.ID)
		}
		if to == nil {
			next()
		}
		to.ToolCalls = append(to.ToolCalls, call)
	}
	to.Logprobs, to.Finish, to.Stopped = said.Logprobs, said.Finish, said.Stopped
	return to
}

func same(id, of []byte) bool { return id != nil && bytes.Equal(id, of) }

// shareText gives thoughts the text that was told beside them, where it is not theirs.
func shareText(list []thought, text []byte) {
	if text == nil {
		return
	}
	var texts [][]byte
	for i := range list {
		if list[i].text != nil {
			texts = append(texts, list[i].text)
		}
	}
	if len(texts) > 0 && bytes.Equal(dialect.AppendJoined(nil, texts, ""), text) {
		return
	}
	for i := range list {
		list[i].text = nil
	}
	list[0].text = text
}
