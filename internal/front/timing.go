package front

import (
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
	s := t.prefix + milliseconds(int(digits), exponent)
	place.Store(&s)
	return s
}

// milliseconds gives up to three digits of which so many stand before the point. It
// takes little of the stack, unlike strconv, for the sake of streams.
func milliseconds(digits, exponent int) string {
	space := [...]byte{'0', '.', byte('0' + digits/100), byte('0' + digits/10%10), byte('0' + digits%10), '0', '0', '0', '0'}
	switch text := space[2:]; {
	case exponent == 0:
		return string(space[:5])
	case exponent < 3:
		copy(space[1:], text[:exponent])
		space[1+exponent] = '.'
		return string(space[1:5])
	default:
		return string(text[:exponent])
	}
}

// timingHeader says how much of the time since the request, so far, was the
// gateway's, how much an upstream's and how much the request waited for its turn,
// where that is known. Of an error the gateway's is not: it may be of another's call.
func (out *reply) timingHeader(since time.Duration) {
	const name = "Server-Timing"
	rec, h := out.rec, &out.head.Fields
	if rec.HasOverhead {
		h.Add(name, out.s.gatewayTime.text(since-rec.Receiving-rec.Waiting-rec.Queued))
	}
	if rec.Waiting > 0 && out.in.req.BodyReader == nil { // else it was waited for on both sides
		h.Add(name, out.s.upstreamTime.text(rec.Waiting))
	}
	if rec.Queued > 0 {
		h.Add(name, out.s.queueTime.text(rec.Queued))
	}
}
