package protobuf

import (
	"math/bits"
	"slices"
)

// gap is a length that has to go before bytes that are already written. One
// byte is left for it. Where a length needs more, settle makes room for all
// of them at once, so that no byte is moved more than once, however deep the
// messages nest.
type gap struct {
	at int // where in the output the byte stands
	n  int // the length; until it is known, what extra was when the part began
}

// open begins a part that a length goes before and returns its gap.
func (e *encoder) open() int {
	e.gaps = pushed(e, e.gaps, gap{len(e.out), e.extra}, 0)
	e.out = append(e.out, 0)
	return len(e.gaps) - 1
}

// close ends the part of gap g and returns its length.
func (e *encoder) close(g int) int {
	at := e.gaps[g].at
	n := len(e.out) - at - 1 + e.extra - e.gaps[g].n
	if n < 0x80 {
		// Every part inside it was as short and has left no gap.
		e.out[at] = byte(n)
		e.gaps = e.gaps[:g]
		return n
	}
	e.gaps[g].n = n
	e.extra += varintSize(uint64(n)) - 1
	return n
}

// drop takes back what was written from the byte at start on, a part that was
// opened as gap g and not closed.
func (e *encoder) drop(g, start int) {
	e.extra = e.gaps[g].n
	e.gaps = e.gaps[:g]
	e.out = e.out[:start]
}

// settle puts the lengths from gap first on into the output, if there is memory for that.
func (e *encoder) settle(first int) bool {
	gaps := e.gaps[first:]
	if len(gaps) == 0 {
		return true
	}
	end := len(e.out)
	grow := 0
	for _, g := range gaps {
		grow += varintSize(uint64(g.n)) - 1
	}
	if e.short(e.out, grow) && !e.grow(grow) {
		return false
	}
	e.out = slices.Grow(e.out, grow)[:end+grow]
	to := len(e.out)
	for _, g := range slices.Backward(gaps) {
		body := e.out[g.at+1 : end]
		to -= len(body)
		copy(e.out[to:], body)
		to -= varintSize(uint64(g.n))
		putVarint(e.out[to:], uint64(g.n))
		end = g.at
	}
	e.extra -= grow
	e.gaps = e.gaps[:first]
	return true
}

// varintSize is how many bytes v takes as a varint: one for each seven bits.
func varintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func putVarint(b []byte, v uint64) {
	i := 0
	for ; v >= 0x80; i++ {
		b[i] = byte(v) | 0x80
		v >>= 7
	}
	b[i] = byte(v)
}
