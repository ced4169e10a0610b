package cel

import (
	"bytes"
	"math"
	"strconv"

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
type Value struct {
	kind  Kind
	opt   bool     // it is an optional
	plain bool     // raw is the text of a String, and not JSON
	num   uint64   // of a Bool, 1 or 0, and of an Int; of a Double where raw is nil
	raw   []byte   // JSON without space around it
	list  *[]Value // of a List that was put together; a pointer keeps values small
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
		return Value{kind: String, raw: raw}
	case '{':
		return Value{kind: Map, raw: raw}
	case '[':
		return Value{kind: List, raw: raw}
	case 't':
		return Value{kind: Bool, num: 1, raw: raw}
	case 'f':
		return Value{kind: Bool, raw: raw}
	case 'n':
		return Value{kind: Null, raw: raw}
	default:
		return number(raw)
	}
}

// Text makes a value of a text.
func Text(s []byte) Value { return Value{kind: String, plain: true, raw: s} }

// Integer makes a value of a number.
func Integer(n int64) Value { return Value{kind: Int, num: uint64(n)} }

// Boolean makes a value of a truth.
func Boolean(b bool) Value {
	if b {
		return Value{kind: Bool, num: 1}
	}
	return Value{kind: Bool}
}

func double(f float64) Value { return Value{kind: Double, num: math.Float64bits(f)} }

// number makes a value of a number of JSON, or of NaN, Infinity or -Infinity.
func number(raw []byte) Value {
	n, digits := uint64(0), raw
	negative := digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 19 {
		return Value{kind: Double, raw: raw}
	}
	for _, c := range digits {
		if c -= '0'; c > 9 {
			return Value{kind: Double, raw: raw}
		}
		n = n*10 + uint64(c)
	}
	switch {
	case negative && n <= 1<<63:
		n = -n
	case negative || n > math.MaxInt64:
		return Value{kind: Double, raw: raw}
	}
	return Value{kind: Int, num: n, raw: raw}
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
	return v.raw
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
	case v.raw == nil:
		return math.Float64frombits(v.num)
	}
	f, _ := strconv.ParseFloat(string(v.raw), 64)
	return f
}

// Equal reports whether the value is the text s. It costs no allocation unless the
// value's JSON has escapes.
func (v Value) Equal(s string) bool {
	switch {
	case v.kind != String:
		return false
	case v.plain:
		return string(v.raw) == s
	case bytes.IndexByte(v.raw, '\\') < 0:
		return string(v.raw[1:len(v.raw)-1]) == s
	}
	return string(jsonscan.AppendText(nil, v.raw)) == s
}

// AppendJSON appends the value as JSON: the bytes that it was read from, where it was
// read. A double that is no number is a string, as ProtoJSON has it, and None is null.
// Half of a surrogate pair becomes U+FFFD.
func (v Value) AppendJSON(dst []byte) []byte {
	switch {
	case v.kind == String && v.plain:
		return jsonscan.AppendString(dst, string(v.raw))
	case v.kind == String && halves(v.raw):
		return jsonscan.AppendString(dst, string(jsonscan.AppendText(nil, v.raw)))
	case v.kind == Double && (v.raw == nil || v.raw[len(v.raw)-1] > '9'):
		return appendDouble(dst, v.float())
	case v.raw != nil:
		return append(dst, v.raw...)
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
		return jsonscan.Room(v.raw)
	case v.raw != nil:
		return len(v.raw) + scalarRoom
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

// elements are those of a List that was put together.
func (v Value) elements() []Value {
	if v.list == nil {
		return nil
	}
	return *v.list
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
	if v.kind == List && v.list == nil && v.raw != nil {
		it.raw, it.next = v.raw, 1
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
	v := it.elem.read(it.raw[i:end])
	if it.next = space(it.raw, end); it.next < len(it.raw) && it.raw[it.next] == ',' {
		it.next++
	}
	return v, true
}

// valueEnd finds the end of a value inside of a list or an object, -1 for none. Most
// are short.
func valueEnd(b []byte, i int) int {
	if i >= len(b) || b[i] == '{' || b[i] == '[' || b[i] == '"' {
		return jsonscan.ValueEnd(b, i)
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
	raw  []byte
	next int
}

func (v Value) members() members {
	if v.kind != Map {
		return members{}
	}
	return members{raw: v.raw, next: 1}
}

// step gives the next member, its key quoted.
func (m *members) step() (key, value []byte, ok bool) {
	i := space(m.raw, m.next)
	if i >= len(m.raw) || m.raw[i] != '"' {
		return nil, nil, false
	}
	end := i + 1
	for end < len(m.raw) && m.raw[end] != '"' && m.raw[end] != '\\' { // names are short
		end++
	}
	if end < len(m.raw) && m.raw[end] == '"' {
		end++
	} else if end = jsonscan.TextEnd(m.raw, end); end < 0 {
		return nil, nil, false
	}
	key = m.raw[i:end]
	i = space(m.raw, space(m.raw, end)+1)
	if end = valueEnd(m.raw, i); end < 0 {
		return nil, nil, false
	}
	value = m.raw[i:end]
	if m.next = space(m.raw, end); m.next < len(m.raw) && m.raw[m.next] == ',' {
		m.next++
	}
	return key, value, true
}
