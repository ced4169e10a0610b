package chat

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// APIs are the operations of OpenAI's older API. Completions are not translated: no other
// dialect has anything like them.
func APIs() []dialect.API {
	return []dialect.API{
		{Op: llm.Chat, Lists: true, Dialect: Dialect{}, Shape: shape(), Stream: new(streams), Stored: &stored{chat: true}},
		{Op: llm.Completion, Stream: new(streams), Stored: new(stored)},
		{Op: llm.Embedding, Embedder: Embeddings{}, Stored: new(storedVectors), Inputs: inputs()},
	}
}

// streams implements dialect.Streamed for chats and completions.
type streams struct{}

const done = "[DONE]"

// Ends looks into an event that is short, and only then.
func (*streams) Ends(raw []byte) bool {
	if len(raw) > 64 || !bytes.Contains(raw, []byte(done)) {
		return false
	}
	data, _ := sse.Data(raw, nil)
	return sse.IsDone(data)
}

func (s *streams) Completes(raw []byte) bool { return s.Ends(raw) }

func (*streams) MayEnd(raw []byte) bool {
	data, ok := bytes.CutPrefix(raw, []byte("data:"))
	return ok && bytes.HasPrefix(bytes.TrimPrefix(data, []byte(" ")), []byte(done))
}
