package chat

import (
	"bytes"
	"slices"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// before reads what the model thought, and parts it by where it stands: before all else of the
// message, or directly before the call of an id.
func (r *requestReader) before(s *said) (all []dialect.Part, calls map[string][]dialect.Part) {
	parts := r.thoughts(s)
	for i := range parts {
		if parts[i].ID != nil && calls == nil {
			calls = make(map[string][]dialect.Part)
			for call := range jsonscan.ElementsOf(s.calls) {
				if id := dialect.TextOf(jsonscan.Member(call, "id")); id != nil {
					calls[string(id)] = nil
				}
			}
		}
	}
	if calls == nil {
		return parts, nil
	}
	for _, p := range parts {
		id := string(p.ID)
		p.ID = nil
		if _, is := calls[id]; is && id != "" {
			calls[id] = append(calls[id], p)
		} else { // of another kind of id
			all = append(all, p)
		}
	}
	return all, calls
}

// detail is an entry of "reasoning_details". What it does not have is nil.
type detail struct{ text, signature, data, id, index []byte }

func detailOf(v []byte) (d detail) {
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "text":
			d.text = dialect.TextOf(v)
		case "signature":
			d.signature = dialect.TextOf(v)
		case "data":
			d.data = dialect.TextOf(v)
		case "id":
			d.id = dialect.TextOf(v)
		case "index":
			if dialect.IsNumber(v) {
				d.index = v
			}
		}
	}
	return d
}

// goesOn reports whether an entry is of the thought that another one began. That is so where
// nothing tells them apart; a signature by itself is of what stands before it, whatever its id.
func (d *detail) goesOn(began *detail) bool {
	return !differ(d.index, began.index) && (!differ(d.id, began.id) || d.text == nil || dialect.IsEmpty(d.text))
}

func differ(a, b []byte) bool { return a != nil && b != nil && !bytes.Equal(a, b) }

// thoughts reads what the model thought: with its signatures where the message has
// details of it, as OpenRouter's do. One with an id has that. Of a stream a client may have
// listed the pieces: those up to a signature are one thought.
func (r *requestReader) thoughts(s *said) (parts []dialect.Part) {
	var began detail // what the last part began with
	open := false    // that has no signature yet
	var texts [][]byte
	whole := func() {
		if len(texts) > 1 {
			parts[len(parts)-1].Text = dialect.AppendJoined(nil, texts, "")
		}
		texts = texts[:0]
	}
	for v := range jsonscan.ElementsOf(s.details) {
		d := detailOf(v)
		if d.text == nil && d.signature == nil && d.data == nil {
			continue
		}
		if !open || d.data != nil || !d.goesOn(&began) {
			if !r.c.Counted() {
				break
			}
			whole()
			began, open = d, d.data == nil
			if !open {
				parts = append(parts, dialect.Part{Kind: dialect.Thinking, Signature: d.data, ID: d.id})
				continue
			}
			parts = append(parts, dialect.Part{Kind: dialect.Thinking, Text: d.text})
		}
		if d.text != nil {
			texts = append(texts, d.text)
		}
		p := &parts[len(parts)-1]
		if d.id != nil {
			p.ID = d.id
		}
		if d.signature != nil {
			p.Signature, open = d.signature, false
		}
	}
	whole()
	if s.thought == nil || dialect.IsEmpty(s.thought) || slices.ContainsFunc(parts, func(p dialect.Part) bool { return dialect.FilledText(p.Text) != nil }) {
		return parts
	}
	for i := range parts {
		if p := &parts[i]; p.Text != nil { // of a stream, whose text came apart from its signature
			p.Text = s.thought
			return parts
		}
	}
	return slices.Insert(parts, 0, dialect.Part{Kind: dialect.Thinking, Text: s.thought})
}
