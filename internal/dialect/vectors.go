package dialect

import "sluice/internal/llm"

// Vectors is what a request for embeddings asks, and what its reply says. Values are JSON as
// in Conversation.
type Vectors struct {
	Model      string   // as the service is to be asked for it
	Inputs     [][]byte // texts
	Dimensions []byte   // how many numbers a vector is to have; nil for as many as the model makes
	Base64     bool     // the client wants vectors of 32-bit numbers, encoded, and no lists of numbers

	Lists   [][]byte // of the reply: a list of numbers for each input
	Tokens  int64    // that the inputs were
	Counted bool     // the service has said how many

	Lost Losses
}

// Reset forgets both and keeps the room of the lists.
func (v *Vectors) Reset() {
	clear(v.Inputs)
	clear(v.Lists)
	*v = Vectors{Inputs: v.Inputs[:0], Lists: v.Lists[:0], Lost: Losses{names: v.Lost.names[:0]}}
}

// EstimateTokens is about how many tokens the inputs are; see Conversation.EstimateTokens.
func (v *Vectors) EstimateTokens() int64 {
	n := 0
	for _, text := range v.Inputs {
		n += len(text) - len(`""`)
	}
	return int64(float64(n)/bytesPerToken) + 1
}

// MaxInputs bounds the inputs of a request that is translated. It is OpenAI's limit.
const MaxInputs = 2048

// Embedder is an API for embeddings. Its methods are safe for concurrent use.
type Embedder interface {
	// ReadInputs and WriteInputs are for requests as Dialect's ReadRequest and WriteRequest
	// are.
	ReadInputs(v *Vectors, body []byte) error
	WriteInputs(dst []byte, v *Vectors) Asked

	// ReadLists reads a reply, sound JSON, into v.Lists and Tokens. It is false for one that
	// has not a list for each input.
	ReadLists(v *Vectors, body []byte) bool

	// WriteLists appends the reply. Its error is that a list is none of numbers.
	WriteLists(dst []byte, v *Vectors) ([]byte, error)

	// AppendError appends the body of an error reply.
	AppendError(dst []byte, e *llm.Error) []byte
}
