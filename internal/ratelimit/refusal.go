package ratelimit

import (
	"math"
	"time"

	"sluice/internal/llm"
)

// The types of OpenAI's errors about limits say which it is.
const (
	typeRequests = "requests"
	typeTokens   = "tokens"
)

// refuse refuses a call that there is no room for above levels.
func (k *Key) refuse(levels, cost amounts) error {
	i, c, kind := requests, byRequests, typeRequests
	if k.wait(tokens, levels, cost) > k.wait(requests, levels, cost) {
		i, c, kind = tokens, byTokens, typeTokens
	}
	k.limits.refused[c].Add(1)
	wait := max(k.wait(i, levels, cost), time.Millisecond)
	e := limited(kind, "Rate limit reached for the %s per minute of API key `%s`: limit %d, used %d, requested %d. Try again in %v.",
		kind, k.name, k.perMinute[i], int64(math.Ceil(levels[i]-slack)), int64(cost[i]), wait)
	e.RetryAfter = wait
	return e
}

// tooLarge refuses a call that there never is room for.
func (k *Key) tooLarge(cost amounts) error {
	e := limited(typeTokens, "The request is too large for the tokens per minute of API key `%s`: limit %d, of which %d at once, requested %d, as far as the request's size and "+
		"what it allows the reply tell. Make the input or the maximum of output tokens smaller.", k.name, k.perMinute[tokens], int64(k.burst[tokens]), int64(cost[tokens]))
	e.Advice = llm.DoNotRetry
	return e
}

func limited(kind, format string, args ...any) *llm.Error {
	e := llm.Errorf(429, "rate_limit_exceeded", format, args...)
	e.Fault, e.Type, e.Unprocessed = llm.Limited, kind, true
	return e
}

// errStore refuses a call because nobody knows what its key has used elsewhere.
func errStore(cause error) error {
	e := llm.Errorf(503, "rate_limit_unavailable", "The gateway cannot find out what the API key has used of its rate limit. Try again.")
	e.Fault, e.RetryAfter, e.Unprocessed, e.Err = llm.Unavailable, time.Second, true, cause
	return e
}
