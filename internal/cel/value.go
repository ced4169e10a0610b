package cel

import (
	"bytes"
	"math"
	"strconv"
	"unsafe"

	"sluice/internal/jsonscan"
)

// Kind is what a value is.
type Kind uint8

// The kinds of values. None is no value: an optional that is empty.
const (
	None Kind = iota
	Null
	Bool
	Int    // 64 bits
	Double // 64 bits
	String
	List
	Map
	failed // no value: an error, which the Env has
)

var kindNames = [...]string{"nothing", "null", "a bool", "an int", "a double", "a string", "a list", "a map", "an error"}

// String names the kind with its article, as errors do.
func (k Kind) String() string { return kindNames[k] }

// Value is a value of an expression. Most are a part of a JSON document, whose bytes
// must not change while the value is used. The zero Value is None.
//
// It has four fields and 32 bytes, which is the most that the compiler keeps in registers:
// evaluating is passing values on, and through memory each takes several times as long.
type Value struct {
	head
	n   int            // how many of what p points at
	num uint64         // of a Bool, 1 or 0, and of an Int; of a Double where there is no JSON
	p   unsafe.Pointer // the bytes, or the elements of a List that was made; nil for neither
}

type head struct {
	kind  Kind
	opt   bool // it is an optional
	plain bool // the bytes are the text of a String, and not JSON without space around it
	made  bool // p is the elements
}

// of makes a value that is read from JSON, but for a Bool and an Int.
func of(k Kind, raw []byte) Value {
	return Value{head: head{kind: k}, n: len(raw), p: unsafe.Pointer(unsafe.SliceData(raw))}
}

// listOf makes a List.
func listOf(list []Value) Value {
	return Value{head: head{kind: List, made: true}, n: len(list), p: unsafe.Pointer(unsafe.SliceData(list))}
}

// raw gives the bytes, nil where there are none.
func (v Value) raw() []byte {
	if v.made {
		return nil
	}
	return unsafe.Slice((*byte)(v.p), v.n)
}

// elements are those of a List that was made.
func (v Value) elements() []Value {
	if !v.made {
		return nil
	}
	return unsafe.Slice((*Value)(v.p), v.n)
}

// with gives a number or a truth the JSON that it was read from.
func (v Value) with(raw []byte) Value {
	v.n, v.p = len(raw), unsafe.Pointer(unsafe.SliceData(raw))
	return v
}

// JSON makes a value of one JSON document, which must be valid.
func JSON(raw []byte) Value { return read(trim(raw)) }

// read is JSON for what has no space around it.
func read(raw []byte) Value {
	if len(raw) == 0 {
		return Value{}
	}
	switch raw[0] {
	case '"':
		return of(String, raw)
	case '{':
		return of(Map, raw)
	case '[':
		return of(List, raw)
	case 't':
		return Boolean(true).with(raw)
	case 'f':
		return Boolean(false).with(raw)
	case 'n':
		return of(Null, raw)
	default:
		return number(raw)
	}
}

// Text makes a value of a text.
func Text(s []byte) Value {
	return Value{head: head{kind: String, plain: true}, n: len(s), p: unsafe.Pointer(unsafe.SliceData(s))}
}

// Integer makes a value of a number.
func Integer(n int64) Value { return Value{head: head{kind: Int}, num: uint64(n)} }

// Boolean makes a value of a truth.
func Boolean(b bool) Value {
	if b {
		return Value{head: head{kind: Bool}, num: 1}
	}
	return Value{head: head{kind: Bool}}
}

func double(f float64) Value { return Value{head: head{kind: Double}, num: math.Float64bits(f)} }

// number makes a value of a number of JSON, or of NaN, Infinity or -Infinity.
func number(raw []byte) Value {
	n, digits := uint64(0), raw
	negative := digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 19 {
		return of(Double, raw)
	}
	for _, c := range digits {
		if c -= '0'; c > 9 {
			return of(Double, raw)
		}
		n = n*10 + uint64(c)
	}
	switch {
	case negative && n <= 1<<63:
		n = -n
	case negative || n > math.MaxInt64:
		return of(Double, raw)
	}
	return Integer(int64(n)).with(raw)
}

func trim(raw []byte) []byte {
	for len(raw) > 0 && raw[0] <= ' ' {
		raw = raw[1:]
	}
	for len(raw) > 0 && raw[len(raw)-1] <= ' ' {
		raw = raw[:len(raw)-1]
	}
	return raw
}

// Kind is what the value is; of an optional, what it holds.
func (v Value) Kind() Kind { return v.kind }

// Raw gives the JSON that the value is a part of, without a copy; nil for one that was
// computed.
func (v Value) Raw() []byte {
	if v.plain {
		return nil
	}
	return v.raw()
}

// Bool reports whether the value is true.
func (v Value) Bool() bool { return v.kind == Bool && v.num == 1 }

// Int gives an Int, and whether it is one.
func (v Value) Int() (int64, bool) { return int64(v.num), v.kind == Int }

// Float gives a number as a double.
func (v Value) Float() float64 { return v.float() }

// float gives a Double or an Int as a double.
func (v Value) float() float64 {
	switch {
	case v.kind == Int:
		return float64(int64(v.num))
	case v.raw() == nil:
		return math.Float64frombits(v.num)
	}
	f, _ := strconv.ParseFloat(string(v.raw()), 64)
	return f
}

// Equal reports whether the value is the text s. It costs no allocation unless the
// value's JSON has escapes.
func (v Value) Equal(s string) bool {
	switch {
	case v.kind != String:
		return false
	case v.plain:
		return string(v.raw()) == s
	case bytes.IndexByte(v.raw(), '\\') < 0:
		return string(v.raw()[1:len(v.raw())-1]) == s
	}
	return string(jsonscan.AppendText(nil, v.raw())) == s
}

// AppendJSON appends the value as JSON: the bytes that it was read from, where it was
// read. A double that is no number is a string, as ProtoJSON has it, and None is null.
// Half of a surrogate pair becomes U+FFFD.
func (v Value) AppendJSON(dst []byte) []byte {
	switch {
	case v.kind == String && v.plain:
		return jsonscan.AppendBytes(dst, v.raw())
	case v.kind == String && halves(v.raw()):
		return jsonscan.AppendBytes(dst, jsonscan.AppendText(nil, v.raw()))
	case v.kind == Double && (v.raw() == nil || v.raw()[len(v.raw())-1] > '9'):
		return appendDouble(dst, v.float())
	case v.raw() != nil:
		return append(dst, v.raw()...)
	}
	switch v.kind {
	case Bool:
		return strconv.AppendBool(dst, v.num == 1)
	case Int:
		return strconv.AppendInt(dst, int64(v.num), 10)
	case List:
		dst = append(dst, '[')
		for i, e := range v.elements() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.AppendJSON(dst)
		}
		return append(dst, ']')
	default:
		return append(dst, "null"...)
	}
}

// scalarRoom is what a number or a truth takes at most, in bytes.
const scalarRoom = 32

// Room is how many bytes AppendJSON appends at most.
func (v Value) Room() int {
	switch {
	case v.kind == String && v.plain:
		return jsonscan.Room(v.raw())
	case v.raw() != nil:
		return len(v.raw()) + scalarRoom
	}
	n := scalarRoom
	for _, e := range v.elements() {
		n += e.Room() + 1
	}
	return n
}

// halves reports whether a JSON string may have half of a surrogate pair in it.
func halves(raw []byte) bool {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 || i+2 >= len(raw) {
			return false
		}
		if raw[i+1] == 'u' && raw[i+2]|0x20 == 'd' {
			return true
		}
		raw = raw[i+2:]
	}
}

func appendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// Items walks over the elements of a list.
type Items struct {
	raw  []byte
	next int
	list []Value
	elem *Type
}

// Items gives the elements of a list, whose type is t, nil for any.
func (v Value) Items(t *Type) Items {
	it := Items{list: v.elements()}
	if t != nil {
		it.elem = t.Elem
	}
	if v.kind == List && !v.made && v.n > 0 {
		it.raw, it.next = v.raw(), 1
	}
	return it
}

// Next gives the next element, and whether there is one.
func (it *Items) Next() (Value, bool) {
	if it.raw == nil {
		if it.next >= len(it.list) {
			return Value{}, false
		}
		it.next++
		return it.list[it.next-1], true
	}
	i := space(it.raw, it.next)
	if i >= len(it.raw) || it.raw[i] == ']' {
		return Value{}, false
	}
	end := valueEnd(it.raw, i)
	if end < 0 {
		return Value{}, false
	}
	it.pass(end)
	return it.elem.read(it.raw[i:end]), true
}

// pass goes on behind an element that ends at end.
func (it *Items) pass(end int) {
	if it.next = space(it.raw, end); it.next < len(it.raw) && it.raw[it.next] == ',' {
		it.next++
	}
}

// object gives the members of the next element where that is an object, whose end is not
// looked for: whoever has gone over the members knows it.
func (it *Items) object() (members, bool) {
	if it.raw == nil {
		return members{}, false
	}
	at := space(it.raw, it.next)
	if at >= len(it.raw) || it.raw[at] != '{' {
		return members{}, false
	}
	it.next = at
	return members{raw: it.raw[at:], next: 1}, true
}

// ended gives the element of which all is over, and goes on behind it.
func (it *Items) ended(all *members) (Value, bool) {
	end := space(all.raw, all.next)
	if end >= len(all.raw) || all.raw[end] != '}' { // it is no JSON
		return Value{}, false
	}
	v := of(Map, all.raw[:end+1])
	it.pass(it.next + end + 1)
	return v, true
}

// end is where the list ends of which Next has given all elements, -1 for nowhere.
func (it *Items) end() int {
	if i := space(it.raw, it.next); i < len(it.raw) && it.raw[i] == ']' {
		return i + 1
	}
	return -1
}

// valueEnd finds the end of a value inside of a list or an object, -1 for none. Most
// are short.
func valueEnd(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return jsonscan.TextEnd(b, i+1)
	case '{', '[':
		return jsonscan.NestedEnd(b, i+1, 1)
	}
	start := i
	for i < len(b) && b[i] > ' ' && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' {
		i++
	}
	return i
}

// members walks over the members of an object.
type members struct {
	raw     []byte
	next    int
	escaped bool // the key has escapes
}

func (v Value) members() members {
	if v.kind != Map {
		return members{}
	}
	return members{raw: v.raw(), next: 1}
}

// step gives the next member, its key quoted.
func (m *members) step() (key, value []byte, ok bool) {
	if key, ok = m.key(); !ok {
		return nil, nil, false
	}
	i := m.next
	end := valueEnd(m.raw, i)
	if end < 0 {
		return nil, nil, false
	}
	m.pass(end)
	return key, m.raw[i:end], true
}

// key gives the next member's key, and leaves next where its value begins.
func (m *members) key() (key []byte, ok bool) {
	i := space(m.raw, m.next)
	if i >= len(m.raw) || m.raw[i] != '"' {
		return nil, false
	}
	end := m.keyEnd(i + 1)
	if end < 0 {
		return nil, false
	}
	if m.next = end + 1; end >= len(m.raw) || m.raw[end] != ':' {
		m.next = space(m.raw, end) + 1
	}
	m.next = space(m.raw, m.next)
	return m.raw[i:end], true
}

// keyEnd finds the end of the key of which i is inside. Most are short and have no
// escapes.
func (m *members) keyEnd(i int) int {
	m.escaped = false
	for stop := min(i+32, len(m.raw)); i < stop; i++ {
		switch m.raw[i] {
		case '"':
			return i + 1
		case '\\':
			m.escaped = true
			return jsonscan.TextEnd(m.raw, i)
		}
	}
	m.escaped = true // it may have some
	return jsonscan.TextEnd(m.raw, i)
}

// name gives the text of the key, which is a part of it unless it has escapes.
func (m *members) name(e *Env, key []byte) []byte {
	if m.escaped {
		return e.unquote(key)
	}
	return key[1 : len(key)-1]
}

// pass goes on behind a value that ends at end.
func (m *members) pass(end int) {
	if m.next = space(m.raw, end); m.next < len(m.raw) && m.raw[m.next] == ',' {
		m.next++
	}
}
