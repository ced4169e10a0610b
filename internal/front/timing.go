package front

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// timings are the texts of one metric of Server-Timing (W3C Server Timing,
// section 2). net/http reads a reply's fields after the exchange has gone back
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
func (x *exchange) timingHeader(h http.Header, since time.Duration) {
	e := &x.record
	if !e.HasOverhead || x.used+2 > len(x.values) {
		return
	}
	first := x.used
	x.values[first] = x.s.gatewayTime.text(since - e.Receiving - e.Waiting)
	x.used++
	if e.Waiting > 0 {
		x.values[x.used] = x.s.upstreamTime.text(e.Waiting)
		x.used++
	}
	h["Server-Timing"] = x.values[first:x.used:x.used]
}
