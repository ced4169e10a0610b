package responses

import (
	"sluice/internal/dialect"
)

// newItem gives the index of an item that begins, and ends what cannot go on beside it.
func (w *Writer) newItem(dst []byte) ([]byte, int) {
	dst = w.close(dst, "completed")
	if n := len(w.calls); n > 0 {
		if c := &w.calls[n-1]; !c.ended && !c.checked {
			// Once, so that one that stays open is not read again with each item.
			if c.checked = true; w.complete(c) {
				dst = w.endCall(dst, c, "completed")
			}
		}
	}
	w.held += itemRoom
	w.whole = append(w.whole, span{})
	return dst, len(w.whole) - 1
}

// hold adds the inside of a text to what is held.
func (w *Writer) hold(to, text []byte) []byte {
	w.held += len(text)
	return append(to, bare(text)...)
}

// think writes a piece of what is thought. What comes after a signature is another thought.
func (w *Writer) think(dst, piece []byte) []byte {
	if dialect.IsEmpty(piece) {
		return dst
	}
	dst = w.beThinking(dst)
	o := &w.open
	if !o.going {
		o.going = true
		dst = w.ofPart(dst, "response.reasoning_summary_part.added", "summary_index")
		dst = w.endEvent(w.raw(dst, `,"part":{"type":"summary_text","text":""}`))
	}
	o.text = w.hold(o.text, piece)
	dst = w.ofPart(dst, "response.reasoning_summary_text.delta", "summary_index")
	return w.endEvent(w.value(dst, "delta", piece))
}

// beThinking begins thoughts where none go on.
func (w *Writer) beThinking(dst []byte) []byte {
	o := &w.open
	if o.kind == reasoningItem && len(o.signature) == 0 {
		return dst
	}
	dst, index := w.newItem(dst)
	o.kind, o.index = reasoningItem, index
	if w.silent {
		return dst
	}
	return w.endEvent(w.thoughts(w.itemEvent(dst, "response.output_item.added", index), false))
}

func (w *Writer) sign(dst, signature []byte) []byte {
	if dialect.IsEmpty(signature) {
		return dst
	}
	dst = w.beThinking(dst)
	w.held += len(signature)
	w.open.signature = append(w.open.signature, signature...)
	return dst
}

// thoughts appends the item that they are.
func (w *Writer) thoughts(dst []byte, whole bool) []byte {
	o := &w.open
	dst = append(dst, `{"id":"`...)
	dst = w.itemID(dst, reasoningItem, o.index)
	dst = append(dst, `","type":"reasoning","summary":[`...)
	if whole && o.going {
		dst = append(append(append(dst, `{"type":"summary_text","text":"`...), o.text...), `"}`...)
	}
	dst = append(dst, ']')
	if whole && len(o.signature) > 0 {
		dst = append(append(dst, `,"encrypted_content":`...), o.signature...)
	}
	return append(dst, '}')
}

// say writes a piece of a message.
func (w *Writer) say(dst []byte, kind dialect.Kind, piece, logprobs []byte) []byte {
	if dialect.IsEmpty(piece) {
		return dst
	}
	dst = w.bePart(dst, kind)
	o := &w.open
	o.text = w.hold(o.text, piece)
	if kind == dialect.Refusal {
		dst = w.ofPart(dst, "response.refusal.delta", "content_index")
		return w.endEvent(w.value(dst, "delta", piece))
	}
	w.text = appendLogprobs(w.text[:0], logprobs)
	if inner := w.text[1 : len(w.text)-1]; len(inner) > 0 {
		if len(o.logprobs) > 0 {
			o.logprobs = append(o.logprobs, ',')
		}
		o.logprobs = append(o.logprobs, inner...)
		w.held += len(inner)
	}
	dst = w.value(w.ofPart(dst, "response.output_text.delta", "content_index"), "delta", piece)
	return w.endEvent(w.value(dst, "logprobs", w.text))
}

// bePart begins a part of a message where none of its kind goes on.
func (w *Writer) bePart(dst []byte, kind dialect.Kind) []byte {
	o := &w.open
	if o.kind != messageItem {
		var index int
		dst, index = w.newItem(dst)
		o.kind, o.index = messageItem, index
		if !w.silent {
			dst = w.endEvent(w.message(w.itemEvent(dst, "response.output_item.added", index), "in_progress"))
		}
	}
	if o.going && o.part == kind {
		return dst
	}
	dst = w.closePart(dst)
	o.going, o.part = true, kind
	w.held += itemRoom
	dst = w.value(w.ofPart(dst, "response.content_part.added", "content_index"), "part", nil)
	return w.endEvent(w.partNow(dst))
}

// partNow appends the part that goes on, as it is by now.
func (w *Writer) partNow(dst []byte) []byte {
	if w.silent {
		return dst
	}
	return w.appendPart(dst)
}

func (w *Writer) appendPart(dst []byte) []byte {
	o := &w.open
	if o.part == dialect.Refusal {
		return append(append(append(dst, `{"type":"refusal","refusal":"`...), o.text...), `"}`...)
	}
	dst = append(append(dst, `{"type":"output_text","annotations":[`...), o.annotations...)
	dst = append(append(dst, `],"logprobs":[`...), o.logprobs...)
	return append(append(append(dst, `],"text":"`...), o.text...), `"}`...)
}

// message appends the item that a message is.
func (w *Writer) message(dst []byte, status string) []byte {
	dst = append(dst, `{"id":"`...)
	dst = w.itemID(dst, messageItem, w.open.index)
	dst = append(append(dst, `","type":"message","status":"`...), status...)
	return append(append(append(dst, `","role":"assistant","content":[`...), w.open.parts...), "]}"...)
}

func (w *Writer) cite(dst []byte, c *dialect.Citation) []byte {
	if c.URL == nil {
		return dst
	}
	dst = w.bePart(dst, dialect.Text)
	o := &w.open
	from := len(o.annotations)
	if from > 0 {
		o.annotations = append(o.annotations, ',')
		from++
	}
	o.annotations = appendAnnotation(o.annotations, c)
	w.held += len(o.annotations) - from
	dst = w.number(w.ofPart(dst, "response.output_text.annotation.added", "content_index"), "annotation_index", o.cited)
	o.cited++
	return w.endEvent(w.value(dst, "annotation", o.annotations[from:]))
}

// closePart ends the part of a message that goes on.
func (w *Writer) closePart(dst []byte) []byte {
	o := &w.open
	if !o.going {
		return dst
	}
	if o.part == dialect.Refusal {
		dst = w.ofPart(dst, "response.refusal.done", "content_index")
		dst = w.endEvent(w.quoted(dst, "refusal", o.text))
	} else {
		dst = w.ofPart(dst, "response.output_text.done", "content_index")
		dst = w.quoted(dst, "text", o.text)
		dst = w.endEvent(w.raw(w.raw(w.raw(dst, `,"logprobs":[`), string(o.logprobs)), "]"))
	}
	dst = w.value(w.ofPart(dst, "response.content_part.done", "content_index"), "part", nil)
	dst = w.endEvent(w.partNow(dst))
	if o.count > 0 {
		o.parts = append(o.parts, ',')
	}
	o.parts = w.appendPart(o.parts)
	o.count++
	o.going, o.text, o.annotations, o.logprobs, o.cited = false, o.text[:0], o.annotations[:0], o.logprobs[:0], 0
	return dst
}

// close ends the message or the thoughts that go on.
func (w *Writer) close(dst []byte, status string) []byte {
	o := &w.open
	from := len(w.output)
	switch o.kind {
	case messageItem:
		dst = w.closePart(dst)
		w.output = w.message(w.output, status)
	case reasoningItem:
		if o.going {
			dst = w.ofPart(dst, "response.reasoning_summary_text.done", "summary_index")
			dst = w.endEvent(w.quoted(dst, "text", o.text))
			dst = w.ofPart(dst, "response.reasoning_summary_part.done", "summary_index")
			dst = w.endEvent(w.raw(w.raw(w.raw(dst, `,"part":{"type":"summary_text","text":"`), string(o.text)), `"}`))
		}
		w.output = w.thoughts(w.output, true)
	default:
		return dst
	}
	dst = w.itemDone(dst, o.index, from)
	*o = openItem{parts: o.parts[:0], text: o.text[:0], annotations: o.annotations[:0], logprobs: o.logprobs[:0], signature: o.signature[:0]}
	return dst
}

// itemDone tells that the item of an index is whole, which stands in the output from there on.
func (w *Writer) itemDone(dst []byte, index, from int) []byte {
	w.whole[index] = span{from, len(w.output)}
	if w.silent {
		return dst
	}
	return w.endEvent(append(w.itemEvent(dst, "response.output_item.done", index), w.output[from:]...))
}
