package messages

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// Replay implements dialect.Storable, by reading the reply and writing it as a stream. It is
// false for one with a block that the vocabulary of dialects does not have all of.
func (*stored) Replay(w dialect.Replay, body []byte, _ bool) (dialect.Replay, bool) {
	body = bytes.TrimSpace(body)
	if jsonscan.Member(body, "stop_reason") == nil || !plainBlocks(jsonscan.Member(body, "content")) {
		return w, false
	}
	in, out := new(reader), new(writer)
	out.Reset(dialect.Reply{})
	from := len(w.Dst)
	if in.Whole(body, func(e *dialect.Event) error {
		w.Dst = out.Event(w.Dst, e)
		return nil
	}) != nil {
		return w, false
	}
	w.Dst = out.End(w.Dst)
	for rest := w.Dst[from:]; len(rest) > 0; {
		n := bytes.Index(rest, []byte("\n\n")) + len("\n\n")
		if n < len("\n\n") {
			return w, false
		}
		from += n
		w.Ends = append(w.Ends, uint32(from))
		rest = rest[n:]
	}
	return w, true
}

// plainBlocks reports whether the content of a message is of texts, thoughts and calls, each
// with nothing but what these have.
func plainBlocks(content []byte) bool {
	if !dialect.IsList(content) {
		return false
	}
	for block := range jsonscan.ElementsOf(content) {
		for name, v := range jsonscan.MembersOf(block) {
			switch string(name) {
			case "type":
				if !dialect.Is(v, "text") && !dialect.Is(v, "thinking") && !dialect.Is(v, "redacted_thinking") && !dialect.Is(v, "tool_use") {
					return false
				}
			case "text", "thinking", "signature", "data", "id", "name", "input":
			default:
				if dialect.OrNil(v) != nil && string(v) != "[]" {
					return false
				}
			}
		}
	}
	return true
}
