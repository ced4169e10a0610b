package upstream

import (
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

// maxRetryAfter is the longest wait that is believed.
const maxRetryAfter = 24 * time.Hour

// RetryAfter reads how long the upstream asks to wait: Retry-After in seconds
// or as a date (RFC 9110 section 10.2.3), or OpenAI's Retry-After-Ms, which is
// finer. It is 0 where there is none that makes sense.
func RetryAfter(header []llm.Field, now time.Time) time.Duration {
	wait := time.Duration(0)
	for i := range header {
		value := strings.Trim(header[i].Value, " \t")
		switch header[i].Name {
		case "Retry-After-Ms":
			if d, ok := number(value, time.Millisecond); ok {
				return d
			}
		case "Retry-After":
			if d, ok := number(value, time.Second); ok {
				wait = d
			} else if at, ok := date(value); ok {
				wait = min(max(at.Sub(now), 0), maxRetryAfter)
			}
		}
	}
	return wait
}

// number reads a count of units, which some upstreams send with a fraction.
func number(s string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0) {
		return 0, false
	}
	if n > float64(maxRetryAfter/unit) {
		return maxRetryAfter, true
	}
	return time.Duration(n * float64(unit)), true
}

// date reads a date in one of the three forms of RFC 9110 section 5.6.7.
func date(s string) (time.Time, bool) {
	for _, layout := range [...]string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC850, time.ANSIC} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
