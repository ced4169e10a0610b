// Package known lists the dialects that there are, by the operations that are theirs.
package known

import (
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/dialect/gemini"
	"sluice/internal/dialect/messages"
	"sluice/internal/dialect/responses"
	"sluice/internal/llm"
)

// Of gives the dialect of an operation, nil for one that is of none, or that can only be
// handed on.
func Of(op llm.Operation) dialect.Dialect {
	switch op {
	case llm.Chat:
		return chat.Dialect{}
	case llm.Response:
		return responses.Dialect{}
	case llm.Messages:
		return messages.Dialect{}
	case llm.GenerateContent:
		return gemini.Dialect{}
	default:
		return nil
	}
}

// EmbedderOf gives the API for embeddings that an operation is of, nil for none.
func EmbedderOf(op llm.Operation) dialect.Embedder {
	switch op {
	case llm.Embedding:
		return chat.Embeddings{}
	case llm.EmbedContent:
		return gemini.Embeddings{One: true}
	case llm.BatchEmbedContents:
		return gemini.Embeddings{}
	default:
		return nil
	}
}

// ErrorsOf gives the dialect in which a client is told of errors: that of the operation, or
// where it has none, or is not known yet, of the path.
func ErrorsOf(op llm.Operation, path string) dialect.Dialect {
	if d := Of(op); d != nil {
		return d
	}
	if strings.HasPrefix(path, llm.Messages.Route()) {
		return messages.Dialect{}
	}
	if gemini.Is(path) {
		return gemini.Dialect{}
	}
	return chat.Dialect{}
}
