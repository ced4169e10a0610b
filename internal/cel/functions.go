package cel

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"sluice/internal/jsonscan"
)

// function is one that is called by its name, or as a method of its first argument.
type function struct {
	args [][]Kind // that each may be; nil for any
	typ  *Type
	// lifted has an optional for an argument give an optional, as CEL's own functions
	// do not.
	lifted  bool
	decodes bool // it looks into bytes
	dear    bool // it costs more than to keep what it gives
	call    func(e *Env, pos int, args []Value) Value
}

var (
	texts      = []Kind{String}                    //nolint:gochecknoglobals // a table that nobody writes
	containers = []Kind{String, List, Map}         //nolint:gochecknoglobals // a table that nobody writes
	scalars    = []Kind{Bool, Int, Double, String} //nolint:gochecknoglobals // a table that nobody writes
)

var size = &function{args: [][]Kind{containers}, typ: intType, call: sizeOf} //nolint:gochecknoglobals // a table that nobody writes

// functions are called by their names.
var functions = map[string]*function{ //nolint:gochecknoglobals // a table that nobody writes
	"size":     size,
	"string":   {args: [][]Kind{scalars}, typ: stringType, call: toString},
	"int":      {args: [][]Kind{scalars[1:]}, typ: intType, call: toInt},
	"double":   {args: [][]Kind{scalars[1:]}, typ: doubleType, call: toDouble},
	"json":     {args: [][]Kind{nil}, typ: stringType, lifted: true, call: toJSON},
	"parse":    {args: [][]Kind{texts}, lifted: true, dear: true, call: parse},
	"parts":    {args: [][]Kind{nil}, typ: listType, lifted: true, call: parts},
	"list":     {args: [][]Kind{nil}, typ: listType, lifted: true, call: toList},
	"base64":   {args: [][]Kind{texts}, typ: stringType, lifted: true, call: toBase64},
	"unbase64": {args: [][]Kind{texts}, typ: stringType, lifted: true, decodes: true, dear: true, call: fromBase64},
	"hex":      {args: [][]Kind{texts}, typ: stringType, lifted: true, call: toHex},
	"turns":    {args: [][]Kind{{List}}, typ: listType, lifted: true, dear: true, call: turns},
	"unhex":    {args: [][]Kind{texts}, typ: stringType, lifted: true, dear: true, call: fromHex},
	"tensor":   {args: [][]Kind{{Map}, texts}, typ: listType, lifted: true, decodes: true, dear: true, call: tensor},
}

// methods are called behind their first argument and a point.
var methods = map[string]*function{ //nolint:gochecknoglobals // a table that nobody writes
	"size":       size,
	"startsWith": {args: [][]Kind{texts, texts}, typ: boolType, call: compareTexts(bytes.HasPrefix)},
	"endsWith":   {args: [][]Kind{texts, texts}, typ: boolType, call: compareTexts(bytes.HasSuffix)},
	"contains":   {args: [][]Kind{texts, texts}, typ: boolType, call: compareTexts(bytes.Contains)},
	"split":      {args: [][]Kind{texts, texts, {Int}}, typ: &Type{Kind: List, Elem: stringType}, call: split},
}

// call evaluates the arguments and calls a function.
func (e *Env) call(n *node) Value {
	base := len(e.stack)
	v, optional := e.arguments(n)
	if v.kind != failed && !(optional && v.kind == None) {
		if v = n.fn.call(e, n.pos, e.stack[base:]); v.kind != failed {
			v.opt = optional
		}
	}
	e.stack = e.stack[:base]
	return v
}

// arguments evaluates those of a call. It gives what the call gives if that is not
// made: an error, or an optional that is empty.
func (e *Env) arguments(n *node) (v Value, optional bool) {
	for i, a := range n.args {
		v = e.eval(a)
		if v.kind == failed {
			return v, false
		}
		if v.opt && n.fn.lifted {
			optional = true
			if v.kind == None {
				return v, true
			}
			v.opt = false
		}
		if kinds := n.fn.args[i]; v.opt || kinds != nil && !isOne(v.kind, kinds) {
			return e.fail(a.pos, "this takes no "+what(v)), false
		}
		e.stack = append(e.stack, v)
	}
	return v, optional
}

func isOne(k Kind, kinds []Kind) bool {
	for _, one := range kinds {
		if k == one {
			return true
		}
	}
	return false
}

// what names a value in errors.
func what(v Value) string {
	name := v.kind.String()
	for _, article := range [...]string{"a ", "an "} {
		if rest, ok := strings.CutPrefix(name, article); ok {
			name = rest
			break
		}
	}
	if v.opt {
		return "optional " + name
	}
	return name
}

// made gives the text that was appended to e.text since it was start long.
func (e *Env) made(pos, start int) Value {
	if !e.spend(pos, 1, len(e.text)-start) {
		return Value{head: head{kind: failed}}
	}
	return Text(e.text[start:len(e.text):len(e.text)])
}

func sizeOf(e *Env, pos int, args []Value) Value {
	v := args[0]
	if !e.spend(pos, 1, len(v.raw())) {
		return Value{head: head{kind: failed}}
	}
	n := 0
	switch {
	case v.kind == String:
		n = utf8.RuneCount(e.textOf(v))
	case v.kind == Map:
		n = e.distinct(pos, v)
	case v.raw() == nil:
		n = len(v.elements())
	default:
		it := v.Items(nil)
		for _, ok := it.Next(); ok; _, ok = it.Next() {
			n++
		}
		e.steps -= n
	}
	if n < 0 {
		return Value{head: head{kind: failed}}
	}
	return Integer(int64(n))
}

// distinct counts the names of an object's members, -1 beyond the limits.
func (e *Env) distinct(pos int, v Value) (n int) {
	all := v.members()
	for key, _, ok := all.step(); ok; key, _, ok = all.step() {
		name, twice := e.unquote(key), false
		rest := all
		for k, _, ok := rest.step(); ok && !twice; k, _, ok = rest.step() {
			twice = e.isKey(k, name)
			if !e.spend(pos, 1, len(k)) {
				return -1
			}
		}
		if !twice {
			n++
		}
	}
	return n
}

func toString(e *Env, pos int, args []Value) Value {
	v := args[0]
	if v.kind == String {
		return v
	}
	start, ok := e.begin(pos, scalarRoom)
	if !ok {
		return Value{head: head{kind: failed}}
	}
	switch v.kind {
	case Bool:
		e.text = strconv.AppendBool(e.text, v.num == 1)
	case Int:
		e.text = strconv.AppendInt(e.text, int64(v.num), 10)
	default:
		e.text = strconv.AppendFloat(e.text, v.float(), 'g', -1, 64)
	}
	return e.made(pos, start)
}

func toInt(e *Env, pos int, args []Value) Value {
	switch v := args[0]; v.kind {
	case Int:
		return Value{head: head{kind: Int}, num: v.num}
	case Double:
		// CEL leaves out the least int too.
		if f := v.float(); f > math.MinInt64 && f < math.MaxInt64 {
			return Integer(int64(f))
		}
		return e.fail(pos, "the number is too large for an int")
	default:
		n, err := strconv.ParseInt(string(e.textOf(v)), 10, 64)
		if err != nil {
			return e.fail(pos, "the string is no int")
		}
		return Integer(n)
	}
}

func toDouble(e *Env, pos int, args []Value) Value {
	v := args[0]
	if v.kind != String {
		return double(v.float())
	}
	f, err := strconv.ParseFloat(string(e.textOf(v)), 64)
	if err != nil {
		return e.fail(pos, "the string is no double")
	}
	return double(f)
}

func toJSON(e *Env, pos int, args []Value) Value {
	v := args[0]
	if v.raw() != nil && v.kind != String && v.kind != Double {
		return Text(v.raw()) // as it came, without a copy
	}
	start, ok := e.begin(pos, v.Room())
	if !ok {
		return Value{head: head{kind: failed}}
	}
	e.text = v.AppendJSON(e.text)
	return e.made(pos, start)
}

func parse(e *Env, pos int, args []Value) Value {
	text := e.textOf(args[0])
	if !e.spend(pos, 1, 2*len(text)) {
		return Value{head: head{kind: failed}}
	}
	if err := jsonscan.Validate(text, 0); err != nil {
		return e.fail(pos, "the string is no JSON: "+err.Error())
	}
	return JSON(text)
}

// parts gives a message's content as a list of parts, whatever form it has.
func parts(e *Env, pos int, args []Value) Value {
	switch v := args[0]; v.kind {
	case List:
		return v
	case Null:
		return Value{head: head{kind: List}}
	case String:
		start, ok := e.begin(pos, v.Room()+64)
		if !ok {
			return Value{head: head{kind: failed}}
		}
		e.text = append(e.text, `[{"type":"text","text":`...)
		e.text = v.AppendJSON(e.text)
		e.text = append(e.text, "}]"...)
		made := e.made(pos, start)
		if made.kind == failed {
			return made
		}
		return of(List, made.raw())
	default:
		return e.fail(pos, "content is a string or a list, not "+v.kind.String())
	}
}

// toList gives what may be a list or one element of it as a list.
func toList(e *Env, pos int, args []Value) Value {
	switch v := args[0]; v.kind {
	case List:
		return v
	case Null:
		return Value{head: head{kind: List}}
	default:
		start := len(e.values)
		if !e.push(pos, v) {
			return Value{head: head{kind: failed}}
		}
		return e.listFrom(start)
	}
}

func toBase64(e *Env, pos int, args []Value) Value {
	text := e.textOf(args[0])
	start, ok := e.begin(pos, base64.StdEncoding.EncodedLen(len(text)))
	if !ok {
		return Value{head: head{kind: failed}}
	}
	e.text = base64.StdEncoding.AppendEncode(e.text, text)
	return e.made(pos, start)
}

func fromBase64(e *Env, pos int, args []Value) Value {
	text := e.textOf(args[0])
	start, ok := e.begin(pos, base64.StdEncoding.DecodedLen(len(text)))
	if !ok {
		return Value{head: head{kind: failed}}
	}
	out, err := base64.StdEncoding.AppendDecode(e.text, text)
	if err != nil {
		return e.fail(pos, "the string is no base64")
	}
	return e.decoded(pos, start, out)
}

func toHex(e *Env, pos int, args []Value) Value {
	text := e.textOf(args[0])
	start, ok := e.begin(pos, hex.EncodedLen(len(text)))
	if !ok {
		return Value{head: head{kind: failed}}
	}
	e.text = hex.AppendEncode(e.text, text)
	return e.made(pos, start)
}

func fromHex(e *Env, pos int, args []Value) Value {
	text := e.textOf(args[0])
	start, ok := e.begin(pos, hex.DecodedLen(len(text)))
	if !ok {
		return Value{head: head{kind: failed}}
	}
	out, err := hex.AppendDecode(e.text, text)
	if err != nil {
		return e.fail(pos, "the string is no hex")
	}
	return e.decoded(pos, start, out)
}

// decoded is made for bytes that need not be text.
func (e *Env) decoded(pos, start int, out []byte) Value {
	if !utf8.Valid(out[start:]) {
		return e.fail(pos, "the bytes are no text in UTF-8")
	}
	e.text = out
	return e.made(pos, start)
}

func compareTexts(compare func(text, part []byte) bool) func(*Env, int, []Value) Value {
	return func(e *Env, pos int, args []Value) Value {
		text, part := e.textOf(args[0]), e.textOf(args[1])
		if !e.spend(pos, 1, len(text)) {
			return Value{head: head{kind: failed}}
		}
		return Boolean(compare(text, part))
	}
}

// split cuts a text at a separator, into a number of pieces at most, as bytes.SplitN.
func split(e *Env, pos int, args []Value) Value {
	text, separator, n := e.textOf(args[0]), e.textOf(args[1]), int64(args[2].num)
	if !e.spend(pos, 1, len(text)) {
		return Value{head: head{kind: failed}}
	}
	start := len(e.values)
	for n != 0 {
		at := bytes.Index(text, separator)
		if len(separator) == 0 {
			_, at = utf8.DecodeRune(text)
			if at == len(text) {
				at = -1
			}
		}
		if n == 1 || at < 0 {
			if (len(text) > 0 || len(separator) > 0) && !e.push(pos, Text(text)) {
				return Value{head: head{kind: failed}}
			}
			break
		}
		if !e.spend(pos, 1, valueBytes) || !e.push(pos, Text(text[:at])) {
			return Value{head: head{kind: failed}}
		}
		text = text[at+len(separator):]
		n--
	}
	return e.listFrom(start)
}

// valueBytes is about what an element of a list takes that was put together.
const valueBytes = 64

// listFrom makes a list of what was appended to e.values since it was start long.
func (e *Env) listFrom(start int) Value {
	// What was appended stays where it is when e.values grows.
	return listOf(e.values[start:])
}
