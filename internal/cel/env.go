package cel

import (
	"bytes"

	"sluice/internal/jsonscan"
)

// Limits bound what evaluations with an Env cost in all, until it is reset. A zero
// means the default.
type Limits struct {
	Steps int // operations, and elements and members that are looked at
	Bytes int // that are read or written
}

// The limits where Limits has a zero.
const (
	DefaultSteps = 1 << 20
	DefaultBytes = 64 << 20
)

// Env holds the variables of expressions while they are evaluated, and the memory that
// takes. It is used by one goroutine at a time, and again after Reset.
type Env struct {
	// NullIsAbsent has a member that is null taken for one that is not there by .?
	// and has, as OpenAI's API takes it.
	NullIsAbsent bool

	steps, bytes int
	vars         []variable
	text         []byte  // what was put together
	values       []Value // elements of lists that were
	lists        [][]Value
	stack        []Value // arguments

	fault int
	msg   string
	limit bool
}

// variable is a value, and its members where it is an object that was looked into.
type variable struct {
	value   Value
	indexed bool
	members []member
	subs    []variable // members that were looked into too
}

// sub gives the member number i, whose value is v, as a variable, so that it is read
// once by all who look into it.
func (x *variable) sub(i int, v Value) *variable {
	m := &x.members[i]
	if m.sub == 0 {
		if n := len(x.subs); n < cap(x.subs) {
			x.subs = x.subs[:n+1]
		} else {
			x.subs = append(x.subs, variable{})
		}
		m.sub = len(x.subs)
		x.subs[m.sub-1].set(v)
	}
	return &x.subs[m.sub-1]
}

// set gives the variable a value, and forgets the last one whole.
func (x *variable) set(v Value) {
	for i := range x.subs {
		x.subs[i].set(Value{})
	}
	x.value, x.indexed, x.members, x.subs = v, false, emptied(x.members), x.subs[:0]
}

// maxKept is the largest memory, in elements, that is kept by Reset.
const maxKept = 64 << 10

// Reset forgets all variables, holding nothing of what they were, and begins to count
// against l.
func (e *Env) Reset(l Limits) {
	if e.steps = l.Steps; e.steps <= 0 {
		e.steps = DefaultSteps
	}
	if e.bytes = l.Bytes; e.bytes <= 0 {
		e.bytes = DefaultBytes
	}
	for i := range e.vars {
		e.Set(i, Value{})
	}
	e.text, e.values, e.lists = emptied(e.text), emptied(e.values), emptied(e.lists)
	clear(e.stack[:cap(e.stack)])
	e.stack = e.stack[:0]
}

// emptied empties a slice for the next use, or drops one that has grown large.
func emptied[T any](s []T) []T {
	if cap(s) > maxKept {
		return nil
	}
	clear(s)
	return s[:0]
}

// Set gives the variable number i, as Compile counts them, a value.
func (e *Env) Set(i int, v Value) {
	for i >= len(e.vars) {
		e.vars = append(e.vars, variable{})
	}
	e.vars[i].set(v)
}

// Spend counts the bytes that a caller writes of values, and reports whether they are
// within the limits.
func (e *Env) Spend(n int) bool {
	e.bytes -= n
	return e.bytes >= 0
}

// spend counts, and fails beyond the limits.
func (e *Env) spend(pos, steps, n int) bool {
	e.steps -= steps
	e.bytes -= n
	if e.steps < 0 || e.bytes < 0 {
		e.fail(pos, "it takes more steps, or bytes, than the limit allows")
		e.limit = true
		return false
	}
	return true
}

func (e *Env) fail(pos int, msg string) Value {
	e.fault, e.msg, e.limit = pos, msg, false
	return Value{kind: failed}
}

// lookup finds a member of the object v, of several the last. Where v is a variable,
// x is it, whose members are found once for all that look; at is which of them it is.
func (e *Env) lookup(pos int, v *Value, x *variable, name []byte) (raw []byte, at int, ok bool) {
	if x == nil {
		for m := v.members(); ; {
			key, value, more := m.step()
			if !more {
				return raw, 0, e.spend(pos, 1, m.next) && raw != nil
			}
			e.steps--
			if e.isKey(key, name) {
				raw = value
			}
		}
	}
	if !x.indexed {
		x.indexed = true
		for m := v.members(); ; {
			key, value, more := m.step()
			if !more {
				break
			}
			x.members = append(x.members, member{e.unquote(key), value, 0})
		}
		if !e.spend(pos, len(x.members), len(v.raw)) {
			return nil, 0, false
		}
	}
	e.steps -= len(x.members) / 8
	for i := len(x.members) - 1; i >= 0; i-- {
		if string(x.members[i].key) == string(name) {
			return x.members[i].value, i, true
		}
	}
	return nil, 0, false
}

// isKey compares a quoted key with a name.
func (e *Env) isKey(key, name []byte) bool {
	if bytes.IndexByte(key, '\\') < 0 {
		return string(key[1:len(key)-1]) == string(name)
	}
	return string(e.unquote(key)) == string(name)
}

// unquote gives the text of a JSON string, which is a part of it unless it has escapes.
func (e *Env) unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	e.bytes -= len(raw)
	start := len(e.text)
	e.text = jsonscan.AppendText(e.text, raw)
	return e.text[start:len(e.text):len(e.text)]
}

// textOf gives the text of a String.
func (e *Env) textOf(v Value) []byte {
	if v.plain {
		return v.raw
	}
	return e.unquote(v.raw)
}
