package front

import (
	"strconv"

	"sluice/internal/llm"
)

// dedupHeader says, of a request, how much of what it says again may be taken out, and of its
// reply what was.
const dedupHeader = "X-Sluice-Dedup"

// readDedup reads what the client asks of the de-duplication. Whether it may ask, and whether
// what it said is a fault, is for that to say.
func (in *request) readDedup() {
	values := in.q.Header.Values(dedupHeader)
	if len(values) == 0 {
		return
	}
	mode, ok := llm.ParseDedupMode(values[0])
	if !ok || len(values) > 1 {
		mode = llm.DedupUnknown
	}
	in.req.Dedup = mode
}

// dedupText says what was taken out of a request.
func dedupText(d llm.Deduped) string {
	var space [80]byte
	b := strconv.AppendInt(append(space[:0], "messages="...), int64(d.Messages), 10)
	b = strconv.AppendInt(append(b, ", bytes="...), d.Bytes, 10)
	b = strconv.AppendInt(append(b, ", tokens="...), d.Tokens, 10)
	return string(b)
}
