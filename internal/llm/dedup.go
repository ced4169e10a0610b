package llm

// DedupMode is how much of what a request says again is taken out of it.
type DedupMode uint8

const (
	DedupUnset DedupMode = iota // nothing was said

	DedupOff    // nothing
	DedupSafe   // whole messages
	DedupBlocks // runs of lines inside messages too

	DedupUnknown // of a request: something was said that is no mode
)

// DedupModes are the modes by their names, the most careful one first.
func DedupModes() []string { return []string{"off", "safe", "blocks"} }

// ParseDedupMode reads a mode's name. It is false for any other text.
func ParseDedupMode(s string) (m DedupMode, ok bool) {
	for i, name := range DedupModes() {
		if s == name {
			return DedupOff + DedupMode(i), true
		}
	}
	return DedupUnset, false
}

// String gives the mode's name, "" for what is none.
func (m DedupMode) String() string {
	if m == DedupUnset || m > DedupBlocks {
		return ""
	}
	return DedupModes()[m-DedupOff]
}

// Deduped is what was taken out of a request. The zero value is nothing.
type Deduped struct {
	Messages int   // changed, or taken out
	Bytes    int64 // of the body
	Tokens   int64 // estimated

	// Text is how many bytes of the body that was sent a model reads, 0 where that is not
	// known. Ratio, which outlives the reply, is told them and how many tokens they are, if
	// the reply says so; nil for a reply that says nothing of them, as one from a cache.
	Text  int64
	Ratio TokenRatio
}

// TokenRatio learns for how many bytes of text a model counts a token. It is safe for
// concurrent use.
type TokenRatio interface {
	// Learn is told what a service says it has counted. A count that cannot be, or of too
	// little text, is not learnt from.
	Learn(model string, text, tokens int64)
}
