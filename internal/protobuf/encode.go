package protobuf

import (
	"bytes"
	"math"
	"sync"
)

// AppendWire appends the wire form of the message that json holds to dst. It
// takes and refuses what protojson.Unmarshal does, numbers like "1e" aside,
// which are no JSON. Fields stand in the order of their members, those inside
// an Any in the order of the schema, as protojson has them. Depth is counted as
// protojson counts it: a map is part of the message that holds it.
//
// On an error, which is an *Error, dst is returned as it was. A plain message
// costs no allocation where dst has room; maps, well-known types and nesting
// are plain too, and only an Any or an extension that was not met before and
// times with an offset from UTC are not.
func (p *Plan) AppendWire(dst, json []byte, o Options, l Limits) ([]byte, error) {
	l = l.orDefault()
	e := encoders.Get().(*encoder)
	e.root, e.in, e.i = p, json, 0
	e.out, e.base = dst, len(dst)
	e.discard = o.DiscardUnknown
	e.maxOut, e.maxDepth, e.fields = l.MaxOutput, l.MaxDepth, l.MaxFields
	ok := e.document(p.root)
	out, err := dst, error(nil)
	if ok {
		out = e.out
	} else {
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

	discard          bool // Options.DiscardUnknown
	partial          bool // inside an Any, where nobody looks for required fields
	maxOut, maxDepth int
	fields           int // how many more are allowed
	depth            int // messages that are open
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
	fault    int
	msg      string
	path     []step // to the fault, innermost first
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

func (e *encoder) release() {
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
	e.settle(0)
	return e.room()
}

// room reports whether the output is within its limit.
func (e *encoder) room() bool {
	if len(e.out)-e.base+e.extra > e.maxOut {
		return e.fail(e.i, "the output is larger than allowed")
	}
	return true
}

// count counts a field or an element against the limits.
func (e *encoder) count() bool {
	if e.fields--; e.fields < 0 {
		return e.fail(e.i, "more fields than allowed")
	}
	return e.room()
}

// message reads the value of a message and writes its fields.
func (e *encoder) message(m *message) bool {
	if e.depth++; e.depth > e.maxDepth {
		return e.fail(e.i, "nested too deeply")
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

// object reads the members of a message that has no JSON form of its own.
func (e *encoder) object(m *message, typed anyMember) bool {
	if m.fallback != "" {
		return e.viaProtojson(m)
	}
	more, ok := e.enter('{', '}')
	first := len(e.seen)
	for range (len(m.fields) + m.oneofs + 63) / 64 {
		e.seen = append(e.seen, 0)
	}
	required, next := len(m.required), 0
	for more && ok {
		var f *field
		key := e.i
		if f, ok = e.member(m, next, &typed); f == nil {
			if ok {
				more, ok = e.more('}')
			}
			continue
		}
		next = f.index + 1
		had, good := e.field(m, f, first, key)
		if !good {
			return e.within(step{name: f.pathName()})
		}
		if had && f.required {
			required--
		}
		more, ok = e.more('}')
	}
	if ok && required > 0 && !e.partial {
		for _, f := range m.required {
			if !e.has(first, f.index) {
				return e.fail(e.i-1, "required field "+f.textName+" is missing")
			}
		}
		return e.fail(e.i-1, "a required field is missing")
	}
	e.seen = e.seen[:first]
	return ok
}

// member reads a key and finds its field, the one at next first. Where it gives
// no field and true, the member was passed over.
func (e *encoder) member(m *message, next int, typed *anyMember) (f *field, ok bool) {
	if next < len(m.fields) && bytes.HasPrefix(e.in[e.i:], m.fields[next].jsonKey) && !m.fields[next].shadowed {
		e.i += len(m.fields[next].jsonKey)
		e.space()
		return &m.fields[next], true
	}
	at := e.i
	key, ok := e.key()
	if !ok {
		return nil, false
	}
	if *typed != typeUnknown && string(key) == "@type" {
		if *typed == typeSeen {
			return nil, e.failAt(at, key, "the field is there twice")
		}
		*typed = typeSeen
		return nil, e.count() && e.skip(e.maxNest)
	}
	if n := len(key); n > 1 && key[0] == '[' && key[n-1] == ']' {
		var err error
		if f, err = m.extensionByName(key[1 : n-1]); err != nil && m.name != emptyName {
			return nil, e.failAt(at, key, err.Error())
		}
	} else {
		f = m.named(key)
	}
	if f != nil {
		return f, true
	}
	if !e.discard {
		return nil, e.failAt(at, key, "unknown field")
	}
	return nil, e.count() && e.skip(e.nest+e.maxDepth-e.depth)
}

// field reads the value of a member. at is where its key stands, first where
// the fields that the message has had begin. had reports whether it was set.
func (e *encoder) field(m *message, f *field, first, at int) (had, ok bool) {
	if !e.count() {
		return false, false
	}
	if !e.claim(first, f.index) {
		return false, e.fail(at, "the field is there twice")
	}
	if e.peek() == 'n' && !f.known && !f.null {
		if f.required && !e.partial {
			return false, e.fail(e.i, "a required field is null")
		}
		return false, e.literal("null")
	}
	switch {
	case f.isMap:
		return true, e.mapField(f)
	case f.list:
		return true, e.list(f)
	case f.oneof >= 0 && !e.claim(first, len(m.fields)+f.oneof):
		return false, e.fail(at, "another field of its oneof is there already")
	case f.msg != nil:
		return true, e.inner(f)
	}
	start := len(e.out)
	e.out = append(e.out, f.tag...)
	switch e.scalar(f) {
	case refused:
		return false, false
	case absent:
		e.out = e.out[:start]
		return false, !f.required || e.partial || e.fail(e.i, "a required field has an unknown value")
	case zero:
		if !f.presence {
			e.out = e.out[:start]
		}
	}
	return true, true
}

// inner writes a field that is a message or a group, tag and all.
func (e *encoder) inner(f *field) bool {
	e.out = append(e.out, f.tag...)
	if f.endTag != nil {
		ok := e.message(f.msg)
		e.out = append(e.out, f.endTag...)
		return ok
	}
	g := e.open()
	if !e.message(f.msg) {
		return false
	}
	e.close(g)
	return true
}

// claim marks item i of the set that begins at first, and reports whether it
// was not marked before. The set is the last on the stack, so that it can grow:
// extensions come to be known while messages are read.
func (e *encoder) claim(first, i int) bool {
	for i>>6 >= len(e.seen)-first {
		e.seen = append(e.seen, 0)
	}
	word, bit := &e.seen[first+i>>6], uint64(1)<<(i&63)
	free := *word&bit == 0
	*word |= bit
	return free
}

// has reports whether item i of the set that begins at first is marked.
func (e *encoder) has(first, i int) bool {
	return e.seen[first+i>>6]&(1<<(i&63)) != 0
}

// list reads the elements of a repeated field.
func (e *encoder) list(f *field) bool {
	start, g, n := len(e.out), 0, 0
	if f.packed {
		e.out = append(e.out, f.tag...)
		g = e.open()
	}
	more, ok := e.enter('[', ']')
	for ; more && ok; n++ {
		if !e.count() || !e.element(f) {
			return e.within(step{index: n, list: true})
		}
		more, ok = e.more(']')
	}
	if ok && f.packed && e.close(g) == 0 {
		e.out = e.out[:start]
	}
	return ok
}

func (e *encoder) element(f *field) bool {
	if f.msg != nil {
		return e.inner(f)
	}
	start := len(e.out)
	if !f.packed {
		e.out = append(e.out, f.tag...)
	}
	switch e.scalar(f) {
	case refused:
		return false
	case absent:
		e.out = e.out[:start]
	}
	return true
}
