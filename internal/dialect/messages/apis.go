package messages

import (
	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// APIs are the operations of the dialect.
func APIs() []dialect.API {
	header := []string{"Anthropic-Version", "Anthropic-Beta"}
	return []dialect.API{
		{Op: llm.Messages, Paths: llm.Messages.Route(), Limited: true, Header: header, Dialect: Dialect{}, Shape: shape(), Stream: new(streams), Stored: new(stored)},
		{Op: llm.CountTokens, Header: header, Counts: llm.Messages, Count: `{"input_tokens":`},
	}
}

// streams implements dialect.Streamed.
type streams struct{}

const stop = "message_stop"

func (*streams) Ends(raw []byte) bool { return string(sse.Kind(raw)) == stop }

func (s *streams) Completes(raw []byte) bool { return s.Ends(raw) }

func (*streams) MayEnd(raw []byte) bool { return string(sse.Heading(raw)) == stop }
