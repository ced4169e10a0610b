package dialect

import "errors"

// Event is what a service says at a time: a piece of a streamed reply, or of one that
// came whole, whose pieces come one after another in the order in which they stand there.
// Texts are JSON strings, quotes included, and nil where there is none; all hold until the
// next event is read.
type Event struct {
	ID, Model []byte // of the reply, where this event tells them
	Choices   []Choice
	Usage     Usage    // of the reply up to here, as far as the service has told
	Error     *Failure // the reply failed
}

// Bounds of what one reply has: what a service says beyond them is passed over, or ends the
// reply.
const (
	MaxChoices   = 1024
	MaxCalls     = 4096 // of a choice
	MaxCitations = 4096 // of an event
	MaxImages    = 256  // of an event
)

// TooManyCalls is the failure of a reply with more calls of tools than are kept apart.
func TooManyCalls() *Failure {
	return &Failure{Message: []byte(`"The reply calls more tools than are kept apart."`), Code: []byte(`"too_many_tool_calls"`), TooLarge: true}
}

// ErrBroken says that an event is no JSON.
var ErrBroken = errors.New("an event of the stream is not JSON")

// keptChoices is how many choices an event has room for that is kept for use again.
const keptChoices = 64

// Reset forgets the event and keeps the room of its lists, unless they are large.
func (e *Event) Reset() {
	if cap(e.Choices) > keptChoices {
		*e = Event{}
		return
	}
	for i := range e.Choices {
		c := &e.Choices[i]
		*c = Choice{ToolCalls: emptied(c.ToolCalls), Citations: emptied(c.Citations), Images: emptied(c.Images)}
	}
	*e = Event{Choices: e.Choices[:0]}
}

// Choice adds one to the event, with the room of an earlier one.
func (e *Event) Choice(index int) *Choice {
	if n := len(e.Choices); n < cap(e.Choices) {
		e.Choices = e.Choices[:n+1]
		c := &e.Choices[n]
		*c = Choice{Index: index, ToolCalls: c.ToolCalls[:0], Citations: c.Citations[:0], Images: c.Images[:0]}
		return c
	}
	e.Choices = append(e.Choices, Choice{Index: index})
	return &e.Choices[len(e.Choices)-1]
}

// Choice is what is said of one choice. Where it has several of these they are in the order
// of the fields.
type Choice struct {
	Index     int
	Thinking  []byte // a piece of what the model thinks, or of its summary
	Signs     bool   // Thinking is of a thought that is to be signed when it is whole
	Signature []byte // a text that goes with the thinking before it: see Part.Signature
	Text      []byte
	Refusal   []byte
	Citations []Citation // of the text before them
	Images    []Media    // with Data or a URL, each whole
	ToolCalls []ToolCall
	Logprobs  []byte // JSON as Chat Completions have it
	Finish    Finish // why it ended; Going while it goes on
	Stopped   []byte // a text: by which of the stop sequences
}

// Says reports whether anything was said of the choice, but for why it ended.
func (c *Choice) Says() bool {
	return c.Thinking != nil || c.Signature != nil || c.Text != nil || c.Refusal != nil || len(c.Images)+len(c.ToolCalls) > 0
}

// ToolCall is a call of a tool, or a piece of one. The first piece of a call has its Name.
type ToolCall struct {
	Index     int    // among those of the choice, from 0: what tells them apart
	ID        []byte // in the first piece; nil where the service has none
	Name      []byte
	Arguments []byte // a piece of the JSON text that they are, as a JSON string
	Signature []byte // see Part.Signature
}

// Finish is why a choice ended.
type Finish uint8

const (
	Going         Finish = iota
	Stop                 // at its end, or at a stop sequence (Choice.Stopped)
	Length               // at the limit of tokens
	ToolsCalled          // it waits for the results of tools
	ContentFilter        // the service withheld the rest
	Paused               // the service wants to be asked to go on
)

// Usage is how many tokens a reply took. Each counts all of its kind: what came from a
// cache or went to one is in Prompt too, reasoning in Completion.
type Usage struct {
	Prompt, Completion   int64
	Cached, CacheWritten int64 // of the prompt
	Reasoning            int64 // of the completion
}

// Known reports whether anything is known of it.
func (u Usage) Known() bool { return u != Usage{} }

// Update takes over what a later event tells, which may be less.
func (u *Usage) Update(later Usage) {
	u.Prompt = max(u.Prompt, later.Prompt)
	u.Completion = max(u.Completion, later.Completion)
	u.Cached = max(u.Cached, later.Cached)
	u.CacheWritten = max(u.CacheWritten, later.CacheWritten)
	u.Reasoning = max(u.Reasoning, later.Reasoning)
}

// Failure is an error that a reply tells of. Texts are nil where there is none.
type Failure struct {
	Message, Type, Code []byte

	// TooLarge is that it is no word of the service: the reply has more than is read.
	TooLarge bool
}
