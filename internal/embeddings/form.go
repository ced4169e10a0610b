package embeddings

import "sluice/internal/llm"

// Form is how one API writes its calls for embeddings and their replies.
type Form struct {
	// Op is the operation under which its vectors are known: its own, or one whose inputs and
	// vectors are the same.
	Op llm.Operation

	// Shared is that calls of another operation have the same vectors.
	Shared bool

	// Inputs is the member of a call that has the inputs; "" where the call is itself the one
	// input that it has.
	Inputs string

	// Objects is that inputs are objects, with whatever is asked for each of them, and not
	// texts or tokens.
	Objects bool

	// Data is the member of a reply that has a list of elements, one of each input; One the
	// one that has the element of the only input itself. One of them is "".
	Data, One string

	// Vector is the member of an element that has the vector, and Index the one that says
	// which input it is of; "" where that is told by its place alone.
	Vector, Index string

	// What a reply that is put together has around its elements: Head before them, Tail
	// behind. Then come the model's name behind Model, and the number of tokens behind each
	// of Counts, and End. A reply without Model has Counts and CountsEnd only where tokens
	// were counted.
	Head, Tail, Model string
	Counts            [2]string // the second one may be ""
	CountsEnd, End    string
}
