package replay

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// said appends a reply of a dialect that tells what it says in blocks, by reading it and
// writing it as a stream. It is false for one with a block that the vocabulary of dialects
// does not have all of.
func said(w writer, d dialect.Dialect, body []byte) (writer, bool) {
	body = bytes.TrimSpace(body)
	if jsonscan.Member(body, "stop_reason") == nil || !plainBlocks(jsonscan.Member(body, "content")) {
		return w, false
	}
	reader, out := d.NewReader(), d.NewWriter()
	out.Reset(dialect.Reply{})
	from := len(w.dst)
	if reader.Whole(body, func(e *dialect.Event) error {
		w.dst = out.Event(w.dst, e)
		return nil
	}) != nil {
		return w, false
	}
	w.dst = out.End(w.dst)
	for rest := w.dst[from:]; len(rest) > 0; {
		n := bytes.Index(rest, []byte("\n\n")) + len("\n\n")
		if n < len("\n\n") {
			return w, false
		}
		from += n
		w.ends = append(w.ends, uint32(from))
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
