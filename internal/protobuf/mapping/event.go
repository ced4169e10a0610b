package mapping

// Event is what a service says in one message of its reply: all of a reply that comes
// at once, or a piece of one. Texts are JSON strings, quotes included, and nil where
// there is none or an empty one; they hold until the next message is read.
type Event struct {
	Choices    []Choice
	Embeddings []Embedding
	Usage      Usage // of the reply up to here
	Error      *Failure
}

// Choice is what is said of one choice.
type Choice struct {
	Index     int
	Role      []byte
	Text      []byte
	Reasoning []byte
	Refusal   []byte
	Finish    []byte // why it ended, as OpenAI calls it; nil while it goes on
	Logprobs  []byte // JSON as OpenAI has it
	ToolCalls []ToolCall
}

// ToolCall is a call of a tool, or a part of one.
type ToolCall struct {
	Index     int // among those of the choice, -1 where the service does not tell
	ID        []byte
	Name      []byte
	Arguments []byte
}

// Usage is how many tokens a reply took.
type Usage struct {
	Prompt, Completion, Total, Cached, Reasoning int64
}

// Known reports whether anything is known of it.
func (u Usage) Known() bool { return u != Usage{} }

// total is what was said of the total, or what it comes to.
func (u Usage) total() int64 {
	if u.Total != 0 {
		return u.Total
	}
	return u.Prompt + u.Completion
}

// Embedding is the vector of an input: as little-endian floats of 32 bits, a copy of
// nothing, where it stands in the message so, and else as a JSON list.
type Embedding struct {
	Index  int
	Packed []byte
	List   []byte
}

// Failure is an error that a reply tells of.
type Failure struct {
	Message []byte // JSON strings; nil where there is none
	Code    []byte
}
