package cel

import (
	"bytes"
	"slices"
)

// Members is what expressions look for in one variable: the members they name, those of
// these, and what calls make of it alone. An Env finds all that stand in one object as
// soon as one is asked for, and keeps them until the variable is set anew, so that each
// costs an expression a look at its place. The zero value is ready. It grows while
// expressions are compiled, and is for concurrent use after that.
type Members struct {
	places []place // the first is the variable itself
	calls  []call  // whose results have places too
}

// place is one value that is looked for.
type place struct {
	typ   *Type
	names []name // of members, shorter ones first
}

// name is a member's name, and its place.
type name struct {
	text string
	at   int
}

// call is the text of a call, and the place of what it gives.
type call struct {
	text string
	at   int
}

// root sees to the variable's own place.
func (m *Members) root() {
	if len(m.places) == 0 {
		m.places = append(m.places, place{})
	}
}

// member gives the place of a member of what has the place at.
func (m *Members) member(at int, text string, typ *Type) int {
	m.root()
	names := m.places[at].names
	for i := range names {
		if names[i].text == text {
			return names[i].at
		}
	}
	m.places = append(m.places, place{typ: typ})
	n := len(m.places) - 1
	i := 0
	for i < len(names) && len(names[i].text) <= len(text) {
		i++
	}
	m.places[at].names = slices.Insert(names, i, name{text, n})
	return n
}

// call gives the place of what a call gives.
func (m *Members) call(text string) int {
	m.root()
	for i := range m.calls {
		if m.calls[i].text == text {
			return m.calls[i].at
		}
	}
	m.places = append(m.places, place{})
	m.calls = append(m.calls, call{text, len(m.places) - 1})
	return len(m.places) - 1
}

// variable is a value, and what was found in it.
type variable struct {
	members *Members // that found is of; nil for none
	found   []found  // for each of its places
	value   Value
	turn    uint64 // counts the values
}

// found is what was found for a place, if it is of the variable's turn.
type found struct {
	value  Value // of a member that is not there, the zero of its type
	turn   uint64
	there  bool
	looked bool // for its members
}

// set gives the variable a value, and forgets the last one.
func (x *variable) set(v Value) {
	x.value = v
	if x.turn++; x.members != nil {
		x.found[0] = found{value: v, turn: x.turn, there: true}
	}
}

// of makes ready to look for what m says.
func (x *variable) of(m *Members) {
	x.members = m
	if n := len(m.places); n <= cap(x.found) {
		x.found = x.found[:n]
	} else {
		x.found = make([]found, n)
	}
	x.set(x.value)
}

// forget holds on to nothing of the value.
func (x *variable) forget() {
	clear(x.found[:cap(x.found)])
	x.members, x.value = nil, Value{}
	if cap(x.found)*bytesOf(x.found) > maxVariable {
		x.found = nil
	}
}

// variable gives that of a node which has places.
func (e *Env) variable(n *node) *variable {
	x := &e.vars[n.slot]
	if x.members != n.members || len(x.found) != len(n.members.places) {
		x.of(n.members)
	}
	return x
}

// look finds all members of the object that has the place at.
func (e *Env) look(pos int, x *variable, at int) bool {
	p, f := &x.members.places[at], &x.found[at]
	for i := range p.names {
		n := &p.names[i]
		to := &x.found[n.at]
		*to = found{turn: x.turn}
		if t := x.members.places[n.at].typ; t != nil {
			to.value = t.Zero
		}
	}
	count := 1
	for m := f.value.members(); ; count++ {
		key, raw, more := m.step()
		if !more {
			break
		}
		if n := e.named(p.names, key); n > 0 {
			to := &x.found[n]
			to.value, to.there = x.members.places[n].typ.read(raw), true
		}
	}
	f.looked = true
	return e.spend(pos, count, len(f.value.raw))
}

// named gives the place of the member with a quoted key, 0 for none that is looked for.
func (e *Env) named(names []name, key []byte) int {
	text := key[1 : len(key)-1]
	for i := range text { // names are short
		if text[i] == '\\' {
			text = e.unquote(key)
			break
		}
	}
	for i := range names {
		switch n := &names[i]; {
		case len(n.text) < len(text):
		case len(n.text) > len(text):
			return 0
		case n.text == string(text):
			return n.at
		}
	}
	return 0
}

// follow takes the first steps of a path, all whose places are known, and gives what
// they lead to, and how many they were. A value that is None or failed ends the path.
func (e *Env) follow(n *node, steps []step) (v Value, taken int) {
	if n.members == nil {
		return e.eval(n), 0
	}
	x, at := e.variable(n), n.place
	if n.op != opVar && x.found[at].turn != x.turn {
		if v = e.call(n); v.kind == failed {
			return v, 0
		}
		x.found[at] = found{value: v, turn: x.turn, there: true}
	}
	f := &x.found[at]
	optional := f.value.opt
	if optional && f.value.kind == None {
		return f.value, 0
	}
	for i := range steps {
		s := &steps[i]
		if s.place == 0 {
			steps = steps[:i]
			break
		}
		optional = optional || s.optional
		if f.value.kind != Map {
			if optional && f.value.kind != List {
				return Value{opt: true}, i
			}
			return e.fail(s.pos, f.value.kind.String()+" has no members"), i
		}
		if !f.looked && !e.look(s.pos, x, at) {
			return Value{kind: failed}, i
		}
		at = s.place
		f = &x.found[at]
		switch {
		case f.there && !(optional && f.value.kind == Null && e.NullIsAbsent):
		case optional:
			return Value{opt: true}, i
		case f.value.kind == None:
			return e.fail(s.pos, "there is no member "+quoteShort(s.name)), i
		}
	}
	v = f.value
	v.opt = optional
	return v, len(steps)
}

// known gives what was found for the whole path n, nil where that has to be found, or is
// not there.
func (e *Env) known(n *node) *found {
	if n.whole == 0 {
		return nil
	}
	x := e.variable(n.a)
	if x.found[n.a.place].value.opt {
		return nil
	}
	f := &x.found[n.whole]
	if f.turn != x.turn {
		return e.find(n, x)
	}
	if !f.there || f.value.kind == Null {
		return nil
	}
	return f
}

// find finds what known gives.
func (e *Env) find(n *node, x *variable) *found {
	at := 0
	if n.a.op != opVar {
		return nil
	}
	for i := range n.steps {
		f := &x.found[at]
		if f.value.kind != Map || !f.looked && !e.look(n.steps[i].pos, x, at) {
			return nil
		}
		if at = n.steps[i].place; !x.found[at].there {
			return nil
		}
	}
	if f := &x.found[at]; f.value.kind != Null {
		return f
	}
	return nil
}

// test evaluates what may be a condition: 0 or 1, or -1 where eval has to say.
func (e *Env) test(n *node) int {
	switch n.op {
	case opNot:
		if is := e.test(n.a); is >= 0 {
			return 1 - is
		}
	case opAnd, opOr:
		decides := 0
		if n.op == opOr {
			decides = 1
		}
		if is := e.test(n.a); is < 0 || is == decides {
			return is
		}
		return e.test(n.b)
	case opEqual, opUnequal:
		if n.b.op != opConst || n.b.value.kind != String || n.a.optional {
			break
		}
		e.steps--
		f := e.known(n.a)
		if f == nil || f.value.kind != String {
			break
		}
		is := f.value.same(n.b.value.raw)
		if n.op == opUnequal && is >= 0 {
			is = 1 - is
		}
		return is
	}
	return -1
}

// same compares a String with a text: 0 or 1, or -1 where the escapes have to be read.
func (v *Value) same(text []byte) int {
	raw := v.raw
	if !v.plain {
		raw = raw[1 : len(raw)-1]
		if bytes.IndexByte(raw, '\\') >= 0 {
			return -1
		}
	}
	if string(raw) == string(text) {
		return 1
	}
	return 0
}
