package dialect

import "sluice/internal/llm"

// Dialect is an API of model services, of what it says of conversations. Its methods are
// safe for concurrent use.
type Dialect interface {
	// Name is what configuration calls it.
	Name() string

	// ReadRequest reads a request of the dialect into c, which is empty: body is an
	// object that was found sound (jsonscan.Validate), and Model, Stream and Kept are
	// known already. What it has no word for goes to c.Lost. Its errors are *llm.Error
	// with status 400, of requests that mean nothing in the dialect itself, or that have
	// more messages and parts than a conversation may have (about 50,000 in all). Values
	// have the type that the conversation says, whatever the request has in their place.
	ReadRequest(c *Conversation, body []byte) error

	// WriteRequest gives the request of the dialect that asks the same, with the body
	// appended to dst. What it has no place for goes to c.Lost. Its errors are *llm.Error
	// with status 400, of what the dialect has no way at all to ask.
	WriteRequest(dst []byte, c *Conversation, o Options) (Asked, error)

	// NewReader gives what reads replies of the dialect, NewWriter what writes them.
	NewReader() Reader
	NewWriter() Writer

	// AppendError appends the body of an error reply.
	AppendError(dst []byte, e *llm.Error) []byte

	// AppendErrorEvent appends the event that ends a stream that broke, whoever wrote what
	// came before it, which was so many events.
	AppendErrorEvent(dst []byte, e *llm.Error, before uint64) []byte
}

// Options are what a request needs that the conversation does not say.
type Options struct {
	// MaxTokens is the limit of a reply where the dialect requires one and the
	// conversation has none.
	MaxTokens int

	// CompletionTokens is that the service calls the limit of a reply of Chat Completions
	// "max_completion_tokens", as OpenAI does, and not "max_tokens" as others.
	CompletionTokens bool
}

// Asked is a request that was written.
type Asked struct {
	Op             llm.Operation
	Path, RawQuery string
	Body           []byte
	Model          llm.Span    // where the model's name stands in Body, quotes included; zero where it does not
	Header         []llm.Field // that the dialect needs, such as its version
}

// Reader reads one reply. It is used by one goroutine at a time.
type Reader interface {
	// Whole reads a reply that came whole: body is sound JSON. say is called with each
	// event, in order; its error ends the reading.
	Whole(body []byte, say func(*Event) error) error

	// Event reads a server-sent event of a streamed reply: raw is as llm.Event has it,
	// and may be anything. What says nothing is passed over; the error of what is no JSON is
	// ErrBroken. One that tells of an error is an Event with Error.
	Event(raw []byte, say func(*Event) error) error

	// Reset makes it ready for another reply.
	Reset()
}

// Reply is what a Writer needs to know beside the events.
type Reply struct {
	ID           string // for a reply whose service gave none: without a dialect's prefix
	Model        string // the same, as the client named it
	Created      int64  // seconds since 1970
	Max          int    // bytes that a Holder holds of it; 0 for any
	IncludeUsage bool   // see Conversation

	// Lost is told what of the reply the dialect has no place for; nil for nobody.
	Lost *Losses

	// Thread is what the gateway keeps of the conversation.
	Thread llm.Thread

	// Request is the body of the client's request, for replies that repeat parts of it. It
	// holds until Reset returns: writers keep copies, and no reference to it.
	Request []byte
}

// Writer writes one reply. It is used by one goroutine at a time.
type Writer interface {
	// Reset makes it ready for a reply.
	Reset(r Reply)

	// Event appends the server-sent events, each with its blank line, that tell of e,
	// which may be none.
	Event(dst []byte, e *Event) []byte

	// End appends those that end a stream that is whole.
	End(dst []byte) []byte

	// Fail appends those that end one that failed.
	Fail(dst []byte, e *llm.Error) []byte

	// Whole appends a reply that is whole.
	Whole(dst []byte, s *Said) []byte
}

// Holder is a Writer that holds all that it writes of a streamed reply, since its dialect
// says that again at the end.
type Holder interface {
	Writer

	// Full reports whether the reply was larger than Reply.Max. Event has then ended it as
	// Fail does, and nothing more is written.
	Full() bool
}
