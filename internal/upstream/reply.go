package upstream

import (
	"io"
	"time"

	"sluice/internal/llm"
)

// Reply is one answer. It is used by one goroutine at a time.
type Reply struct {
	Status int
	// Header holds the end-to-end fields, names in canonical form. Hop-by-hop
	// fields are not among them, nor are Content-Length and, as the body comes
	// decoded, Content-Encoding.
	Header []llm.Field
	// Length is the body's length in bytes, -1 when unknown.
	Length int64
	// CloseDelimited says that the body ends where the connection does, so
	// that its end cannot be told from a cut.
	CloseDelimited bool
}

// Get returns the value of the first field with the given canonical name, ""
// when there is none.
func (r *Reply) Get(name string) string {
	for i := range r.Header {
		if r.Header[i].Name == name {
			return r.Header[i].Value
		}
	}
	return ""
}

// Next returns the body's next bytes, decoded, as they arrived together. They
// are valid until the next call. It returns io.EOF at the body's sound end,
// and never bytes and an error at once.
func (r *Reply) Next() ([]byte, error) { return nil, io.EOF }

// SetIdleTimeout changes how long the following calls of Next wait.
func (r *Reply) SetIdleTimeout(d time.Duration) {}

// Close ends the reply; before the body's end it drops the connection (HTTP/2:
// resets the stream). Closing again does nothing.
func (r *Reply) Close() {}
