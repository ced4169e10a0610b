package mapping

import (
	"encoding/base64"
	"errors"
	"math"

	"sluice/internal/cel"
	"sluice/internal/jsonscan"
)

// run applies compiled nodes. Its methods append to out, and report whether something
// is there; after a fault, which is kept, nothing is.
type run struct {
	env  cel.Env
	out  []byte
	most int // bytes of out

	reply bool // what is made is for a client
	odds  bool // and log probabilities
	err   *Error
	name  string // of the mapping

	meter meter
	ask   func(n int) bool // meter.take

	grown grower // the message that is sent
	sent  meter

	names []byte // that a request has from elsewhere
}

// maxKept is the largest buffer that is kept for the next use, in bytes.
const maxKept = 256 << 10

// reset makes ready for what is made of n bytes of input.
func (x *run) reset(name string, n int) {
	x.env.NullIsAbsent, x.reply = true, false
	if x.ask == nil {
		x.ask = x.meter.take
		x.grown.meter = &x.sent
	}
	x.env.Reset(cel.Limits{Steps: cel.DefaultSteps + n, Bytes: 16<<20 + 64*n, Reserve: x.ask})
	if x.out = trimmed(x.out); !x.meter.take(cap(x.out)) {
		x.out = nil
	}
	x.err, x.name, x.meter.lack = nil, name, nil
	x.most = 16<<20 + 8*n
}

// release holds on to nothing of the input.
func (x *run) release() {
	x.env.Reset(cel.Limits{})
	x.err = nil
	x.meter.end()
	x.meter.reserve = nil
}

// room sees to room for n bytes of out, and a few. What out was stays reserved, as it may
// be referred to.
func (x *run) room(n int) bool {
	const few = 64 // brackets and commas
	if n += few; n <= cap(x.out)-len(x.out) {
		return true
	}
	size := max(2*cap(x.out), len(x.out)+n, 512)
	if !x.meter.take(size) {
		return x.lacking()
	}
	larger := make([]byte, len(x.out), size)
	copy(larger, x.out)
	x.out = larger
	return true
}

// lacking fails for want of memory.
func (x *run) lacking() bool {
	if x.err == nil {
		x.err = &Error{Mapping: x.name, Msg: "there is no memory for it"}
	}
	return false
}

// fault is what went wrong, nil for nothing.
func (x *run) fault() error {
	switch {
	case x.meter.lack != nil:
		return x.meter.lack
	case x.err != nil:
		return x.err
	}
	return nil
}

// say fails with what the client is told.
func (x *run) say(n *node, msg string) {
	if x.err == nil {
		x.fail(n, msg)
		x.err.Said = true
	}
}

func (x *run) fail(n *node, msg string) bool {
	if x.err == nil {
		x.err = &Error{Mapping: x.name, Line: n.line, Path: n.path, Param: n.param, Msg: msg}
	}
	return false
}

// eval evaluates an expression of n. None stands for a fault too.
func (x *run) eval(n *node, p *cel.Program) *cel.Value {
	if x.err != nil || p == nil {
		return &none
	}
	v, err := p.Eval(&x.env)
	if err != nil {
		x.fail(n, err.Error())
		if e, ok := errors.AsType[*cel.Error](err); ok {
			x.err.Limit = e.Limit
		}
	}
	return v
}

var none cel.Value //nolint:gochecknoglobals // a constant that cannot be one

// holds reports whether a condition does, or is none.
func (x *run) holds(n *node) bool {
	if n.cond == nil {
		return x.err == nil
	}
	v := x.eval(n, n.cond)
	if k := v.Kind(); k != cel.Bool && k != cel.None {
		return x.fail(n, "a condition is a bool, not "+k.String())
	}
	return v.Bool()
}

// append appends the JSON of n's value.
func (x *run) append(n *node) bool {
	if n == nil || x.err != nil || !x.room(len(n.literal)) {
		return false
	}
	mark := len(x.out)
	there := false
	switch n.op {
	case opLiteral:
		x.out, there = append(x.out, n.literal...), true
	case opExpr:
		v := x.value(n)
		if there = v.Kind() != cel.None && x.room(v.Room()); there {
			x.out = v.AppendJSON(x.out)
		}
	case opObject:
		there = x.holds(n) && x.object(n)
	case opList:
		x.out = append(x.out, '[')
		for _, item := range n.items {
			x.element(item)
		}
		there = x.endList(n, mark)
	case opEach:
		x.out = append(x.out, '[')
		x.elements(n, 0)
		there = x.endList(n, mark)
	case opIf:
		if x.holds(n) {
			there = x.append(n.then)
		} else {
			there = x.append(n.els)
		}
	case opEnum:
		if literal := x.choose(n); literal != nil && x.room(len(literal)) {
			x.out, there = append(x.out, literal...), true
		}
	case opJoin:
		x.out = append(x.out, '"')
		x.join(n, 0)
		x.out, there = append(x.out, '"'), true
	case opJSON:
		there = x.quoted(n)
	}
	if len(x.out) > x.most || !x.env.Spend(len(x.out)-mark) {
		x.tooLarge(n)
	}
	if !there || x.err != nil {
		x.out = x.out[:mark]
		return false
	}
	return true
}

func (x *run) tooLarge(n *node) bool {
	x.fail(n, "the message is larger than the limit allows")
	x.err.Limit = true
	return false
}

// value evaluates an expression whose JSON is wanted.
func (x *run) value(n *node) *cel.Value {
	v := x.eval(n, n.expr)
	if x.reply && v.Kind() == cel.Double {
		return x.finite(n, v)
	}
	return v
}

// unlikely is what OpenAI's API has for the log probability of a token that is none of
// the likely ones, where some services say that it is infinitely small.
var unlikely = cel.JSON([]byte("-9999.0")) //nolint:gochecknoglobals // a constant that cannot be one

// finite gives a number as a client is told it, which JSON has to have.
func (x *run) finite(n *node, v *cel.Value) *cel.Value {
	switch f := v.Float(); {
	case math.IsInf(f, -1) && x.odds:
		return &unlikely
	case math.IsNaN(f) || math.IsInf(f, 0):
		x.fail(n, "the number is NaN or infinite, which JSON does not have")
		return &none
	}
	return v
}

// endList ends the list that begins at mark, and reports whether it is there: of a
// message's field, one without elements is the same as none.
func (x *run) endList(n *node, mark int) bool {
	x.out = append(x.out, ']')
	return n.target.kind == anyKind && !n.target.list || len(x.out) > mark+2
}

// quoted appends the JSON of n's body as a string or, for bytes, as base64.
func (x *run) quoted(n *node) bool {
	mark := len(x.out)
	if !x.append(n.body) {
		return false
	}
	size := jsonscan.Room(x.out[mark:])
	if n.target.kind == bytesKind {
		size = base64.StdEncoding.EncodedLen(len(x.out) - mark)
	}
	if !x.room(size) {
		return false
	}
	made := x.out[mark:]
	if n.target.kind == bytesKind {
		x.out = append(x.out, '"')
		x.out = append(base64.StdEncoding.AppendEncode(x.out, made), '"')
	} else {
		x.out = jsonscan.AppendBytes(x.out, made)
	}
	x.out = x.out[:mark+copy(x.out[mark:], x.out[mark+len(made):])]
	return true
}

// object appends an object, which is absent where all its fields are, unless it has to
// be there.
func (x *run) object(n *node) bool {
	there := n.keep
	x.out = append(x.out, '{')
	for i := range n.fields {
		f := &n.fields[i]
		if f.node.op == opExpr {
			there = x.field(f) || there
			continue
		}
		if !x.room(len(f.key)) {
			return false
		}
		mark := len(x.out)
		if x.out[mark-1] != '{' {
			x.out = append(x.out, ',')
		}
		x.out = append(x.out, f.key...)
		if x.append(f.node) {
			there = true
		} else {
			x.out = x.out[:mark]
		}
	}
	x.out = append(x.out, '}')
	return there
}

// field appends a field that an expression gives.
func (x *run) field(f *field) bool {
	v := x.value(f.node)
	if v.Kind() == cel.None || !x.room(len(f.key)+v.Room()) {
		return false
	}
	if x.out[len(x.out)-1] != '{' {
		x.out = append(x.out, ',')
	}
	x.out = v.AppendJSON(append(x.out, f.key...))
	return len(x.out) <= x.most || x.tooLarge(f.node)
}

// element appends an element of a list, or several.
func (x *run) element(n *node) {
	if n.op == opEach {
		x.elements(n, 0)
		return
	}
	mark := len(x.out)
	if x.out[mark-1] != '[' {
		x.out = append(x.out, ',')
	}
	if !x.append(n) {
		x.out = x.out[:mark]
	}
}

// next sets the variable of a loop to the next element.
func (x *run) next(it *cel.Items, l *loop) bool {
	return x.err == nil && x.env.Next(it, l.slot, l.members)
}

// items begins a loop. What is absent or null has no elements.
func (x *run) items(n *node, l *loop) (it cel.Items) {
	v := x.eval(n, l.list)
	switch k := v.Kind(); k {
	case cel.List:
		if !x.env.Spend(len(v.Raw())) {
			x.fail(n, "it takes more bytes than the limit allows")
			x.err.Limit = true
			return it
		}
		return v.Items(l.list.Type())
	case cel.None, cel.Null:
	default:
		x.fail(n, "$each takes a list, not "+k.String())
	}
	return it
}

// elements appends what the loops make, from the loop number level on.
func (x *run) elements(n *node, level int) {
	if level == len(n.loops) {
		if x.holds(n) {
			x.element(n.body)
		}
		return
	}
	l := &n.loops[level]
	for it := x.items(n, l); x.next(&it, l); {
		x.elements(n, level+1)
	}
}

// join appends the texts that the loops make, without their quotes.
func (x *run) join(n *node, level int) {
	if level == len(n.loops) {
		if !x.holds(n) {
			return
		}
		mark := len(x.out)
		if !x.append(n.body) {
			return
		}
		if x.out[mark] != '"' {
			x.fail(n, "$join takes strings")
			return
		}
		x.out = append(x.out[:mark], x.out[mark+1:len(x.out)-1]...)
		return
	}
	l := &n.loops[level]
	for it := x.items(n, l); x.next(&it, l); {
		x.join(n, level+1)
	}
}

// choose gives the JSON of the case that the value names, nil for none.
func (x *run) choose(n *node) []byte {
	v := x.eval(n, n.expr)
	if k := v.Kind(); k == cel.None || k == cel.Null {
		return n.fallbackIfNot(x.err)
	}
	for i := range n.cases {
		if v.Equal(n.cases[i].name) {
			return n.cases[i].literal
		}
	}
	if n.fallback == nil && !n.lenient {
		var names []byte
		for i := range n.cases {
			if i > 0 {
				names = append(names, ", "...)
			}
			names = append(names, n.cases[i].name...)
		}
		if !x.meter.take(v.Room()) {
			x.lacking()
			return nil
		}
		text := v.AppendJSON(nil)
		if len(text) > 64 {
			text = jsonscan.AppendBytes(nil, text[:60])
		}
		x.say(n, string(text)+" is none of "+string(names))
	}
	return n.fallback
}

// fallbackIfNot gives what stands for a value that is absent: nothing, but where a
// default is said.
func (n *node) fallbackIfNot(err *Error) []byte {
	if err != nil {
		return nil
	}
	return n.fallback
}

// int evaluates a number; what is absent is 0.
func (x *run) int(n *node) int64 {
	if n == nil {
		return 0
	}
	if n.op == opExpr {
		v := x.eval(n, n.expr)
		if i, ok := v.Int(); ok {
			return i
		}
		if k := v.Kind(); k == cel.Double {
			if f := v.Float(); f > math.MinInt64 && f < math.MaxInt64 {
				return int64(f)
			}
		} else if k == cel.None || k == cel.Null {
			return 0
		}
		x.fail(n, "expected an int, this is "+v.Kind().String())
		return 0
	}
	mark := len(x.out)
	if !x.append(n) {
		return 0
	}
	i, _ := cel.JSON(x.out[mark:]).Int()
	x.out = x.out[:mark]
	return i
}

// text evaluates a string: JSON, nil where it is absent or empty. It is a part of the
// input or of out.
func (x *run) text(n *node) []byte {
	if n == nil || n.op == opAbsent {
		return nil
	}
	if n.op == opExpr {
		v := x.eval(n, n.expr)
		switch k := v.Kind(); k {
		case cel.None, cel.Null:
			return nil
		case cel.String:
			if raw := v.Raw(); raw != nil {
				return nonEmpty(raw)
			}
		default:
			x.fail(n, "expected a string, this is "+k.String())
			return nil
		}
		if !x.room(v.Room()) {
			return nil
		}
		mark := len(x.out)
		x.out = v.AppendJSON(x.out)
		return nonEmpty(x.out[mark:len(x.out):len(x.out)])
	}
	raw := x.json(n)
	if raw != nil && raw[0] != '"' {
		x.fail(n, "expected a string")
		return nil
	}
	return nonEmpty(raw)
}

func nonEmpty(raw []byte) []byte {
	if len(raw) <= 2 {
		return nil
	}
	return raw
}

// json evaluates any value to JSON that stays in out; nil where it is absent.
func (x *run) json(n *node) []byte {
	mark := len(x.out)
	if !x.append(n) {
		return nil
	}
	return x.out[mark:len(x.out):len(x.out)]
}
