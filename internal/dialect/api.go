package dialect

import (
	"sluice/internal/embeddings"
	"sluice/internal/llm"
)

// API is one operation of a dialect: what the parts of the gateway have to know of its
// requests and replies, each of them through a small interface that is nil where there is
// nothing to know. A dialect's folder gives them (its function APIs), package known lists
// them, and nothing else has to be told of a new one.
type API struct {
	Op llm.Operation

	// Paths begins the paths at which clients are told of errors in its dialect, whatever they
	// asked for there; "" for those of its own requests alone.
	Paths string

	// Lists is that GET and HEAD of its path list what the service has kept, and are handed
	// on.
	Lists bool

	// Names is the member of a request that may have the model's name in it, where the
	// request itself names none; "" for none.
	Names string

	// Limited is that requests have to say how long a reply may be (Options.MaxTokens).
	Limited bool

	// Header are the fields of requests that mean something in it alone, by their canonical
	// names: upstreams see them.
	Header []string

	// Dialect is what its conversations are translated by.
	Dialect Dialect

	// Embedder is what its embeddings are translated by.
	Embedder Embedder

	// Inputs is how its embeddings are taken apart, of which each input's vector is kept by
	// itself.
	Inputs *embeddings.Form

	// Shape is where the texts of its conversations stand.
	Shape *Shape

	// Stream is how its streams of events are understood.
	Stream Streamed

	// Stored is how its replies are kept, to be given again. Replies of an operation that has
	// it are a model's.
	Stored Storable

	// Counts is the operation of whose requests it tells how many tokens they have, and Count
	// the beginning of its reply, up to the number; 0 for none.
	Counts llm.Operation
	Count  string
}

// Streamed is an API of whose streams of server-sent events the end is known. Its methods
// are called for each event, as llm.Event has it; it may be anything. They allocate
// nothing for one that is sound.
type Streamed interface {
	// Ends reports whether an event is the one that ends a stream, after which none comes.
	Ends(raw []byte) bool

	// Completes reports whether a stream may end after an event and be whole: it is the one
	// that ends it, or one after which only figures come.
	Completes(raw []byte) bool

	// MayEnd reports whether clients take an event for the last one, and may read no
	// further. It looks at the event's beginning only.
	MayEnd(raw []byte) bool

	// Fragment reads an event that tells a piece of a text, and nothing besides that a
	// client would miss if it got the next one with both pieces in its place. It is false
	// for any other.
	Fragment(raw []byte) (f Fragment, ok bool)
}
