// Package known lists the dialects that there are, by the operations that are theirs. A
// dialect that is to be known has its line here and nowhere else.
package known

import (
	"slices"
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/dialect/gemini"
	"sluice/internal/dialect/messages"
	"sluice/internal/dialect/responses"
	"sluice/internal/embeddings"
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
	var all [llm.Operations]dialect.API
	for _, apis := range dialects {
		for _, a := range apis {
			all[a.Op] = a
		}
	}
	return all[:]
}

// Of gives the dialect of an operation, nil for one that is of none, or that can only be
// handed on.
func Of(op llm.Operation) dialect.Dialect { return byOperation[op.Known()].Dialect }

// EmbedderOf gives the API for embeddings that an operation is of, nil for none.
func EmbedderOf(op llm.Operation) dialect.Embedder { return byOperation[op.Known()].Embedder }

// InputsOf gives how calls of an operation are taken apart into the inputs of embeddings, nil
// where they have none.
func InputsOf(op llm.Operation) *embeddings.Form { return byOperation[op.Known()].Inputs }

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

// Answers reports whether replies to an operation are a model's.
func Answers(op llm.Operation) bool { return StoredOf(op) != nil }

// Generates reports whether replies to an operation are text that a model writes, which may
// come as a stream.
func Generates(op llm.Operation) bool { return StreamOf(op) != nil }

// CountsOf gives the operation whose requests an operation counts the tokens of, and how its
// reply begins; Passthrough for none.
func CountsOf(op llm.Operation) (of llm.Operation, head string) {
	a := &byOperation[op.Known()]
	return a.Counts, a.Count
}

// NamesOf gives the member that may have the model's name in it, of requests that name none;
// "" for none.
func NamesOf(op llm.Operation) string { return byOperation[op.Known()].Names }

// Limited reports whether requests of an operation have to say how long a reply may be.
func Limited(op llm.Operation) bool { return byOperation[op.Known()].Limited }

// HeaderOf gives the fields of requests that mean something to services of an operation alone.
// What is of no dialect may be for a service of any.
func HeaderOf(op llm.Operation) []string { return headers[op.Known()] }

var headers = [llm.Operations][]string(fields())

func fields() [][]string {
	var list [llm.Operations][]string
	var all []string
	for i := range byOperation {
		for _, name := range byOperation[i].Header {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	for i := range byOperation {
		if list[i] = byOperation[i].Header; byOperation[i].Op == llm.Passthrough {
			list[i] = all
		}
	}
	return list[:]
}

// At gives the operation whose requests are posted to a path, Passthrough for none: those that
// name their model in the path are none of these. lists is that others may be for what it has
// kept.
func At(path string) (op llm.Operation, lists bool) {
	for i := range byOperation {
		if a := &byOperation[i]; path == a.Op.Route() && !a.Op.NamesInPath() {
			return a.Op, a.Lists
		}
	}
	return llm.Passthrough, false
}

// ErrorsOf gives the dialect in which a client is told of errors: that of the operation, or
// where it has none, or is not known yet, of the path; else that of most clients.
func ErrorsOf(op llm.Operation, path string) dialect.Dialect {
	if d := Of(op); d != nil {
		return d
	}
	for i := range byOperation {
		if a := &byOperation[i]; a.Paths != "" && strings.HasPrefix(path, a.Paths) {
			return a.Dialect
		}
	}
	return Of(llm.Chat)
}
