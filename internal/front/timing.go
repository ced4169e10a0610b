package front

import (
	"strconv"
	"sync/atomic"
	"time"
)

// timings are the texts of one metric of Server-Timing (W3C Server Timing,
// section 2). An engine may read a reply's fields after the exchange has gone back
// to its pool, so they are strings of their own; those that were needed once are
// kept, which three significant digits bound.
type timings struct {
	prefix string
	texts  [maxExponent + 1][1000]atomic.Pointer[string] // by exponent and digits
}

// maxExponent bounds what can be told: 9990 s.
const maxExponent = 7

// text gives the metric's text for a duration, in milliseconds to the
// microsecond or to three significant digits.
func (t *timings) text(d time.Duration) string {
	digits, exponent, unit := time.Duration(0), 0, time.Microsecond
	for d = max(d, 0); ; exponent, unit = exponent+1, unit*10 {
		if digits = (d + unit/2) / unit; digits < 1000 {
			break
		}
	}
	if exponent > maxExponent {
		digits, exponent = 999, maxExponent
	}
	place := &t.texts[exponent][digits]
	if s := place.Load(); s != nil {
		return *s
	}
	value := float64(digits) / 1000
	for range exponent {
		value *= 10
	}
	s := t.prefix + strconv.FormatFloat(value, 'f', max(3-exponent, 0), 64)
	place.Store(&s)
	return s
}

// timingHeader says how much of the time since the request, so far, was the
// gateway's and how much an upstream's, where that is known.
func (out *reply) timingHeader(since time.Duration) {
	const name = "Server-Timing"
	rec, h := out.rec, &out.head.Fields
	if !rec.HasOverhead {
		return
	}
	h.Add(name, out.s.gatewayTime.text(since-rec.Receiving-rec.Waiting))
	if rec.Waiting > 0 {
		h.Add(name, out.s.upstreamTime.text(rec.Waiting))
	}
}
