package messages

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// fragment is an event that is read as one.
type fragment struct {
	dialect.Fragment
	types int
}

// Fragment implements dialect.Streamed: a content_block_delta of text, of a thought or of the
// input of a tool. A citation, a signature, or anything else that comes with one or in its place
// is a delta of its own. Anthropic pads events with spaces in front of their last bracket, as many
// as it likes.
func (*streams) Fragment(raw []byte) (dialect.Fragment, bool) {
	object, ok := sse.OneData(raw)
	if !ok {
		return dialect.Fragment{}, false
	}
	f := fragment{Fragment: dialect.Fragment{Raw: raw}}
	ok = f.Members(object, f.readEvent) == nil && f.types == 2 && f.Has(0)
	if last := object.End - 1; raw[last] == '}' {
		padding := len(raw[:last]) - len(bytes.TrimRight(raw[:last], " "))
		f.Varies[0] = llm.Span{Start: last - padding, End: last}
	}
	return f.Fragment, ok
}

func (f *fragment) readEvent(key []byte, v llm.Span) error {
	switch string(key) {
	case "type":
		return f.typed(v, `"content_block_delta"`)
	case "index":
		return f.Scalar(v)
	case "delta":
		return f.Members(v, f.readDelta)
	default:
		return f.Empty(v)
	}
}

func (f *fragment) readDelta(key []byte, v llm.Span) error {
	switch string(key) {
	case "type":
		return f.typed(v, `"text_delta"`, `"thinking_delta"`, `"input_json_delta"`)
	case "text", "thinking", "partial_json":
		return f.Piece(0, v)
	default:
		return f.Empty(v)
	}
}

// typed refuses a type that is none of a list.
func (f *fragment) typed(v llm.Span, list ...string) error {
	f.types++
	for _, t := range list {
		if string(f.Value(v)) == t {
			return nil
		}
	}
	return dialect.ErrUnfit
}
