// Package merge joins queued chunks of a streamed chat or text completion, for
// a client that reads more slowly than the model writes.
//
// It promises to lose nothing: two events are joined only where they are equal
// byte for byte but for one piece of text, and that text is joined as it
// stands, escapes included. Text, tool arguments, usage and finish reasons
// come out as they went in, in fewer events. Whatever it does not recognise
// it leaves as it was.
package merge

import "bytes"

// maxEvent is how long, in bytes, a joined event may become. Readers of
// streams that take lines up to 64 KiB are common.
const maxEvent = 32 << 10

// Append joins two consecutive events of a stream, each with its blank line,
// and appends the result to dst. Where they cannot be joined, ok is false and
// dst is returned as it was.
//
// They can be joined where both are a chunk with one choice and no finish
// reason, usage or log probabilities, and differ in nothing but the text of one
// of the delta's content, reasoning_content, reasoning or refusal, of the
// choice's text, or of the arguments of the only tool call, which must not be
// the one that opens the call by naming its function. The obfuscation that
// OpenAI pads chunks with may differ too; the first one is kept.
//
// To join many events use Events, which reads each of them once.
func Append(dst, a, b []byte) (out []byte, ok bool) {
	first, ok := parse(a)
	if !ok {
		return dst, false
	}
	second, ok := parse(b)
	if !ok {
		return dst, false
	}
	r := run{chunk: first, field: first.field}
	if dst, ok = r.join(dst, &second); !ok {
		return dst, false
	}
	return r.end(dst), true
}

// Events appends consecutive events of a stream to dst, joined as Append joins
// them, and returns how many they have become. It reads each event once.
func Events(dst []byte, events [][]byte) (out []byte, n int) {
	var r run
	for _, raw := range events {
		c, ok := parse(raw)
		if ok {
			if dst, ok = r.join(dst, &c); ok {
				continue
			}
		}
		dst = r.end(dst)
		// An event that is no chunk is a run that nothing can join.
		r = run{chunk: c, field: c.field}
		n++
	}
	return r.end(dst), n
}

// run is a series of chunks on its way into one event. The text of the first
// and all that follows is written when the second chunk comes.
type run struct {
	chunk
	field   field // where the text is; none while all the text was empty
	written int   // bytes in dst, 0 while there is one chunk
}

// join adds c to the run where it fits.
func (r *run) join(dst []byte, c *chunk) (out []byte, ok bool) {
	f := r.field
	if f == none {
		f = c.field
	}
	if f == none || (c.field != none && c.field != f) || !r.equal(c, f) {
		return dst, false
	}
	text := c.text[f]
	head := r.raw[:r.text[f].End]
	rest := len(r.raw) - len(head)
	before := max(r.written, len(head))
	if before+text.End-text.Start+rest > maxEvent {
		return dst, false
	}
	if r.written == 0 {
		dst = append(dst, head...)
	}
	r.field, r.written = f, before+text.End-text.Start
	return append(dst, c.raw[text.Start:text.End]...), true
}

// end writes what is missing of the run's event.
func (r *run) end(dst []byte) []byte {
	if r.written == 0 {
		return append(dst, r.raw...)
	}
	return append(dst, r.raw[r.text[r.field].End:]...)
}

// equal reports whether two chunks differ at most in the text of f and in their
// obfuscation.
func (c *chunk) equal(d *chunk, f field) bool {
	if !c.has(f) || !d.has(f) {
		return false
	}
	a, b := c.without(f), d.without(f)
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// without gives the parts of the chunk around the text of f and the
// obfuscation. The text leaves its quotes behind and the obfuscation does not,
// so chunks that have the two in a different order have different parts.
func (c *chunk) without(f field) [3][]byte {
	first, second := c.text[f], c.padding
	if second.End == 0 {
		second.Start, second.End = len(c.raw), len(c.raw)
	}
	if second.Start < first.Start {
		first, second = second, first
	}
	return [3][]byte{c.raw[:first.Start], c.raw[first.End:second.Start], c.raw[second.End:]}
}
