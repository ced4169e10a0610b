package front

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

const (
	// highest is the priority that nothing goes before.
	highest llm.Priority = 9
	// maxTimeout bounds what a client is believed to wait.
	maxTimeout = 24 * time.Hour
)

// readWishes reads what the client asks of the gateway itself.
func (in *request) readWishes() error {
	in.readDedup()
	return in.readUrgency()
}

// readUrgency reads how important the request is to its client, and how long that
// will wait for the reply.
func (in *request) readUrgency() error {
	h, most := in.q.Header, in.tenant.priority
	in.req.Turn = &in.turn
	in.req.Priority = min(llm.PriorityNormal, most)
	if values := h.Values("X-Priority"); len(values) > 0 {
		p, ok := parsePriority(values[0])
		if !ok || len(values) > 1 {
			return llm.Errorf(400, "invalid_priority", "The header X-Priority has to be one of high, normal and low, or a number from 0 to 9, of which the highest goes first.")
		}
		in.req.Priority = min(p, most)
	}
	if values := h.Values("X-Request-Timeout"); len(values) > 0 {
		d, ok := parseTimeout(values[0])
		if !ok || len(values) > 1 {
			return llm.Errorf(400, "invalid_timeout", "The header X-Request-Timeout has to be a time above 0 in seconds, such as 2.5, or with a unit, such as 250ms.")
		}
		in.req.Deadline = in.begun.Add(d)
		return nil
	}
	// SDKs send these by themselves, in seconds; the second is how long they wait for
	// the next byte. One that cannot be read, or is 0, is no limit.
	for _, name := range [...]string{"X-Stainless-Timeout", "X-Stainless-Read-Timeout"} {
		if values := h.Values(name); len(values) > 0 {
			if d, ok := parseTimeout(values[0]); ok {
				in.req.Deadline = in.begun.Add(d)
				return nil
			}
		}
	}
	return nil
}

// parsePriority reads a priority's name or number.
func parsePriority(s string) (p llm.Priority, ok bool) {
	switch {
	case len(s) == 1 && s[0] >= '0' && s[0] <= '9':
		return llm.Priority(s[0] - '0'), true
	case strings.EqualFold(s, "high"):
		return llm.PriorityHigh, true
	case strings.EqualFold(s, "normal"):
		return llm.PriorityNormal, true
	case strings.EqualFold(s, "low"):
		return llm.PriorityLow, true
	}
	return 0, false
}

// parseTimeout reads a time above 0, of at most maxTimeout: seconds, or a number with
// a unit.
func parseTimeout(s string) (d time.Duration, ok bool) {
	if len(s) > 32 {
		return 0, false
	}
	n, err := 0.0, strconv.ErrSyntax
	if strings.Trim(s, "0123456789.eE+-") == "" { // nor Inf, nor 0x1p4, nor 1_0
		n, err = strconv.ParseFloat(s, 64)
	}
	if err != nil { // in seconds as in any other unit
		if d, err = time.ParseDuration(s); err != nil {
			return 0, false
		}
		n = d.Seconds()
	}
	if !(n > 0) { // nor NaN
		return 0, false
	}
	return max(time.Duration(min(n, maxTimeout.Seconds())*float64(time.Second)), 1), true
}

// mostOf reads the highest priority that a key may ask for; "" is any.
func mostOf(s string) (llm.Priority, error) {
	if s == "" {
		return highest, nil
	}
	p, ok := parsePriority(s)
	if !ok {
		return 0, fmt.Errorf("%q is none of high, normal and low, nor a number from 0 to 9", s)
	}
	return p, nil
}
