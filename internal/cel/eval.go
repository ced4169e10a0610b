package cel

import (
	"bytes"
	"cmp"
	"math"
)

// Eval evaluates the expression. An optional gives what it holds, None where it is
// empty. The value holds until the next is evaluated; what it is made of may be a part of
// the variables' JSON and of memory of e, and holds until either is changed or reset. The
// error is an *Error.
func (p *Program) Eval(e *Env) (*Value, error) {
	n := p.root
	if e.steps--; n.op == opSteps && e.steps > 0 { // a path
		if v := e.known(n); v != nil {
			return v, nil
		}
		e.result = e.follows(n)
	} else if is := e.tested(n); is >= 0 && !e.over() {
		e.result = Value{head: head{kind: Bool}, num: uint64(is)}
	} else {
		e.result = e.eval(n)
	}
	if e.result.kind == failed {
		return &Value{}, &Error{Expr: p.expr, Offset: e.fault, Msg: e.msg, Limit: e.limit}
	}
	e.result.opt = false
	return &e.result, nil
}

func (e *Env) eval(n *node) Value {
	if e.steps--; e.steps < 0 {
		e.spend(n.pos, 0, 0)
		return Value{head: head{kind: failed}}
	}
	switch n.op {
	case opConst:
		return n.value
	case opVar:
		return e.vars[n.slot].value
	case opSteps:
		return e.path(n)
	case opHas:
		return e.has(n)
	case opList:
		return e.makeList(n)
	case opNot, opNegate:
		return e.sign(n)
	case opAnd, opOr:
		return e.logic(n)
	case opCond:
		if is := e.test(n.a); is == 1 {
			return e.eval(n.b)
		} else if is == 0 {
			return e.eval(n.c)
		}
		v := e.eval(n.a)
		switch {
		case v.kind == failed:
			return v
		case v.kind != Bool || v.opt:
			return e.fail(n.a.pos, "a condition is a bool, not "+v.kind.String())
		case v.num == 1:
			return e.eval(n.b)
		}
		return e.eval(n.c)
	case opCall:
		if n.members != nil {
			v, _ := e.follow(n, nil)
			return v
		}
		return e.call(n)
	case opOptOr, opOptOrValue:
		return e.alternative(n)
	default:
		return e.binary(n)
	}
}

// path follows the steps from a value. From the first that is optional on, what is
// not there makes an optional that is empty.
func (e *Env) path(n *node) Value {
	if known := e.known(n); known != nil {
		v := *known
		v.opt = n.optional
		return v
	}
	return e.follows(n)
}

// follows is path for what known does not give.
func (e *Env) follows(n *node) Value {
	v, taken := e.follow(n.a, n.steps)
	if v.kind == failed || v.kind == None {
		return v
	}
	for i := taken; i < len(n.steps); i++ {
		if e.step(&v, &n.steps[i]); v.kind == failed || v.kind == None {
			return v
		}
	}
	return v
}

// step replaces v with what a step from it leads to.
func (e *Env) step(v *Value, s *step) {
	if v.opt && v.kind == None {
		return
	}
	optional := v.opt || s.optional
	name := s.name
	if s.index != nil {
		i := e.eval(s.index)
		switch {
		case i.kind == failed:
			*v = i
			return
		case i.opt || i.kind == Null || i.kind == List || i.kind == Map:
			*v = e.fail(s.pos, "an index is no "+what(i))
			return
		case v.kind == List:
			*v = e.element(*v, i, s, optional)
			return
		case i.kind == String:
			name = e.textOf(i)
		case optional:
			*v = Value{head: head{opt: true}}
			return
		case v.kind == Map:
			*v = e.fail(s.pos, "a member's name is a string, not "+i.kind.String())
			return
		}
	}
	if v.kind != Map {
		if optional && v.kind != List {
			*v = Value{head: head{opt: true}}
			return
		}
		*v = e.fail(s.pos, v.kind.String()+" has no members")
		return
	}
	raw, ok := e.lookup(s.pos, v, name)
	switch {
	case ok:
		*v = s.typ.read(raw)
		if v.opt = optional; optional && v.kind == Null && e.NullIsAbsent {
			*v = Value{head: head{opt: true}}
		}
	case e.over():
		e.spend(s.pos, 0, 0)
		*v = Value{head: head{kind: failed}}
	case optional:
		*v = Value{head: head{opt: true}}
	case s.zero.kind != None:
		*v = s.zero
	default:
		*v = e.fail(s.pos, "there is no member "+quoteShort(name))
	}
}

// quoteShort quotes a name for an error.
func quoteShort(name []byte) string {
	return `"` + string(name[:min(len(name), 64)]) + `"`
}

// element gives an element of a list.
func (e *Env) element(v, i Value, s *step, optional bool) Value {
	at := int64(i.num)
	if i.kind == Double {
		f := i.float()
		if at = int64(f); float64(at) != f {
			return e.fail(s.pos, "an index is an int")
		}
	} else if i.kind != Int {
		return e.fail(s.pos, "an index is an int, not "+i.kind.String())
	}
	if !e.spend(s.pos, 1, len(v.raw())) {
		return Value{head: head{kind: failed}}
	}
	it := Items{list: v.elements(), elem: s.typ}
	if !v.made && v.n > 0 {
		it.raw, it.next = v.raw(), 1
	}
	for n := int64(0); at >= 0; n++ {
		one, ok := it.Next()
		if !ok {
			break
		}
		if n == at {
			one.opt = optional || one.opt
			return one
		}
		e.steps--
	}
	if optional {
		return Value{head: head{opt: true}}
	}
	return e.fail(s.pos, "there is no such element")
}

func (e *Env) has(n *node) Value {
	last := len(n.steps) - 1
	v, taken := e.follow(n.a, n.steps[:last])
	for i := taken; i < last && v.kind != failed && v.kind != None; i++ {
		e.step(&v, &n.steps[i])
	}
	s := &n.steps[last]
	switch {
	case v.kind == failed:
		return v
	case v.kind == List:
		return e.fail(s.pos, v.kind.String()+" has no members")
	case v.kind != Map:
		return Boolean(false)
	case s.place == 0:
		raw, ok := e.lookup(s.pos, &v, s.name)
		if !ok && e.over() {
			e.spend(s.pos, 0, 0)
			return Value{head: head{kind: failed}}
		}
		return Boolean(ok && !(e.NullIsAbsent && raw[0] == 'n'))
	}
	x := &e.vars[n.a.slot]
	at := n.a.place
	if last > 0 {
		at = n.steps[last-1].place
	}
	if !x.found[at].looked && !e.look(s.pos, x, at) {
		return Value{head: head{kind: failed}}
	}
	f := &x.found[s.place]
	return Boolean(f.there && !(e.NullIsAbsent && f.value.kind == Null))
}

func (e *Env) makeList(n *node) Value {
	base := len(e.stack)
	for _, a := range n.args {
		v := e.eval(a)
		if v.kind == failed {
			e.stack = e.stack[:base]
			return v
		}
		e.stack = append(e.stack, v)
	}
	start := len(e.values)
	for _, v := range e.stack[base:] {
		if !e.push(n.pos, v) {
			break
		}
	}
	e.stack = e.stack[:base]
	if !e.spend(n.pos, len(n.args), valueBytes*len(n.args)) {
		return Value{head: head{kind: failed}}
	}
	return e.listFrom(start)
}

func (e *Env) sign(n *node) Value {
	v := e.eval(n.a)
	switch {
	case v.kind == failed:
		return v
	case n.op == opNot && v.kind == Bool && !v.opt:
		return Boolean(v.num == 0)
	case n.op == opNegate && v.kind == Int && !v.opt:
		if int64(v.num) == math.MinInt64 {
			return e.fail(n.pos, "the number is too large")
		}
		return Integer(-int64(v.num))
	case n.op == opNegate && v.kind == Double && !v.opt:
		return double(-v.float())
	}
	return e.fail(n.pos, "this takes no "+what(v))
}

// logic is && and ||, of which one side that decides makes up for an error of the other.
func (e *Env) logic(n *node) Value {
	decides := uint64(0)
	if n.op == opOr {
		decides = 1
	}
	a := e.eval(n.a)
	if a.kind == Bool && !a.opt && a.num == decides {
		return Boolean(decides == 1)
	}
	fault, msg, limit := e.fault, e.msg, e.limit
	if a.kind != Bool || a.opt {
		if a.kind != failed {
			fault, msg, limit = n.a.pos, "this takes no "+what(a), false
		}
		a.kind = failed
	}
	b := e.eval(n.b)
	switch {
	case b.kind == Bool && !b.opt && b.num == decides:
		return Boolean(decides == 1)
	case a.kind == failed:
		e.fault, e.msg, e.limit = fault, msg, limit
		return Value{head: head{kind: failed}}
	case b.kind == failed:
		return b
	case b.kind != Bool || b.opt:
		return e.fail(n.b.pos, "this takes no "+what(b))
	}
	return Boolean(decides == 0)
}

// alternative is or and orValue.
func (e *Env) alternative(n *node) Value {
	v := e.eval(n.a)
	switch {
	case v.kind == failed:
		return v
	case !v.opt:
		return e.fail(n.pos, "what stands before is no optional: write .? before its name")
	case v.kind != None:
		v.opt = n.op == opOptOr
		return v
	}
	return e.eval(n.b)
}

func (e *Env) binary(n *node) Value {
	a := e.eval(n.a)
	if a.kind == failed {
		return a
	}
	b := e.eval(n.b)
	if b.kind == failed {
		return b
	}
	switch n.op {
	case opEqual, opUnequal:
		same, ok := e.equal(n.pos, a, b, 0)
		if !ok {
			return Value{head: head{kind: failed}}
		}
		return Boolean(same == (n.op == opEqual))
	case opIn:
		return e.in(n, a, b)
	}
	if n.op != opAdd && n.op != opSubtract && a.isNaN() {
		return Boolean(false) // as cel-go, whatever b is
	}
	if a.opt || b.opt {
		if a.opt {
			b = a
		}
		return e.fail(n.pos, "this takes no "+what(b)+": use orValue")
	}
	switch n.op {
	case opAdd:
		return e.add(n, a, b)
	case opSubtract:
		switch {
		case a.kind == Int && b.kind == Int:
			x, y := int64(a.num), int64(b.num)
			if d := x - y; (d < x) == (y > 0) {
				return Integer(d)
			}
			return e.fail(n.pos, "the number is too large")
		case a.kind == Double && b.kind == Double:
			return double(a.float() - b.float())
		}
		return e.mismatch(n, a, b)
	}
	return e.order(n, a, b)
}

func (e *Env) mismatch(n *node, a, b Value) Value {
	return e.fail(n.pos, "this does not take "+a.kind.String()+" and "+b.kind.String())
}

func (e *Env) add(n *node, a, b Value) Value {
	if a.kind != b.kind {
		return e.mismatch(n, a, b)
	}
	switch a.kind {
	case Int:
		x, y := int64(a.num), int64(b.num)
		if s := x + y; (s > x) == (y > 0) {
			return Integer(s)
		}
		return e.fail(n.pos, "the number is too large")
	case Double:
		return double(a.float() + b.float())
	case String:
		x, y := e.textOf(a), e.textOf(b)
		start, ok := e.begin(n.pos, len(x)+len(y))
		if !ok {
			return Value{head: head{kind: failed}}
		}
		e.text = append(append(e.text, x...), y...)
		return e.made(n.pos, start)
	case List:
		return e.concat(n, a, b)
	}
	return e.mismatch(n, a, b)
}

func (e *Env) concat(n *node, a, b Value) Value {
	start := len(e.values)
	for i, v := range [2]Value{a, b} {
		typ := n.a.typ
		if i == 1 {
			typ = n.b.typ
		}
		if !e.spend(n.pos, 1, len(v.raw())) {
			return Value{head: head{kind: failed}}
		}
		it := v.Items(typ)
		for one, ok := it.Next(); ok; one, ok = it.Next() {
			if !e.spend(n.pos, 1, valueBytes) || !e.push(n.pos, one) {
				return Value{head: head{kind: failed}}
			}
		}
	}
	return e.listFrom(start)
}

func (e *Env) order(n *node, a, b Value) Value {
	c := 0
	switch {
	case b.isNaN() && a.kind != Null && a.kind != List && a.kind != Map:
		return Boolean(false)
	case a.kind == Int && b.kind == Int:
		c = cmp.Compare(int64(a.num), int64(b.num))
	case isNumber(a) && isNumber(b):
		// cel-go too compares an int with a double as doubles.
		c = cmp.Compare(a.float(), b.float())
	case a.kind == String && b.kind == String:
		x, y := e.textOf(a), e.textOf(b)
		if !e.spend(n.pos, 0, min(len(x), len(y))) {
			return Value{head: head{kind: failed}}
		}
		c = bytes.Compare(x, y)
	case a.kind == Bool && b.kind == Bool:
		c = cmp.Compare(a.num, b.num)
	default:
		return e.mismatch(n, a, b)
	}
	switch n.op {
	case opLess:
		return Boolean(c < 0)
	case opLessEqual:
		return Boolean(c <= 0)
	case opGreater:
		return Boolean(c > 0)
	default:
		return Boolean(c >= 0)
	}
}

func (v *Value) isNaN() bool { return v.kind == Double && !v.opt && math.IsNaN(v.float()) }

func isNumber(v Value) bool { return v.kind == Int || v.kind == Double }

func (e *Env) in(n *node, a, b Value) Value {
	if n.b.op == opConst && n.b.value.kind == List && a.kind == String && !a.opt { // as of =m.role in ["system", "developer"]
		if is := e.among(&a, n.b.value.elements()); is >= 0 {
			return Boolean(is == 1)
		}
	}
	switch {
	case b.opt:
		return e.mismatch(n, a, b)
	case b.kind == Map:
		if a.kind != String {
			return Boolean(false)
		}
		_, ok := e.lookup(n.pos, &b, e.textOf(a))
		if !ok && (e.over()) {
			e.spend(n.pos, 0, 0)
			return Value{head: head{kind: failed}}
		}
		return Boolean(ok)
	case b.kind != List:
		return e.mismatch(n, a, b)
	}
	if !e.spend(n.pos, 1, len(b.raw())) {
		return Value{head: head{kind: failed}}
	}
	it := b.Items(n.b.typ)
	for one, ok := it.Next(); ok; one, ok = it.Next() {
		same, ok := e.equal(n.pos, a, one, 0)
		if !ok {
			return Value{head: head{kind: failed}}
		}
		if same {
			return Boolean(true)
		}
	}
	return Boolean(false)
}

// among looks for a String among texts: 0 or 1, or -1 where there are other values, or
// escapes.
func (e *Env) among(v *Value, list []Value) int {
	e.steps -= len(list)
	for i := range list {
		if list[i].kind != String {
			return -1
		}
		if is := v.same(list[i].raw()); is != 0 {
			return is
		}
	}
	return 0
}

// equalDepth is how deep lists and objects may nest that are compared.
const equalDepth = 64

// equal compares values of any kinds; ok is false beyond the limits.
func (e *Env) equal(pos int, a, b Value, depth int) (same, ok bool) {
	if depth > equalDepth {
		e.fail(pos, "the values nest too deeply to be compared")
		return false, false
	}
	if !e.spend(pos, 1, min(len(a.raw()), len(b.raw()))) {
		return false, false
	}
	switch {
	case a.opt != b.opt:
		return false, true
	case isNumber(a) && isNumber(b):
		if a.kind == Int && b.kind == Int {
			return a.num == b.num, true
		}
		return a.float() == b.float(), true
	case a.kind != b.kind:
		return false, true
	}
	switch a.kind {
	case Bool:
		return a.num == b.num, true
	case String:
		return bytes.Equal(e.textOf(a), e.textOf(b)), true
	case List:
		return e.equalLists(pos, a, b, depth)
	case Map:
		return e.equalMaps(pos, a, b, depth)
	}
	return true, true // null, and optionals that are empty
}

func (e *Env) equalLists(pos int, a, b Value, depth int) (same, ok bool) {
	x, y := a.Items(nil), b.Items(nil)
	same = true
	for {
		one, more := x.Next()
		other, also := y.Next()
		if more != also {
			return false, true
		}
		if !more {
			return same, true
		}
		if !same { // cel-go compares the lengths first
			continue
		}
		if same, ok = e.equal(pos, one, other, depth+1); !ok {
			return false, false
		}
	}
}

func (e *Env) equalMaps(pos int, a, b Value, depth int) (same, ok bool) {
	n, m := e.distinct(pos, a), e.distinct(pos, b)
	if n < 0 || m < 0 {
		return false, false
	}
	if n != m {
		return false, true
	}
	all := a.members()
	for key, _, more := all.step(); more; key, _, more = all.step() {
		name := e.unquote(key)
		one, _ := e.lookup(pos, &a, name)
		other, found := e.lookup(pos, &b, name)
		if e.over() {
			e.spend(pos, 0, 0)
			return false, false
		}
		if !found {
			return false, true
		}
		if same, ok := e.equal(pos, JSON(one), JSON(other), depth+1); !ok || !same {
			return false, ok
		}
	}
	return true, true
}
