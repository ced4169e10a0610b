package cel

import (
	"bytes"
	"unsafe"

	"sluice/internal/jsonscan"
)

// Limits bound what evaluations with an Env cost in all, until it is reset. A zero
// means the default.
type Limits struct {
	Steps int // operations, and elements and members that are looked at
	Bytes int // that are read or written

	// Reserve is asked before n bytes more are held, all of which Reset lets go of. What
	// it refuses ends an evaluation; nil is without bound.
	Reserve func(n int) bool
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
	reserve      func(n int) bool
	vars         []variable
	text         []byte  // what was put together
	values       []Value // elements of lists that were
	stack        []Value // arguments
	result       Value   // of an expression
	called       []calledAs
	results      []result
	outputs      []output // of the reply
	replied      []byte

	fault int
	msg   string
	limit bool
	lacks bool // memory was refused
}

// maxVariable is what Reset keeps at most of one variable, in bytes.
const maxVariable = 32 << 10

// maxKept is the largest memory, in bytes, that Reset keeps of one kind.
const maxKept = 256 << 10

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
		e.vars[i].forget()
	}
	e.reserve, e.lacks = l.Reserve, false
	e.text, e.values = emptied(e.text), emptied(e.values)
	e.called, e.results, e.outputs, e.replied = emptied(e.called), emptied(e.results), emptied(e.outputs), nil
	if !e.room(0, e.kept()) {
		e.text, e.values, e.called, e.results, e.outputs, e.lacks = nil, nil, nil, nil, nil, false
	}
	clear(e.stack[:cap(e.stack)])
	e.stack, e.result = e.stack[:0], Value{}
}

// kept is how many bytes of memory there are that were needed before.
func (e *Env) kept() int {
	return cap(e.text) + cap(e.values)*bytesOf(e.values) +
		cap(e.called)*bytesOf(e.called) + cap(e.results)*bytesOf(e.results) + cap(e.outputs)*bytesOf(e.outputs)
}

// emptied empties a slice for the next use, or drops one that has grown large.
func emptied[T any](s []T) []T {
	if cap(s)*bytesOf(s) > maxKept {
		return nil
	}
	clear(s)
	return s[:0]
}

// bytesOf is how many an element of s takes.
func bytesOf[T any](s []T) int {
	var one T
	return int(unsafe.Sizeof(one))
}

// room reserves n bytes, and fails where there is no memory for them.
func (e *Env) room(pos, n int) bool {
	if e.reserve == nil || e.reserve(n) {
		return true
	}
	e.fail(pos, "there is no memory for it")
	e.lacks = true
	return false
}

// extended is s with room for one element more. What it was stays reserved, as values
// may point there.
func extended[T any](e *Env, pos int, s []T) ([]T, bool) {
	if len(s) < cap(s) {
		return s, true
	}
	size := max(2*cap(s), 8)
	if !e.room(pos, size*bytesOf(s)) {
		return s, false
	}
	larger := make([]T, len(s), size)
	copy(larger, s)
	return larger, true
}

// textChunk is up to how many bytes the memory for texts doubles. Larger ones have their own.
const textChunk = 256 << 10

// begin sees to room for n bytes of text, and gives where they begin.
func (e *Env) begin(pos, n int) (start int, ok bool) {
	if n > cap(e.text)-len(e.text) {
		size := max(n, min(2*cap(e.text), textChunk), 256)
		if !e.room(pos, size) {
			return 0, false
		}
		e.text = make([]byte, 0, size) // what is elsewhere stays there
	}
	return len(e.text), true
}

// push adds an element to a list that is put together.
func (e *Env) push(pos int, v Value) (ok bool) {
	if e.values, ok = extended(e, pos, e.values); ok {
		e.values = append(e.values, v)
	}
	return ok
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
	if e.lacks {
		return false
	}
	if e.steps < 0 || e.bytes < 0 {
		e.fail(pos, "it takes more steps, or bytes, than the limit allows")
		e.limit = true
		return false
	}
	return true
}

func (e *Env) fail(pos int, msg string) Value {
	e.fault, e.msg, e.limit = pos, msg, false
	return Value{head: head{kind: failed}}
}

// lookup finds a member of an object; of those of one name the last counts.
func (e *Env) lookup(pos int, v *Value, name []byte) (raw []byte, ok bool) {
	for m := v.members(); ; {
		key, value, more := m.step()
		if !more {
			return raw, e.spend(pos, 1, m.next) && raw != nil
		}
		e.steps--
		if e.isKey(key, name) {
			raw = value
		}
	}
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
	start, ok := e.begin(0, len(raw))
	if !ok {
		return nil
	}
	e.text = jsonscan.AppendText(e.text, raw)
	return e.text[start:len(e.text):len(e.text)]
}

// textOf gives the text of a String.
func (e *Env) textOf(v Value) []byte {
	if v.plain {
		return v.raw()
	}
	return e.unquote(v.raw())
}

// over reports whether a limit was met.
func (e *Env) over() bool { return e.steps < 0 || e.bytes < 0 || e.lacks }
