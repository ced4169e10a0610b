package responses

import (
	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// fragment is an event that is read as one.
type fragment struct {
	dialect.Fragment
	types int
}

// Fragment implements dialect.Streamed: a delta of a text, with no log probabilities. Deltas of
// sound and of images are encoded, and cannot be joined as they stand.
//
// Events are numbered, so that a client knows their order and can have a stream begun anew after
// the last event that it has seen (starting_after). A joined event has the number of the last of
// those that are in it: numbers go on rising, and what begins after it repeats nothing and
// leaves out nothing, as it would after the first one's. Numbers are missing then in between, as
// they are for a client that joins a stream late.
func (*streams) Fragment(raw []byte) (dialect.Fragment, bool) {
	object, ok := sse.OneData(raw)
	if !ok {
		return dialect.Fragment{}, false
	}
	f := fragment{Fragment: dialect.Fragment{Raw: raw}}
	ok = f.Members(object, f.readEvent) == nil && f.types == 1 && f.Has(0)
	return f.Fragment, ok
}

func (f *fragment) readEvent(key []byte, v llm.Span) error {
	switch string(key) {
	case "type":
		f.types++
		switch string(f.Value(v)) {
		case `"response.output_text.delta"`, `"response.refusal.delta"`, `"response.reasoning_text.delta"`, `"response.reasoning_summary_text.delta"`,
			`"response.function_call_arguments.delta"`, `"response.custom_tool_call_input.delta"`, `"response.mcp_call_arguments.delta"`,
			`"response.code_interpreter_call_code.delta"`, `"response.audio.transcript.delta"`:
			return nil
		}
		return dialect.ErrUnfit
	case "delta":
		return f.Piece(0, v)
	case "sequence_number":
		return f.Vary(0, '0', v)
	case "obfuscation": // what OpenAI pads events with
		return f.Vary(1, '"', v)
	case "item_id", "output_index", "content_index", "summary_index":
		return f.Scalar(v)
	default:
		return f.Empty(v)
	}
}
