package front

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

// maxPerMinute bounds a limit of requests or tokens a minute.
const maxPerMinute = 1_000_000_000

// PerMinute reads an APIKey's limit: 0 for none, and what holds for all where the key
// says nothing.
func PerMinute(text string, all int64) (int64, error) {
	switch text {
	case "":
		return all, nil
	case "none":
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > maxPerMinute {
		return 0, fmt.Errorf("%q is neither none nor a number from 1 to %d", text, maxPerMinute)
	}
	return n, nil
}

// ofLimits reports whether a field of an upstream's speaks of limits as OpenAI's do.
// They are those of the gateway's account there.
func ofLimits(name string) bool { return strings.HasPrefix(name, "X-Ratelimit-") }

// limitHeader says what is left of what the key may use.
func (out *reply) limitHeader() {
	if m := out.in.req.Meter; m != nil {
		out.tellLeft(m)
	}
}

// tellLeft writes the fields of OpenAI's form. Streams of keys without limits are
// spared what it takes on the stack.
func (out *reply) tellLeft(m llm.Meter) {
	requests, tokens := m.Left()
	// All values stand in one string, for one allocation.
	var space [2 * 3 * 20]byte
	var ends [2 * 3]int
	text := space[:0]
	for i, a := range [...]llm.Allowance{requests, tokens} {
		text = strconv.AppendInt(text, a.Limit, 10)
		ends[3*i] = len(text)
		text = strconv.AppendInt(text, a.Left, 10)
		ends[3*i+1] = len(text)
		text = appendReset(text, a.Reset)
		ends[3*i+2] = len(text)
	}
	all, fields, from := string(text), &out.head.Fields, 0
	for i, name := range [...]string{
		"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests",
		"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens",
	} {
		if i < 3 && requests.Limit > 0 || i >= 3 && tokens.Limit > 0 {
			fields.Set(name, all[from:ends[i]])
		}
		from = ends[i]
	}
}

// appendReset appends a time as OpenAI writes it: 20ms, 8.64s, 6m0s.
func appendReset(b []byte, d time.Duration) []byte {
	d = max(d, 0).Round(time.Millisecond)
	if 0 < d && d < time.Second {
		return append(strconv.AppendInt(b, d.Milliseconds(), 10), "ms"...)
	}
	if h := d / time.Hour; h > 0 {
		b = append(strconv.AppendInt(b, int64(h), 10), 'h')
	}
	if d >= time.Minute {
		b = append(strconv.AppendInt(b, int64(d/time.Minute%60), 10), 'm')
	}
	b = strconv.AppendInt(b, int64(d/time.Second%60), 10)
	if ms := d.Milliseconds() % 1000; ms > 0 { // a float would take more of the stack
		b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
		b = bytes.TrimRight(b, "0")
	}
	return append(b, 's')
}
