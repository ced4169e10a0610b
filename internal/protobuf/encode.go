package protobuf

import (
	"math"
	"sync"
)

// AppendWire appends the wire form of the message that json holds to dst. It
// takes and refuses what protojson.Unmarshal does, numbers like "1e" aside,
// which are no JSON. Fields stand in the order of their members, those inside
// an Any in the order of the schema, as protojson has them.
//
// On an error, which is an *Error or Limits.Memory's, dst is returned as it was. A plain message
// costs no allocation where dst has room; maps, well-known types and nesting
// are plain too, and only an Any or an extension that was not met before and
// times with an offset from UTC are not.
func (p *Plan) AppendWire(dst, json []byte, o Options, l Limits) ([]byte, error) {
	l = l.orDefault()
	e := encoders.Get().(*encoder)
	e.root, e.in, e.i = p, json, 0
	e.out, e.base, e.memory = dst, len(dst), l.Memory
	e.discard = o.DiscardUnknown
	e.maxOut, e.maxDepth, e.fields = l.MaxOutput, l.MaxDepth, l.MaxFields
	e.look()
	ok := e.document(p.root)
	out, err := dst, error(nil)
	if ok {
		out = e.out
	} else if err = e.lack; err == nil {
		err = e.err()
	}
	e.release()
	return out, err
}

// encoder walks one JSON document and writes as it goes. Its methods begin at
// the next byte and return false where the document is refused.
type encoder struct {
	root *Plan
	in   []byte
	i    int // the next byte of in
	out  []byte
	base int // where the output began
	mark int // see asker.mark; below 0 once there is no more memory
	asker

	discard          bool // Options.DiscardUnknown
	partial          bool // inside an Any, where nobody looks for required fields
	maxOut, maxDepth int
	fields           int // how many more are allowed
	depth            int // messages that are open on the wire, see Limits
	nest, maxNest    int // arrays and objects that are open; bounded inside an Any

	gaps  []gap // see open
	extra int
	seen  []uint64 // a stack of sets: the fields that the open messages have had
	keys  mapKeys
	parts []part      // see inOrder
	types []typePlace // see findType
	buf   []byte      // what is needed for a moment

	searching bool // findType is at work
	searched  int  // how far it was

	num      number // the last one
	scalarAt int    // where the scalar began that is being read
	failed   bool
	exceeded bool // because of a limit
	fault    int
	msg      string
	path     []step // to the fault, innermost first
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

func (e *encoder) release() {
	e.giveBack()
	*e = encoder{
		gaps: keep(e.gaps), seen: keep(e.seen), buf: keep(e.buf), parts: keep(e.parts), types: keep(e.types),
		keys: mapKeys{spans: keep(e.keys.spans), table: keep(e.keys.table)},
	}
	encoders.Put(e)
}

// keep empties a slice for the next use, or drops one that has grown large.
func keep[T any](s []T) []T {
	if cap(s) > maxScratch {
		return nil
	}
	return s[:0]
}

func (e *encoder) document(root *message) bool {
	e.maxNest = math.MaxInt
	e.space()
	if !e.message(root) {
		return false
	}
	e.space()
	if e.i < len(e.in) {
		return e.fail(e.i, "expected nothing after the message")
	}
	return e.settle(0) && e.room()
}

// room reports whether the output is within its limit.
func (e *encoder) room() bool {
	if len(e.out)+e.extra > e.mark {
		return e.beyond()
	}
	return true
}

func (e *encoder) beyond() bool {
	n := len(e.out) - e.base + e.extra
	switch {
	case e.lack != nil:
		return e.lacks()
	case n > e.maxOut:
		return e.exceed("the output is larger than allowed")
	case cap(e.out)-len(e.out) < slack+e.extra && !e.grow(e.extra+expect(n, e.i, len(e.in), e.maxOut)):
		return false
	}
	e.look()
	return true
}

// look notes up to where the output need not be looked at.
func (e *encoder) look() { e.mark = e.asker.mark(e.out, e.base+e.maxOut) }

// grow has room for n bytes more of output.
func (e *encoder) grow(n int) (ok bool) {
	if e.out, ok = e.asker.grow(e.out, n+slack); !ok {
		return e.lacks()
	}
	e.look()
	return true
}

// pushed is append. Where there is no memory for that, the next look at the output
// ends the work.
func pushed[T any](e *encoder, s []T, v T, beside int) []T {
	if len(s) == cap(s) {
		var ok bool
		if s, ok = extended(&e.asker, s, 1, beside); !ok {
			e.lacks()
		}
	}
	return append(s, v)
}

// lacks ends the work because there is no memory for more.
func (e *encoder) lacks() bool {
	e.mark = -1
	return e.fail(e.i, "no memory")
}

// count counts a field or an element against the limits.
func (e *encoder) count() bool {
	if e.fields--; e.fields < 0 {
		return e.exceed("more fields than allowed")
	}
	return e.room()
}

// deeper counts a message that is open on the wire.
func (e *encoder) deeper() bool {
	if e.depth++; e.depth > e.maxDepth {
		return e.exceed("nested too deeply")
	}
	return true
}

// message reads the value of a message and writes its fields.
func (e *encoder) message(m *message) bool {
	if !e.deeper() {
		return false
	}
	ok := false
	if m.wkt != notWellKnown {
		ok = e.wellKnown(m)
	} else {
		ok = e.object(m, typeUnknown)
	}
	e.depth--
	return ok
}
