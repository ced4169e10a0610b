package protobuf

import "bytes"

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
