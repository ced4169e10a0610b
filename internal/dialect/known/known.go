// Package known lists the dialects that there are, by the operations that are theirs. A
// dialect that is to be known has its line here and nowhere else.
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

// byOperation has the operations of all dialects, nothing in the places of others.
var byOperation = [llm.Operations]dialect.API(listed(
	chat.APIs(),
	responses.APIs(),
	messages.APIs(),
	gemini.APIs(),
))

func listed(dialects ...[]dialect.API) []dialect.API {
	all := make([]dialect.API, llm.Operations)
	for _, apis := range dialects {
		for _, a := range apis {
			all[a.Op] = a
		}
	}
	return all
}

// Of gives the dialect of an operation, nil for one that is of none, or that can only be
// handed on.
func Of(op llm.Operation) dialect.Dialect { return byOperation[op.Known()].Dialect }

// EmbedderOf gives the API for embeddings that an operation is of, nil for none.
func EmbedderOf(op llm.Operation) dialect.Embedder { return byOperation[op.Known()].Embedder }

// ShapeOf gives where the texts of an operation's requests stand, nil where it has no
// conversations.
func ShapeOf(op llm.Operation) *dialect.Shape { return byOperation[op.Known()].Shape }

// StreamOf gives how the streams of an operation are understood, nil where nobody knows how
// they end.
func StreamOf(op llm.Operation) dialect.Streamed { return byOperation[op.Known()].Stream }

// TextsOf gives what reads the streams of an operation whose events may be joined. What was
// passed on is taken for what most services speak.
func TextsOf(op llm.Operation) dialect.Streamed {
	if s := StreamOf(op); s != nil {
		return s
	}
	return StreamOf(llm.Chat)
}

// StoredOf gives how replies to an operation are kept, nil where none is.
func StoredOf(op llm.Operation) dialect.Storable { return byOperation[op.Known()].Stored }

// MayEnd reports whether clients take an event for the last one of a stream of an operation,
// and may read no further. What was passed on may be a stream of any dialect.
func MayEnd(op llm.Operation, raw []byte) bool {
	if s := StreamOf(op); s != nil {
		return s.MayEnd(raw)
	}
	for i := range byOperation {
		if s := byOperation[i].Stream; s != nil && s.MayEnd(raw) {
			return true
		}
	}
	return false
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
