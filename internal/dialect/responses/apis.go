package responses

import (
	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// APIs are the operations of the dialect.
func APIs() []dialect.API {
	return []dialect.API{
		{Op: llm.Response, Names: "prompt", Dialect: Dialect{}, Shape: shape(), Stream: new(streams), Stored: new(stored)},
		{Op: llm.CountInputTokens, Names: "prompt", Counts: llm.Response, Count: `{"object":"response.input_tokens","input_tokens":`},
	}
}

// streams implements dialect.Streamed.
type streams struct{}

func (*streams) Ends(raw []byte) bool { return ends(sse.Kind(raw)) }

func (s *streams) Completes(raw []byte) bool { return s.Ends(raw) }

func (*streams) MayEnd(raw []byte) bool { return ends(sse.Heading(raw)) }

// ends reports whether an event of a name ends a stream.
func ends(event []byte) bool {
	switch string(event) {
	case "response.completed", "response.failed", "response.incomplete":
		return true
	}
	return false
}
