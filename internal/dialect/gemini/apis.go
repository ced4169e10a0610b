package gemini

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// APIs are the operations of the dialect.
func APIs() []dialect.API {
	return []dialect.API{
		{Op: llm.GenerateContent, Paths: Prefix, Dialect: Dialect{}, Shape: shape(), Stream: new(streams), Stored: new(stored)},
		{Op: llm.CountContentTokens, Counts: llm.GenerateContent, Count: `{"totalTokens":`},
		{Op: llm.EmbedContent, Embedder: Embeddings{One: true}, Stored: &storedVectors{one: true}, Inputs: Embeddings{One: true}.form()},
		{Op: llm.BatchEmbedContents, Embedder: Embeddings{}, Stored: new(storedVectors), Inputs: Embeddings{}.form()},
	}
}

// streams implements dialect.Streamed. A stream has no event of its own at its end, but one
// that says why the reply ended, after which only figures come.
type streams struct{}

func (*streams) Ends([]byte) bool { return false }

func (*streams) MayEnd([]byte) bool { return false }

// Completes is not to be on the stack of the streams of all others.
//
//go:noinline
func (*streams) Completes(raw []byte) bool {
	if !bytes.Contains(raw, []byte("finishReason")) && !bytes.Contains(raw, []byte("blockReason")) {
		return false
	}
	data, _ := sse.Data(raw, nil)
	if jsonscan.Validate(data, 0) != nil {
		return false
	}
	for candidate := range jsonscan.ElementsOf(jsonscan.Member(data, "candidates")) {
		if jsonscan.Member(candidate, "finishReason") != nil {
			return true
		}
	}
	return jsonscan.Member(jsonscan.Member(data, "promptFeedback"), "blockReason") != nil
}
