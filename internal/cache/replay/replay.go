// Package replay makes a stream of a reply that came whole.
//
// It promises the bytes that a server of the reply's dialect could have sent for the same
// answer with "stream": true: every event is sound, the values in it stand as
// they stood in the reply, and reading the stream to its end gives the reply.
// A reply that it does not fully understand is not replayed.
package replay

import (
	"math"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

// Append appends to dst the server-sent events that give the content of body,
// a complete reply to an operation, and to ends where in dst each of them ends.
// usage says that the client of a chat or a completion asked to include usage
// (stream_options.include_usage).
//
// It is false, and dst and ends are as they were, where body is no such reply:
// not an object, an error, not finished, or of another shape; and where dst
// would exceed 4 GiB.
func Append(dst []byte, ends []uint32, op llm.Operation, body []byte, usage bool) ([]byte, []uint32, bool) {
	api := known.StoredOf(op)
	if api == nil {
		return dst, ends, false
	}
	w, ok := api.Replay(dialect.NewReplay(dst, ends, body), body, usage)
	if !ok || len(w.Dst) > math.MaxUint32 {
		return dst, ends, false
	}
	return w.Dst, w.Ends, true
}
