package mapping

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/cel"
	"sluice/internal/jsonscan"
	"sluice/internal/nearest"
)

// op is what a node does.
type op uint8

const (
	opLiteral op = iota
	opExpr
	opObject
	opList   // items, each a value or an opEach
	opEach   // body for each element, as elements of a list
	opIf     // then or els
	opEnum   // the case that the value names
	opJoin   // opEach whose texts are put together
	opJSON   // the body's JSON as a string
	opAbsent // nothing: one of the calls has no such part
)

// node is a part of a mapping, compiled.
type node struct {
	op     op
	line   int
	path   string
	param  string // the place in the client's request, as Error.Param has it
	target target

	literal   []byte // JSON
	expr      *cel.Program
	fields    []field // of an object
	items     []*node
	loops     []loop
	cond      *cel.Program // of opIf and opEach, or of an object; nil for none
	then, els *node        // nil for absent
	body      *node
	cases     []enumCase
	fallback  []byte // of opEnum; nil for none
	lenient   bool   // opEnum: what no case names is absent, and no error
	keep      bool   // an object that is there even where all its fields are absent
}

type field struct {
	id   int
	key  []byte // quoted, with the colon
	node *node
	desc protoreflect.FieldDescriptor // nil where it is none of a message that is sent
}

type loop struct {
	slot    int
	members *cel.Members // of its variable
	list    *cel.Program
}

type enumCase struct {
	name    string
	literal []byte
}

// compiler compiles the parts of one file.
type compiler struct {
	*faults
	types
	vars  []cel.Var
	roots []string // of vars, in the client's request; nil for a reply
	call  string   // "unary" or "stream" in what is said of a reply, else ""
	depth int

	prompts bool            // an expression of a request uses the prompt
	asks    map[string]bool // members of the body that expressions of a request look for
	asksAny bool            // or any
	decodes bool            // one of a reply looks into bytes
}

// node compiles what n says for a target.
func (c *compiler) node(n ast.Node, t target, path string) *node {
	if tag, ok := n.(*ast.TagNode); ok {
		n = tag.Value
	}
	out := &node{line: lineOf(n), path: path, target: t, op: opAbsent}
	if c.depth++; c.depth > maxDepth {
		c.add(n, path, "nested too deep")
		return out
	}
	defer func() { c.depth-- }()
	switch n := n.(type) {
	case nil, *ast.NullNode:
		c.add(n, path, "nothing stands here; leave the key out")
		return out
	case *ast.AnchorNode, *ast.AliasNode:
		c.add(n, path, "anchors and aliases are not supported; write the value out")
		return out
	case *ast.SequenceNode:
		return c.sequence(n, out)
	}
	if expr, ok := expression(n); ok {
		out.op, out.expr = opExpr, c.expr(n, expr, path)
		out.param = c.param(out.expr)
		if out.expr != nil && !t.suits(out.expr.Type()) {
			c.add(n, path, "is %s, and the expression gives %s", t.words1(), typeWords(out.expr.Type()))
		}
		return out
	}
	if text, ok := scalar(n); ok {
		out.op, out.literal = opLiteral, c.literal(n, text, &t, path)
		return out
	}
	pairs, ok := c.pairs(n, path)
	if !ok {
		c.add(n, path, "unexpected value")
		return out
	}
	if c.call != "" && len(pairs) > 0 && !slices.ContainsFunc(pairs, func(p pair) bool { return p.key != "unary" && p.key != "stream" }) {
		if v := find(pairs, c.call); v != nil {
			return c.node(v, t, path)
		}
		return out
	}
	return c.section(n, pairs, out)
}

func typeWords(t *cel.Type) string {
	if t.Kind == cel.List && t.Elem != nil && t.Elem.Kind != cel.None {
		return "a list, each element " + t.Elem.Kind.String()
	}
	return t.Kind.String()
}

func (c *compiler) expr(n ast.Node, text, path string) *cel.Program {
	p, err := cel.Compile(text, c.vars)
	if err != nil {
		c.add(n, path, "%v", err)
		return nil
	}
	c.prompts, c.decodes = c.prompts || p.Uses(promptVar), c.decodes || p.Decodes()
	if c.asks != nil {
		names, any := p.Members(bodyVar)
		for _, name := range names {
			c.asks[name] = true
		}
		c.asksAny = c.asksAny || any
	}
	return p
}

func (c *compiler) sequence(n *ast.SequenceNode, out *node) *node {
	if !out.target.list && out.target.kind != anyKind {
		c.add(n, out.path, "is %s, not a list", out.target.words1())
		return out
	}
	out.op = opList
	for i, v := range n.Values {
		path := out.path + "[" + strconv.Itoa(i) + "]"
		if pairs, ok := v.(ast.MapNode); ok && hasKey(pairs, "$each") {
			out.items = append(out.items, c.node(v, out.target, path)) // its elements are of this list
			continue
		}
		item := c.node(v, out.target.elem(), path)
		item.keep = true
		out.items = append(out.items, item)
	}
	return out
}

func hasKey(m ast.MapNode, key string) bool {
	for it := m.MapRange(); it.Next(); {
		if s, ok := scalar(it.KeyValue().Key); ok && s == key {
			return true
		}
	}
	return false
}

// commands are the keys that say how a value is made, and with which others.
var commands = map[string][]string{ //nolint:gochecknoglobals // a table that nobody writes
	"$each": {"$each", "$if", "$join"},
	"$enum": {"$enum", "$default"},
	"$then": {"$if", "$then", "$else"},
	"$json": {"$json"},
	"":      {"$if"},
}

// section compiles a mapping node: a message, or commands.
func (c *compiler) section(n ast.Node, pairs []pair, out *node) *node {
	form := ""
	for _, f := range []string{"$each", "$enum", "$then", "$json"} {
		if find(pairs, f) != nil {
			form = f
			break
		}
	}
	rest := pairs[:0:0]
	for _, p := range pairs {
		if !strings.HasPrefix(p.key, "$") {
			rest = append(rest, p)
			continue
		}
		if p.key == "$mode" && out.target.name == usageName { // the loader has read it
			continue
		}
		if !slices.Contains(commands[form], p.key) {
			c.unknownCommand(p, form, out.path)
		}
	}
	cond := find(pairs, "$if")
	switch form {
	case "$each":
		return c.each(n, pairs, rest, out)
	case "$enum":
		return c.enumeration(pairs, rest, out)
	case "$json":
		if t := &out.target; t.list || t.isMap || t.kind != stringKind && t.kind != bytesKind {
			c.add(n, out.path, "is %s; $json makes a string", t.words1())
		}
		for _, p := range rest {
			c.add(p.node, out.path, "%q beside $json: put it inside", p.key)
		}
		out.op, out.body = opJSON, c.node(find(pairs, "$json"), target{}, out.path+".$json")
		return out
	case "$then":
		out.op = opIf
		if out.cond = c.condition(cond, out.path+".$if"); cond == nil {
			c.add(n, out.path, "$then without $if")
		}
		for _, p := range rest {
			c.add(p.node, out.path, "%q beside $then: put it inside", p.key)
		}
		out.then = c.node(find(pairs, "$then"), out.target, out.path)
		if els := find(pairs, "$else"); els != nil {
			out.els = c.node(els, out.target, out.path)
		}
		return out
	}
	if cond != nil {
		out.cond = c.condition(cond, out.path+".$if")
	}
	return c.object(n, rest, out)
}

func (c *compiler) unknownCommand(p pair, form, path string) {
	var known []string
	for _, list := range commands {
		known = append(known, list...)
	}
	switch {
	case slices.Contains(known, p.key) && form != "":
		c.add(p.node, path, "%s does not go with %s", p.key, form)
	case slices.Contains(known, p.key):
		c.add(p.node, path, "%s stands alone; it belongs to %s", p.key, map[string]string{"$else": "$if and $then", "$default": "$enum", "$join": "$each"}[p.key])
	case nearest.Name(p.key, known) != "":
		c.add(p.node, path, "unknown command %q; did you mean %q?", p.key, nearest.Name(p.key, known))
	default:
		c.add(p.node, path, "unknown command %q; known are $each, $if, $then, $else, $enum, $default, $json and $join", p.key)
	}
}

// condition compiles an expression that gives a bool.
func (c *compiler) condition(n ast.Node, path string) *cel.Program {
	if n == nil {
		return nil
	}
	text, ok := expression(n)
	if !ok {
		c.add(n, path, "must be an expression, which begins with =")
		return nil
	}
	p := c.expr(n, text, path)
	if p != nil && p.Type() != nil && p.Type().Kind != cel.None && p.Type().Kind != cel.Bool {
		c.add(n, path, "a condition is a bool, and the expression gives %s", typeWords(p.Type()))
	}
	return p
}

func (c *compiler) object(n ast.Node, rest []pair, out *node) *node {
	t := &out.target
	out.op = opObject
	switch {
	case t.list:
		c.add(n, out.path, "is a list: write $each, a list or an expression")
		return out
	case !t.isMap && t.kind != messageKind && t.kind != anyKind:
		c.add(n, out.path, "is %s, not a section of keys", t.words1())
		return out
	}
	var set []pair
	for _, p := range rest {
		path := out.path + "." + p.key
		m := &member{name: p.key, target: t.elem()}
		switch {
		case t.isMap:
		case t.kind == anyKind:
			m.target = target{}
		default:
			if m = t.field(p.key); m == nil {
				c.add(p.node, out.path, "%v", noField(t.name, p.key, t.names))
				continue
			}
		}
		set = append(set, p)
		out.fields = append(out.fields, field{m.id, append(jsonscan.AppendString(nil, m.name), ':'), c.node(p.value, m.target, path), m.desc})
	}
	if !t.isMap && t.kind == messageKind {
		c.whole(n, out, set)
	}
	return out
}

// each compiles a loop: over the fields beside it, or over texts to join.
func (c *compiler) each(n ast.Node, pairs, rest []pair, out *node) *node {
	scope := len(c.vars)
	defer func() {
		c.vars = c.vars[:scope:scope]
		if c.roots != nil {
			c.roots = c.roots[:scope:scope]
		}
	}()
	clauses := []ast.Node{find(pairs, "$each")}
	if list, ok := clauses[0].(*ast.SequenceNode); ok {
		clauses = list.Values
	}
	for _, clause := range clauses {
		c.loop(clause, out)
	}
	out.cond = c.condition(find(pairs, "$if"), out.path+".$if")
	if join := find(pairs, "$join"); join != nil {
		out.op = opJoin
		if out.target.list || out.target.kind != stringKind && out.target.kind != anyKind {
			c.add(join, out.path, "is %s; $join makes a string", out.target.words1())
		}
		for _, p := range rest {
			c.add(p.node, out.path, "%q beside $join", p.key)
		}
		out.body = c.node(join, target{kind: stringKind}, out.path+".$join")
		return out
	}
	out.op = opEach
	if !out.target.list && out.target.kind != anyKind {
		c.add(n, out.path, "is %s, not a list: $each makes one, or a string with $join", out.target.words1())
		return out
	}
	// A list of values, and not of messages, has one expression for them.
	body := &node{line: out.line, path: out.path, param: out.param, target: out.target.elem(), keep: true}
	if v := find(rest, "value"); v != nil && len(rest) == 1 && body.target.kind != messageKind {
		out.body = c.node(v, body.target, out.path+".value")
		return out
	}
	out.body = c.object(n, rest, body)
	return out
}

func (c *compiler) loop(clause ast.Node, out *node) {
	path := out.path + ".$each"
	text, _ := scalar(clause)
	name, list, ok := strings.Cut(text, " in ")
	name = strings.TrimSpace(name)
	if !ok || !isName(name) {
		c.add(clause, path, "must be as %q", "x in req.list")
		return
	}
	p := c.expr(clause, list, path)
	v := cel.Var{Name: name, Members: new(cel.Members)}
	if p != nil && p.Type() != nil {
		switch t := p.Type(); t.Kind {
		case cel.List:
			v.Type = t.Elem
		case cel.None, cel.Null:
		default:
			c.add(clause, path, "the expression gives %s, not a list", t.Kind)
		}
	}
	out.loops = append(out.loops, loop{len(c.vars), v.Members, p})
	c.vars = append(c.vars, v)
	if c.roots != nil {
		root := nowhere
		if out.param = c.param(p); out.param != "" {
			root = out.param + "[]"
		}
		c.roots = append(c.roots, root)
	}
}

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func (c *compiler) enumeration(pairs, rest []pair, out *node) *node {
	out.op = opEnum
	n := find(pairs, "$enum")
	text, ok := expression(n)
	if !ok {
		c.add(n, out.path, "$enum must be an expression, which begins with =")
		return out
	}
	out.expr = c.expr(n, text, out.path)
	out.param = c.param(out.expr)
	var names protoreflect.EnumDescriptor // that the value may have
	if out.expr != nil {
		if t := out.expr.Type(); t != nil {
			names, _ = t.Of.(protoreflect.EnumDescriptor)
			if t.Kind != cel.None && t.Kind != cel.String {
				c.add(n, out.path, "$enum tells strings apart, and the expression gives %s", typeWords(t))
			}
		}
	}
	for _, p := range rest {
		if names != nil && names.Values().ByName(protoreflect.Name(p.key)) == nil {
			c.add(p.node, out.path, "%s", unknownName(names, p.key))
		}
		text, ok := scalar(p.value)
		if !ok {
			c.add(p.value, out.path+"."+p.key, "must be a single value")
			continue
		}
		out.cases = append(out.cases, enumCase{p.key, c.literal(p.value, text, &out.target, out.path+"."+p.key)})
	}
	if len(rest) == 0 {
		c.add(n, out.path, "$enum without a case")
	}
	if d := find(pairs, "$default"); d != nil {
		text, ok := scalar(d)
		if !ok {
			c.add(d, out.path+".$default", "must be a single value")
			return out
		}
		out.fallback = c.literal(d, text, &out.target, out.path+".$default")
	}
	out.lenient = c.call != ""
	return out
}

func unknownName(e protoreflect.EnumDescriptor, name string) string {
	names := make([]string, e.Values().Len())
	for i := range names {
		names[i] = string(e.Values().Get(i).Name())
	}
	return "enum " + unknownWord(string(e.FullName()), name, names)
}

func unknownWord(of, name string, names []string) string {
	s := of + " has no " + strconv.Quote(name)
	switch near := nearest.Name(name, names); {
	case near != "":
		return s + "; did you mean " + strconv.Quote(near) + "?"
	case len(names) <= 12:
		return s + "; known are " + strings.Join(names, ", ")
	}
	return s
}

// literal gives the JSON of a value that stands in the mapping.
func (c *compiler) literal(n ast.Node, text string, t *target, path string) []byte {
	wrong := func() []byte {
		c.add(n, path, "is %s, not %.80q", t.words1(), text)
		return []byte("null")
	}
	quoted := false
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		quoted = true
	case *ast.NullNode:
		return wrong()
	}
	if t.list || t.isMap {
		return wrong()
	}
	switch t.kind {
	case messageKind, vectorKind:
		return wrong()
	case enumKind:
		if number, err := strconv.ParseInt(text, 10, 32); err == nil && !quoted {
			return strconv.AppendInt(nil, number, 10)
		}
		if t.enum.Values().ByName(protoreflect.Name(text)) == nil {
			c.add(n, path, "%s", unknownName(t.enum, text))
		}
		return jsonscan.AppendString(nil, text)
	case stringKind, bytesKind:
		if !quoted {
			c.add(n, path, "is %s, not %s: put it in quotes", t.words1(), text)
		}
		if t.words != nil && !slices.Contains(t.words, text) {
			c.add(n, path, "%s", unknownWord("it", text, t.words))
		}
		return jsonscan.AppendString(nil, text)
	}
	if b, ok := n.(*ast.BoolNode); ok {
		if t.kind != boolKind && t.kind != anyKind {
			return wrong()
		}
		return strconv.AppendBool(nil, b.Value)
	}
	if quoted {
		if t.kind != anyKind {
			return wrong()
		}
		return jsonscan.AppendString(nil, text)
	}
	return number(text, t, wrong)
}

// number gives the JSON of a number as YAML spells it.
func number(text string, t *target, wrong func() []byte) []byte {
	clean := strings.ReplaceAll(text, "_", "")
	if i, err := strconv.ParseInt(clean, 0, 64); err == nil {
		switch {
		case t.kind == boolKind, t.kind == intKind && (t.plus && i < 0 || t.bits == 32 && !t.plus && i != int64(int32(i)) || t.bits == 32 && t.plus && i > math.MaxUint32):
			return wrong()
		}
		return strconv.AppendInt(nil, i, 10)
	}
	if u, err := strconv.ParseUint(clean, 0, 64); err == nil && t.kind == intKind && t.plus && t.bits == 64 {
		return strconv.AppendUint(nil, u, 10)
	}
	f, err := strconv.ParseFloat(clean, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(f) || math.IsInf(f, 0) || t.kind != floatKind && t.kind != anyKind {
		return wrong()
	}
	return strconv.AppendFloat(nil, f, 'g', -1, 64)
}
