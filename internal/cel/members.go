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
	m := x.found[at].value.members()
	count := e.gather(x, at, &m)
	return e.spend(pos, count, len(m.raw))
}

// gather takes all members of the object that has the place at, and counts them.
func (e *Env) gather(x *variable, at int, all *members) (count int) {
	names := x.members.places[at].names
	for i := range names {
		to := &x.found[names[i].at]
		*to = found{turn: x.turn}
		if t := x.members.places[names[i].at].typ; t != nil {
			to.value = t.Zero
		}
	}
	for count = 1; ; count++ {
		key, raw, more := all.step()
		if !more {
			break
		}
		if n := placeOf(names, all.name(e, key)); n > 0 {
			to := &x.found[n]
			to.value, to.there = x.members.places[n].typ.read(raw), true
		}
	}
	x.found[at].looked = true
	return count
}

// Next gives the variable number i the next element, and reports whether there is one.
// Of an object it finds what m has, the variable's members, on the way to its end.
func (e *Env) Next(it *Items, i int, m *Members) bool {
	var all members
	ok := len(m.places) > 0 && len(m.places[0].names) > 0
	if ok {
		all, ok = it.object()
	}
	if !ok {
		v, more := it.Next()
		if more {
			e.Set(i, v)
		}
		return more
	}
	for i >= len(e.vars) {
		e.vars = append(e.vars, variable{})
	}
	x := &e.vars[i]
	if x.members != m || len(x.found) != len(m.places) {
		x.of(m)
	}
	x.turn++
	count := e.gather(x, 0, &all)
	v, ok := it.ended(&all)
	x.value, x.found[0] = v, found{value: v, turn: x.turn, there: true, looked: true}
	return ok && e.spend(0, count, v.n)
}

// placeOf gives the place of the member that is called so, 0 for none that is looked for.
func placeOf(names []name, text []byte) int {
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
				return Value{head: head{opt: true}}, i
			}
			return e.fail(s.pos, f.value.kind.String()+" has no members"), i
		}
		if !f.looked && !e.look(s.pos, x, at) {
			return Value{head: head{kind: failed}}, i
		}
		at = s.place
		f = &x.found[at]
		switch {
		case f.there && !(optional && f.value.kind == Null && e.NullIsAbsent):
		case optional:
			return Value{head: head{opt: true}}, i
		case f.value.kind == None:
			return e.fail(s.pos, "there is no member "+quoteShort(s.name)), i
		}
	}
	v = f.value
	v.opt = optional
	return v, len(steps)
}

// nothing is what is not there.
var nothing = Value{head: head{opt: true}} //nolint:gochecknoglobals // a constant that cannot be one

// known gives the value of the whole path n, without its being optional, where that is
// easily found; nothing where it is an optional that is empty, and nil where the path has
// to be followed.
func (e *Env) known(n *node) *Value {
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
	return e.end(n, f)
}

// end gives what known gives where the path leads to f.
func (e *Env) end(n *node, f *found) *Value {
	switch {
	case f.there && f.value.kind != Null:
		return &f.value
	case n.optional && (!f.there || e.NullIsAbsent):
		return &nothing
	}
	return nil
}

// find finds what known gives.
func (e *Env) find(n *node, x *variable) *Value {
	if n.a.op != opVar {
		return nil
	}
	f := &x.found[0]
	at, optional := 0, false
	for i := range n.steps {
		s := &n.steps[i]
		if f.value.kind != Map || !f.looked && !e.look(s.pos, x, at) {
			return nil
		}
		optional = optional || s.optional
		at = s.place
		if f = &x.found[at]; !f.there && i < len(n.steps)-1 {
			if optional {
				return &nothing
			}
			return nil
		}
	}
	return e.end(n, f)
}

// tested is test for what gives a bool if anything.
func (e *Env) tested(n *node) int {
	if n.op >= opNot && n.op <= opOr || n.op == opEqual || n.op == opUnequal {
		return e.test(n)
	}
	return -1
}

// test evaluates what may be a condition: 0 or 1, or -1 where eval has to say.
func (e *Env) test(n *node) int {
	switch n.op {
	case opNot:
		if is := e.test(n.a); is >= 0 {
			return 1 - is
		}
		return -1
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
		if n.b.op == opConst && n.b.value.kind == String && !n.a.optional {
			e.steps--
			if v := e.known(n.a); v != nil && v.kind == String {
				is := v.same(n.b.value.raw())
				if n.op == opUnequal && is >= 0 {
					is = 1 - is
				}
				return is
			}
		}
	case opSteps, opConst:
		return -1
	}
	if v := e.eval(n); v.kind == Bool && !v.opt {
		return int(v.num)
	}
	return -1
}

// same compares a String with a text: 0 or 1, or -1 where the escapes have to be read.
func (v *Value) same(text []byte) int {
	raw := v.raw()
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
