package cel

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	maxExpr  = 8 << 10 // bytes
	maxDepth = 64      // of parentheses, brackets and calls
)

// Var is a variable. Its number is its place among those given to Compile.
type Var struct {
	Name string
	Type *Type // nil for any

	// Members is shared by all expressions that look into the variable while it has one
	// value; with nil each looks on its own.
	Members *Members
}

// Program is a compiled expression. It is safe for concurrent use, each with an Env of
// its own.
type Program struct {
	expr string
	root *node
	used []int // variables, by their numbers

	decodes bool
}

// Decodes reports whether the expression looks into bytes, which it has to have as
// base64 then.
func (p *Program) Decodes() bool { return p.decodes }

// Uses reports whether the expression looks at the variable number i.
func (p *Program) Uses(i int) bool { return slices.Contains(p.used, i) }

// op is what a node does.
type op uint8

const (
	opConst op = iota
	opVar
	opSteps // a, then the steps
	opHas   // opSteps, whether the last is there
	opList
	opNot
	opNegate
	opAnd
	opOr
	opCond
	opEqual
	opUnequal
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opIn
	opAdd
	opSubtract
	opCall // of a function
	opOptOr
	opOptOrValue
)

// node is an operation and its operands.
type node struct {
	op      op
	pos     int
	typ     *Type // of the value, nil for any
	a, b, c *node
	args    []*node
	slot    int   // of a variable
	value   Value // of a constant
	steps   []step
	fn      *function

	// Of a variable, and of a call that is evaluated once while its one variable, of the
	// slot, has one value; nil for any other.
	members *Members
	place   int

	whole    int  // of a path: the place of its end, where that has one; else 0
	optional bool // of a path: one of its steps is
}

// step is a selection or an index.
type step struct {
	pos      int
	optional bool
	name     []byte // of a selection, or an index that is a constant string
	index    *node  // any other
	typ      *Type  // of the result
	zero     Value  // of a member that is not there
	place    int    // of the result, where the steps before have one too; 0 for none
}

// Compile compiles an expression in which the variables may stand. Its fault is an
// *Error.
func Compile(expr string, vars []Var) (*Program, error) {
	p := &parser{expr: expr, vars: slices.Clone(vars)}
	for i := range p.vars {
		if p.vars[i].Members == nil {
			p.vars[i].Members = new(Members)
		}
		p.vars[i].Members.root()
	}
	if len(expr) > maxExpr {
		return nil, &Error{Expr: expr[:64] + "…", Msg: "the expression is longer than 8 KiB"}
	}
	p.next()
	root := p.cond()
	if p.err == nil && p.tok.kind != 'e' {
		p.unexpected()
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Program{expr: expr, root: root, used: p.used, decodes: p.decodes}, nil
}

// Type gives what is known of the value, nil for nothing.
func (p *Program) Type() *Type { return p.root.typ }

// parser compiles as it reads. After a fault all tokens are the end.
type parser struct {
	expr  string
	vars  []Var
	at    int
	tok   token
	depth int
	used  []int
	err   error

	decodes bool
}

func (p *parser) fail(pos int, msg string) *node {
	if p.err == nil {
		p.err = &Error{Expr: p.expr, Offset: pos, Msg: msg}
	}
	p.at, p.tok = len(p.expr), token{kind: 'e', pos: len(p.expr)}
	return &node{pos: pos}
}

func (p *parser) unexpected() *node {
	if p.tok.kind == 'e' {
		return p.fail(p.tok.pos, "unexpected end")
	}
	return p.fail(p.tok.pos, "unexpected "+strconv.Quote(p.tok.text))
}

// is reports whether the next token is one of the operators.
func (p *parser) is(ops ...string) bool {
	return p.tok.kind == 'o' && slices.Contains(ops, p.tok.text)
}

// accept takes an operator if it comes next.
func (p *parser) accept(op string) bool {
	if !p.is(op) {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(op string) {
	if !p.accept(op) {
		if p.tok.kind == 'e' {
			p.fail(p.tok.pos, "unexpected end, expected "+strconv.Quote(op))
			return
		}
		p.fail(p.tok.pos, "unexpected "+strconv.Quote(p.tok.text)+", expected "+strconv.Quote(op))
	}
}

func (p *parser) cond() *node {
	if p.depth++; p.depth > maxDepth {
		return p.fail(p.tok.pos, "nested too deeply")
	}
	defer func() { p.depth-- }()
	n := p.or()
	if !p.is("?") {
		return n
	}
	pos := p.tok.pos
	p.want(n, Bool)
	p.next()
	n = &node{op: opCond, pos: pos, a: n, b: p.or()}
	p.expect(":")
	n.c = p.cond()
	n.typ = either(n.b.typ, n.c.typ)
	return n
}

// either is the type of what has one of two types.
func either(a, b *Type) *Type {
	switch {
	case a == b:
		return a
	case a == nil || b == nil || a.Kind != b.Kind || a.Kind == Map || a.Kind == None:
		return nil
	case a.Kind != List || either(a.Elem, b.Elem) != nil || a.Elem == nil && b.Elem == nil:
		return a
	}
	return nil
}

// want fails where the node is known to be none of the kinds.
func (p *parser) want(n *node, kinds ...Kind) {
	if k := n.typ.kind(); k != None && len(kinds) > 0 && !slices.Contains(kinds, k) && p.err == nil {
		names := make([]string, len(kinds))
		for i, k := range kinds {
			names[i] = k.String()
		}
		p.fail(n.pos, "expected "+strings.Join(names, " or ")+", this is "+k.String())
	}
}

func (p *parser) or() *node {
	n := p.and()
	for p.is("||") {
		n = p.logic(opOr, n, p.and)
	}
	return n
}

func (p *parser) and() *node {
	n := p.relation()
	for p.is("&&") {
		n = p.logic(opAnd, n, p.relation)
	}
	return n
}

func (p *parser) logic(op op, a *node, operand func() *node) *node {
	pos := p.tok.pos
	p.want(a, Bool)
	p.next()
	b := operand()
	p.want(b, Bool)
	return &node{op: op, pos: pos, a: a, b: b, typ: boolType}
}

var relations = map[string]op{"==": opEqual, "!=": opUnequal, "<": opLess, "<=": opLessEqual, ">": opGreater, ">=": opGreaterEqual, "in": opIn} //nolint:gochecknoglobals // a table that nobody writes

func (p *parser) relation() *node {
	n := p.sum()
	for {
		op, ok := relations[p.tok.text]
		if !ok || p.tok.kind != 'o' && (p.tok.kind != 'i' || op != opIn) {
			return n
		}
		pos := p.tok.pos
		p.next()
		n = &node{op: op, pos: pos, a: n, b: p.sum(), typ: boolType}
		switch op {
		case opEqual, opUnequal:
			if !comparable(n.a.typ.kind(), n.b.typ.kind()) {
				p.fail(pos, n.a.typ.kind().String()+" never equals "+n.b.typ.kind().String())
			}
		case opIn:
			p.want(n.b, List, Map)
		}
	}
}

// comparable reports whether values of two kinds may be equal.
func comparable(a, b Kind) bool {
	return a == b || a == None || b == None || a == Null || b == Null || a+b == Int+Double
}

func (p *parser) sum() *node {
	n := p.unary()
	for p.is("+", "-") {
		op, pos := opAdd, p.tok.pos
		if p.tok.text == "-" {
			op = opSubtract
		}
		p.next()
		n = &node{op: op, pos: pos, a: n, b: p.unary()}
		kinds := []Kind{Int, Double, String, List}
		if op == opSubtract {
			kinds = kinds[:2]
		}
		p.want(n.a, kinds...)
		p.want(n.b, kinds...)
		n.typ = either(n.a.typ, n.b.typ)
	}
	return n
}

// unary reads a run of ! or -, of which two cancel each other, as in cel-go whatever
// they stand before.
func (p *parser) unary() *node {
	if !p.is("!", "-") {
		return p.member()
	}
	sign, pos := p.tok.text, p.tok.pos
	odd := false
	for p.accept(sign) {
		odd = !odd
		if sign == "-" && p.tok.kind == 'n' && odd {
			return p.chain(p.number(true))
		}
	}
	n := p.member()
	if !odd {
		return n
	}
	if sign == "!" {
		p.want(n, Bool)
		return &node{op: opNot, pos: pos, a: n, typ: boolType}
	}
	p.want(n, Int, Double)
	return &node{op: opNegate, pos: pos, a: n, typ: n.typ}
}

func (p *parser) member() *node { return p.chain(p.primary()) }

// chain reads what follows an operand: selections, indexes and calls of methods.
func (p *parser) chain(n *node) *node {
	for {
		pos := p.tok.pos
		switch {
		case p.accept("."):
			optional := p.accept("?")
			name := p.tok
			if name.kind != 'i' || slices.Contains(literals, name.text) {
				return p.unexpected()
			}
			p.next()
			if !optional && p.is("(") {
				n = p.method(n, name)
				continue
			}
			n = p.step(n, step{pos: name.pos, optional: optional, name: []byte(name.text)})
		case p.accept("["):
			s := step{pos: pos, optional: p.accept("?")}
			s.index = p.cond()
			p.expect("]")
			if k := s.index.typ.kind(); k == Null || k == List || k == Map {
				p.fail(s.index.pos, "an index is a string or an int, this is "+k.String())
			}
			if s.index.op == opConst && s.index.value.kind == String {
				s.name, s.index = s.index.value.raw(), nil
			}
			n = p.step(n, s)
		default:
			return n
		}
	}
}

// step adds a step to a path.
func (p *parser) step(n *node, s step) *node {
	if p.err != nil {
		return n
	}
	switch t := n.typ; {
	case t.kind() == None:
	case t.Kind == Map && s.name != nil && t.Field != nil:
		typ, err := t.Field(string(s.name))
		if err != nil {
			return p.fail(s.pos, err.Error())
		}
		if s.typ = typ; typ != nil {
			s.zero = typ.Zero
		}
	case t.Kind == Map && (s.name != nil || t.Field == nil), t.Kind == List && s.name == nil:
		s.typ = t.Elem
		if s.index != nil && t.Kind == List {
			p.want(s.index, Int, Double)
		}
	case s.name != nil:
		return p.fail(s.pos, t.Kind.String()+" has no member "+strconv.Quote(string(s.name)))
	default:
		return p.fail(s.pos, t.Kind.String()+" has no elements")
	}
	if n.op != opSteps {
		n = &node{op: opSteps, pos: n.pos, a: n}
	}
	from, last := n.a.place, len(n.steps)-1
	if last >= 0 {
		from = n.steps[last].place
	}
	if n.a.members != nil && s.name != nil && (from > 0 || last < 0) {
		s.place = n.a.members.member(from, string(s.name), s.typ)
	}
	n.whole, n.optional = s.place, n.optional || s.optional
	n.steps, n.typ = append(n.steps, s), s.typ
	return n
}

// literals are the words that are no names at all; reserved ones are only no names of
// variables and functions.
var (
	literals = []string{"in", "true", "false", "null"}                                                                                //nolint:gochecknoglobals // a table that nobody writes
	reserved = strings.Fields("as break const continue else for function if import let loop package namespace return var void while") //nolint:gochecknoglobals // a table that nobody writes
)

func (p *parser) primary() *node {
	t := p.tok
	switch {
	case t.kind == 'n':
		return p.number(false)
	case t.kind == 'o' && t.text == "-":
		// !-1 is well-formed, if wrong.
		if p.next(); p.tok.kind == 'n' {
			return p.number(true)
		}
		return p.unexpected()
	case t.kind == 's':
		p.next()
		return &node{pos: t.pos, value: Text([]byte(t.text)), typ: stringType}
	case p.accept("("):
		n := p.cond()
		p.expect(")")
		if n.op == opSteps || n.op == opHas {
			// What follows is another path: an optional is not looked into twice.
			return &node{op: opSteps, pos: n.pos, a: n, typ: n.typ}
		}
		return n
	case p.accept("["):
		n := &node{op: opList, pos: t.pos, typ: listType}
		if n.args = p.list("]"); len(n.args) > 0 {
			elem := n.args[0].typ
			for _, a := range n.args[1:] {
				elem = either(elem, a.typ)
			}
			n.typ = &Type{Kind: List, Elem: elem}
		}
		return n.constant()
	case t.kind == 'i':
		return p.name(t)
	}
	return p.unexpected()
}

// constant makes a list of constants one.
func (n *node) constant() *node {
	list := make([]Value, len(n.args))
	for i, a := range n.args {
		if a.op != opConst {
			return n
		}
		list[i] = a.value
	}
	return &node{pos: n.pos, typ: n.typ, value: listOf(list)}
}

func (p *parser) name(t token) *node {
	p.next()
	switch t.text {
	case "true", "false":
		return &node{pos: t.pos, value: Boolean(t.text == "true"), typ: boolType}
	case "null":
		return &node{pos: t.pos, value: Value{head: head{kind: Null}}, typ: &Type{Kind: Null}}
	case "in":
		return p.fail(t.pos, `unexpected "in"`)
	}
	if slices.Contains(reserved, t.text) {
		return p.fail(t.pos, strconv.Quote(t.text)+" is a reserved word")
	}
	if p.accept("(") {
		before := len(p.used)
		n := p.call(t, functions, p.list(")"))
		p.keep(n, p.used[before:], p.expr[t.pos:p.tok.pos])
		return n
	}
	for i := len(p.vars) - 1; i >= 0; i-- {
		if p.vars[i].Name == t.text {
			p.used = append(p.used, i)
			return &node{op: opVar, pos: t.pos, slot: i, typ: p.vars[i].Type, members: p.vars[i].Members}
		}
	}
	names := make([]string, len(p.vars))
	for i, v := range p.vars {
		names[i] = v.Name
	}
	return p.fail(t.pos, "unknown variable "+strconv.Quote(t.text)+"; known are "+strings.Join(names, ", "))
}

// list reads expressions up to a closing bracket.
func (p *parser) list(end string) (args []*node) {
	if p.accept(end) {
		return nil
	}
	for {
		args = append(args, p.cond())
		if !p.accept(",") {
			p.expect(end)
			return args
		}
	}
}

// keep has a call that is dear evaluated once while its variable has one value, where it
// uses one alone.
func (p *parser) keep(n *node, used []int, text string) {
	if n.op != opCall || !n.fn.dear || len(used) == 0 || slices.ContainsFunc(used, func(i int) bool { return i != used[0] }) {
		return
	}
	n.slot, n.members = used[0], p.vars[used[0]].Members
	n.place = n.members.call(strings.TrimSpace(text))
}

func (p *parser) method(n *node, name token) *node {
	p.next()
	args := append([]*node{n}, p.list(")")...)
	switch name.text {
	case "or", "orValue":
		if len(args) != 2 {
			return p.fail(name.pos, name.text+" takes one argument")
		}
		op := opOptOr
		if name.text == "orValue" {
			op = opOptOrValue
		}
		return &node{op: op, pos: name.pos, a: args[0], b: args[1], typ: either(args[0].typ, args[1].typ)}
	}
	return p.call(name, methods, args)
}

func (p *parser) call(name token, known map[string]*function, args []*node) *node {
	if p.err != nil {
		return &node{}
	}
	if name.text == "has" && known["size"] == functions["size"] && len(args) == 1 {
		return p.has(name, args[0])
	}
	f := known[name.text]
	if f == nil {
		return p.fail(name.pos, "unknown function "+strconv.Quote(name.text)+"; known are has, "+strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	if n := len(f.args); len(args) != n {
		return p.fail(name.pos, name.text+" takes "+strconv.Itoa(n)+" arguments, a method's first before its point")
	}
	for i, a := range args {
		p.want(a, f.args[i]...)
	}
	p.decodes = p.decodes || f.decodes
	return &node{op: opCall, pos: name.pos, fn: f, args: args, typ: f.typ}
}

// has makes of the path that its argument is a question whether its end is there.
func (p *parser) has(name token, arg *node) *node {
	last := len(arg.steps) - 1
	if arg.op != opSteps || last < 0 || arg.steps[last].optional || p.expr[arg.steps[last].pos] == '[' {
		return p.fail(name.pos, "has takes a selection, as has(a.b)")
	}
	return &node{op: opHas, pos: name.pos, a: arg.a, steps: arg.steps, typ: boolType}
}

func (p *parser) number(negative bool) *node {
	t := p.tok
	p.next()
	text := t.text
	if negative {
		text = "-" + text
	}
	if strings.ContainsAny(text, ".eE") && !strings.Contains(text, "0x") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return p.fail(t.pos, "the number is too large")
		}
		return &node{pos: t.pos, value: double(f), typ: doubleType}
	}
	base := 10
	if strings.HasPrefix(t.text, "0x") {
		base, text = 16, strings.Replace(text, "0x", "", 1)
	}
	n, err := strconv.ParseInt(text, base, 64)
	if errors.Is(err, strconv.ErrRange) {
		return p.fail(t.pos, "the number is too large")
	} else if err != nil {
		return p.fail(t.pos, "not a number")
	}
	return &node{pos: t.pos, value: Integer(n), typ: intType}
}
