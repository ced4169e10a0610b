package protobuf

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// mapField reads a map and writes its entries.
func (e *encoder) mapField(f *field) bool {
	more, ok := e.enter('{', '}')
	scope := e.keys.begin()
	for more && ok {
		if !e.count() || !e.deeper() {
			return false
		}
		at, start := e.i, len(e.out)
		e.out = append(e.out, f.tag...)
		g := e.open()
		name, good := e.key()
		if !good {
			return false
		}
		from := len(e.out)
		if !e.mapKey(f.key, name) {
			e.fail(at, "not a key of this map")
			return e.within(e.mapStep(at))
		}
		k := keySpan{from, len(e.out)}
		if e.keys.has(e.out, &scope, k) {
			e.fail(at, "the key is there twice")
			return e.within(e.mapStep(at))
		}
		switch e.mapValue(f.val) {
		case refused:
			return e.within(e.mapStep(at))
		case absent:
			e.drop(g, start)
		default:
			e.close(g)
			if !e.keyRoom() {
				return false
			}
			e.keys.add(e.out, &scope, k)
		}
		e.depth--
		more, ok = e.more('}')
	}
	e.keys.end(scope)
	return ok
}

// keyRoom has room for one more key of a map, and for its places in the table: eight at
// most where there are many.
func (e *encoder) keyRoom() (ok bool) {
	if len(e.keys.spans) < cap(e.keys.spans) {
		return true
	}
	if e.keys.spans, ok = extended(&e.asker, e.keys.spans, 1, 8*4); !ok {
		return e.lacks()
	}
	return true
}

// mapKey writes the key of a map entry, whose type is f.
func (e *encoder) mapKey(f *field, name []byte) bool {
	e.out = append(e.out, f.tag...)
	bits := 64
	switch f.kind {
	case protoreflect.StringKind:
		if e.short(e.out, len(name)) && !e.grow(len(name)) {
			return false
		}
		e.out = appendVarint(e.out, uint64(len(name)))
		e.out = append(e.out, name...)
		return true
	case protoreflect.BoolKind:
		is := string(name) == "true"
		e.out = append(e.out, byte(btoi(is)))
		return is || string(name) == "false"
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		bits = 32
		fallthrough
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := strconv.ParseUint(string(name), 10, bits)
		e.integer(f.kind, n)
		return err == nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		bits = 32
	}
	n, err := strconv.ParseInt(string(name), 10, bits)
	e.integer(f.kind, uint64(n))
	return err == nil
}

func (e *encoder) mapValue(f *field) outcome {
	if f.msg == nil {
		e.out = append(e.out, f.tag...)
		return e.scalar(f)
	}
	if !e.inner(f) {
		return refused
	}
	return set
}

// keySpan is a part of the output.
type keySpan struct{ from, to int }

// mapKeys knows which keys the maps that are open have had, by where they stand in
// the output. A small map is searched, a larger one hashed. Maps nest, so that
// both slices are stacks, and only the innermost map grows.
type mapKeys struct {
	spans []keySpan
	table []int32 // indices of spans plus 1, 0 where a place is free
}

// mapScope is one map among the keys.
type mapScope struct{ span, table int }

// searched is how many keys are compared one by one.
const searched = 8

func (k *mapKeys) begin() mapScope { return mapScope{len(k.spans), len(k.table)} }

func (k *mapKeys) end(s mapScope) {
	k.spans, k.table = k.spans[:s.span], k.table[:s.table]
}

// has reports whether the map has the key that stands at x in out.
func (k *mapKeys) has(out []byte, s *mapScope, x keySpan) bool {
	key := out[x.from:x.to]
	if len(k.table) == s.table {
		for _, y := range k.spans[s.span:] {
			if bytes.Equal(out[y.from:y.to], key) {
				return true
			}
		}
		return false
	}
	return k.table[k.find(out, s, key)] != 0
}

// add notes a key that the map does not have.
func (k *mapKeys) add(out []byte, s *mapScope, x keySpan) {
	k.spans = append(k.spans, x)
	n := len(k.spans) - s.span
	if n <= searched {
		return
	}
	if size := len(k.table) - s.table; 2*n <= size {
		k.table[k.find(out, s, out[x.from:x.to])] = int32(len(k.spans))
		return
	}
	k.table = slices.Grow(k.table[:s.table], 8*n)
	size := 1
	for size < 4*n {
		size *= 2
	}
	k.table = k.table[:s.table+size]
	clear(k.table[s.table:])
	for i, y := range k.spans[s.span:] {
		k.table[k.find(out, s, out[y.from:y.to])] = int32(s.span + i + 1)
	}
}

// find gives the place of a key in the table, or the free place where it goes.
func (k *mapKeys) find(out []byte, s *mapScope, key []byte) int {
	mask := len(k.table) - s.table - 1
	for i := int(maphash.Bytes(seed, key)) & mask; ; i = (i + 1) & mask {
		at := k.table[s.table+i]
		if at == 0 {
			return s.table + i
		}
		if y := k.spans[at-1]; bytes.Equal(out[y.from:y.to], key) {
			return s.table + i
		}
	}
}
