// Package llm is the vocabulary that every part of Sluice speaks: a Request
// goes down a chain of Handlers, and the reply comes back up through a Sink.
//
// The package promises two things. It imports nothing but the standard
// library and knows nothing of net/http, so an HTTP engine, a stage or an
// upstream protocol can be replaced without touching the others. And it keeps
// original bytes: a request's body and a reply's events travel as they came,
// and are looked into only by a part that has to.
//
// A stage is a decorator that holds the next Handler:
//
//	type stage struct{ next llm.Handler }
//
//	func (s stage) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
//		return s.next.Serve(ctx, req, out)
//	}
package llm

import (
	"context"
	"io"
	"time"
)

// Handler answers requests. Every stage and every upstream is one.
//
// Serve sends the whole reply to out before it returns, and keeps nothing of
// req or out afterwards. It returns nil when the reply is complete. When it
// returns an error before out.Start was called, nothing has reached the
// client, and the caller may try elsewhere or answer with that error; after
// Start the error ends a reply that the client must not take for complete.
//
// When ctx is cancelled the client has gone: Serve stops the upstream's work
// at once and returns ctx's error.
type Handler interface {
	Serve(ctx context.Context, req *Request, out Sink) error
}

// HandlerFunc is a function that is a Handler.
type HandlerFunc func(ctx context.Context, req *Request, out Sink) error

// Serve calls f.
func (f HandlerFunc) Serve(ctx context.Context, req *Request, out Sink) error {
	return f(ctx, req, out)
}

// Sink takes one reply: its head once, then its events in order. It is used
// by one goroutine at a time.
type Sink interface {
	// Start takes the reply's head. It is called once, before the first Send,
	// and as late as possible (a streamed reply: when its first event is
	// there), because up to then the request can still go elsewhere. The sink
	// keeps nothing of h after it returns except the header strings.
	Start(h *Head) error

	// Send takes the events that arrived together, so that they can leave
	// together. Their bytes are valid only until Send returns. It may block
	// when the client reads more slowly than the upstream writes. An error
	// means that the client can take no more; the handler then stops.
	Send(events []Event) error
}

// SendWhole answers with a body of the given type and status 200.
func SendWhole(out Sink, contentType string, body []byte) error {
	h := Head{Status: 200, Kind: Unary, Length: int64(len(body)), Header: []Field{{Name: "Content-Type", Value: contentType}}}
	if err := out.Start(&h); err != nil {
		return err
	}
	return out.Send([]Event{{Raw: body}})
}

// Field is one header field. Name is in canonical form (Content-Type).
type Field struct {
	Name, Value string
}

// Span is a half-open range of bytes. The zero Span is empty.
type Span struct {
	Start, End int
}

// Request is one call. Stages do not modify a Request that they were given;
// one that has to change something passes on a changed copy of the struct; Edit
// makes one whose body is another.
// Everything in it is valid only until Serve returns.
type Request struct {
	Op     Operation
	ID     string // unique; at most 128 visible ASCII characters
	Tenant string // name of the API key that was used; "" when none is configured

	// Method, Path and RawQuery are the HTTP request's. Path is escaped, has no
	// dot segments and begins with "/v1/", but for those of the gateway's own pages.
	Method, Path, RawQuery string

	// Header holds the end-to-end fields that an upstream may see. The
	// client's credentials are never among them.
	Header []Field

	// Model is what the client named, "" when it named none. ModelSpan is where
	// its JSON string stands in Body, quotes included; empty when it does not
	// stand there.
	Model     string
	ModelSpan Span

	// UpstreamModel is the name that the chosen upstream knows the model by.
	// It is set by routing. Where it differs from Model the upstream replaces
	// the bytes of ModelSpan, and nothing else, as the body goes out.
	UpstreamModel string

	// Stream says that the client wants server-sent events.
	Stream bool

	// Closed says that the gateway itself closes what it makes of the stream, and so vouches for
	// its being whole: one that ends without saying so is then cut, however soundly it ends.
	Closed bool

	// Cache is what the client asks of caches.
	Cache CachePolicy

	// Dedup is what the client asks of the de-duplication of messages.
	Dedup DedupMode

	// Urgency says who goes first where requests wait for their turn.
	Urgency

	// Thread is what the gateway keeps of the conversation; nil where it keeps nothing.
	Thread *Thread

	// Meter is by what the use of the request's API key is bounded; nil where nothing
	// bounds it.
	Meter Meter

	// Body is the whole body, valid JSON for every operation but Passthrough.
	// It is nil when BodyReader is set. A stage that needs it after the head of an event
	// stream has passed takes Head.Sent back.
	Body []byte

	// BodyReader is a body that is not held in memory, nil for none. It can be read
	// once. BodyLen is its length in bytes, -1 when unknown. Live says that it goes on
	// for as long as its client likes, so that it is not worth keeping for another try.
	BodyReader io.Reader
	BodyLen    int64
	Live       bool

	// Upgrade is the protocol that the client asks for in place of HTTP, in lower
	// case, "" for none. Model then stands in RawQuery. Where the upstream agrees,
	// the reply is one of Pieces with the status 101, after whose Start BodyReader
	// gives what the client sends, while the pieces are what the upstream sends; a
	// Read that is under way when Serve returns fails soon after. With any other
	// reply it is not read.
	Upgrade string
}

// Get returns the value of the first field with the given canonical name, ""
// when there is none.
func (r *Request) Get(name string) string { return get(r.Header, name) }

// ReplyKind says what the events of a reply are.
type ReplyKind uint8

const (
	// Unary is a reply held whole: exactly one event, the body.
	Unary ReplyKind = iota
	// EventStream is a text/event-stream: each event is one server-sent event,
	// or a block of comments, with the blank line that ends it.
	EventStream
	// Pieces is a body that is too large to hold or is not JSON: its events are
	// pieces cut anywhere. Stages hand them on and do not look inside.
	Pieces
)

// Head begins a reply.
type Head struct {
	Status int
	Kind   ReplyKind

	// Header holds the reply's end-to-end fields, Content-Type included,
	// Content-Length and Content-Encoding not: bodies are always decoded.
	Header []Field

	// Length is the body's length in bytes, -1 when unknown.
	Length int64

	// Upstream names the upstream that answered, "" when Sluice did.
	Upstream string

	// Attempts is how often upstreams were asked for the reply, and Waited how
	// long the request waited for them until this head: for a stream's first
	// event, for the whole of a reply that is held whole, and with the attempts
	// that failed before. Waited is -1 where that is not known, as of a request
	// that waited for another's call.
	Attempts int
	Waited   time.Duration

	// Queued is how long the request waited for its turn: to be admitted, for
	// others to share a call with. It is not in Waited.
	Queued time.Duration

	// Batch is how many items the upstream's call had that the reply came from, of
	// an operation whose items can share a call; 0 for any other. Of several such
	// calls it is the largest.
	Batch int

	// Sent says, of an event stream, that nothing of the request's Body will be looked
	// at any more: by whoever asked the upstream, since all of it is there, and by no
	// stage on the way. The Body's memory may then be another's once Start has returned.
	Sent bool

	// Cache says what a cache had to do with the reply. Age is how long ago a
	// stored reply was made, and CacheKey what it is, or would be, stored under;
	// the zero key when it cannot be stored.
	Cache    CacheStatus
	Age      time.Duration
	CacheKey [32]byte

	// Outline is what a reply that is held whole says of itself, where somebody on the way
	// has looked: whoever sends another body in its place clears it.
	Outline Outline

	// Saved is how many of the input tokens that the reply counts came from a
	// cache, of a reply for whose rest an upstream was asked.
	Saved int64

	// Deduped is what the request said twice and was not sent.
	Deduped Deduped

	// Kept says that the reply has the id of Thread.ID, and that no service knows it.
	Kept bool

	// Lossy names what the request said and the upstream was not asked, because its dialect
	// has no place for it: a list with commas, "" for nothing.
	Lossy string
}

// Get returns the value of the first field with the given canonical name, ""
// when there is none.
func (h *Head) Get(name string) string { return get(h.Header, name) }

func get(fields []Field, name string) string {
	for i := range fields {
		if fields[i].Name == name {
			return fields[i].Value
		}
	}
	return ""
}

// Event is one unit of a reply; see ReplyKind.
type Event struct {
	// Raw is the event's bytes as they came, terminator included.
	Raw []byte

	// Failed says that the event tells the client that the reply failed.
	Failed bool
}
