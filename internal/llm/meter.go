package llm

import "time"

// Meter counts what an API key uses of what it may. It is safe for concurrent use.
type Meter interface {
	// Left says how much is left of the requests and of the tokens.
	Left() (requests, tokens Allowance)
}

// Allowance is what an API key may use and has left. The zero Allowance is of what
// is not bounded.
type Allowance struct {
	Limit int64         // a minute; 0: no bound
	Left  int64         // that may be used at once; not negative
	Reset time.Duration // until all that may be is left again
}
