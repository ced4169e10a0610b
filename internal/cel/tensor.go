package cel

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// outputNames are what tensor looks for in an output.
var outputNames = []string{"name", "datatype", "contents"} //nolint:gochecknoglobals // a table that nobody writes

// output is one of a reply.
type output struct {
	name, kind []byte
	raw        Value // its bytes in base64, None where it has them by their type
	contents   Value
}

// tensor gives the elements of an output of a reply in the Open Inference Protocol, as a
// list: of the message ModelInferResponse the output that is called so. It has them where
// its place is in raw_output_contents, or by their type in its contents; an output that
// is not there has none. Bytes that are no text in UTF-8 become U+FFFD.
func tensor(e *Env, pos int, args []Value) Value {
	reply, name := args[0], e.textOf(args[1])
	if !e.index(pos, reply) {
		return Value{head: head{kind: failed}}
	}
	for i := range e.outputs {
		out := &e.outputs[i]
		if !bytes.Equal(out.name, name) {
			continue
		}
		if raw, ok := e.decode(pos, out.raw); ok {
			return e.unpack(pos, raw, out.kind)
		} else if e.over() {
			return Value{head: head{kind: failed}}
		}
		return e.contents(pos, out.contents)
	}
	return e.listFrom(len(e.values))
}

// index finds the outputs of a reply, unless they are those of the last call.
func (e *Env) index(pos int, reply Value) (ok bool) {
	if len(e.replied) == len(reply.raw()) && len(e.replied) > 0 && &e.replied[0] == &reply.raw()[0] {
		return true
	}
	e.outputs, e.replied = e.outputs[:0], nil
	var raws Items
	for all := reply.members(); ; {
		key, more := all.key()
		if !more {
			break
		}
		end := -1
		switch string(all.name(e, key)) {
		case "outputs":
			end = e.indexOutputs(pos, all.raw, all.next)
		case "raw_output_contents":
			if all.next < len(all.raw) && all.raw[all.next] == '[' {
				raws = Items{raw: all.raw, next: all.next + 1}
			}
		}
		if end < 0 {
			end = valueEnd(all.raw, all.next)
		}
		if end < 0 || !e.spend(pos, 1, end-all.next) {
			break
		}
		all.pass(end)
	}
	for i := range e.outputs {
		raw, more := raws.Next()
		if !more || raw.kind != String {
			break
		}
		e.outputs[i].raw = raw
	}
	e.replied = reply.raw()
	return !e.over()
}

// indexOutputs takes the outputs of a list that begins at i, and finds its end, -1 where
// there is no list.
func (e *Env) indexOutputs(pos int, raw []byte, i int) (end int) {
	e.outputs = e.outputs[:0]
	if i >= len(raw) || raw[i] != '[' {
		return -1
	}
	for it := (Items{raw: raw, next: i + 1}); ; {
		var o [3]Value // of outputNames
		if _, more := e.pickNext(pos, &it, outputNames, o[:]); !more {
			return it.end()
		}
		var ok bool
		if e.outputs, ok = extended(e, pos, e.outputs); !ok {
			return -1
		}
		e.outputs = append(e.outputs, output{e.textIfText(o[0]), e.textIfText(o[1]), Value{}, o[2]})
	}
}

// decode gives what a string says in base64.
func (e *Env) decode(pos int, v Value) ([]byte, bool) {
	if v.kind != String {
		return nil, false
	}
	text := e.textOf(v)
	start, ok := e.begin(pos, base64.StdEncoding.DecodedLen(len(text)))
	if !ok {
		return nil, false
	}
	out, err := base64.StdEncoding.AppendDecode(e.text, text)
	if err != nil || !e.spend(pos, 1, len(out)-start) {
		return nil, false
	}
	e.text = out
	return out[start:len(out):len(out)], true
}

// asText gives bytes as a text.
func (e *Env) asText(pos int, b []byte) (Value, bool) {
	if utf8.Valid(b) {
		return Text(b), true
	}
	if !e.room(pos, 3*len(b)) {
		return Value{}, false
	}
	return Text(bytes.ToValidUTF8(b, []byte("\uFFFD"))), true
}

// sizes are how many bytes a number takes.
var sizes = map[string]int{ //nolint:gochecknoglobals // a table that nobody writes
	"BOOL": 1, "INT8": 1, "UINT8": 1, "INT16": 2, "UINT16": 2, "INT32": 4, "UINT32": 4, "INT64": 8, "UINT64": 8, "FP32": 4, "FP64": 8,
}

// unpack makes a list of elements that stand in a row, in little-endian order; those of
// BYTES have their length before them, in four bytes.
func (e *Env) unpack(pos int, raw, kind []byte) Value {
	start := len(e.values)
	size, known := sizes[string(kind)]
	if !known && string(kind) != "BYTES" {
		return e.fail(pos, "tensors of the type "+string(kind)+" cannot be read; "+
			"known are BYTES, BOOL, FP32, FP64 and ints")
	}
	for len(raw) > 0 {
		if !e.spend(pos, 1, valueBytes) {
			return Value{head: head{kind: failed}}
		}
		n, from := size, 0
		if !known {
			if from = 4; len(raw) >= 4 {
				n = int(binary.LittleEndian.Uint32(raw))
			}
		}
		if len(raw) < from || len(raw)-from < n {
			return e.fail(pos, "a tensor ends within an element")
		}
		b := raw[from : from+n]
		raw = raw[from+n:]
		var v Value
		switch string(kind) {
		case "BYTES":
			var ok bool
			if v, ok = e.asText(pos, b); !ok {
				return Value{head: head{kind: failed}}
			}
		case "BOOL":
			v = Boolean(b[0] != 0)
		case "FP32":
			v = double(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		case "FP64":
			v = double(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		default:
			v = Integer(unpackInt(b, kind[0] == 'I'))
		}
		if !e.push(pos, v) {
			return Value{head: head{kind: failed}}
		}
	}
	return e.listFrom(start)
}

func unpackInt(b []byte, signed bool) int64 {
	var wide [8]byte
	copy(wide[:], b)
	n := binary.LittleEndian.Uint64(wide[:])
	if shift := 64 - 8*len(b); signed {
		return int64(n<<shift) >> shift
	}
	return int64(n)
}

// typed are the names that contents of each type have.
var typed = []string{"bytes_contents", "bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents", "fp32_contents", "fp64_contents"} //nolint:gochecknoglobals // a table that nobody writes

// contents gives the elements of an output that has them by their type.
func (e *Env) contents(pos int, c Value) Value {
	start := len(e.values)
	var in [8]Value // of typed
	if !e.pick(pos, c, typed, in[:]) {
		return Value{head: head{kind: failed}}
	}
	for i, list := range in {
		if list.kind != List {
			continue
		}
		it := list.Items(nil)
		for v, more := it.Next(); more; v, more = it.Next() {
			ok := true
			if i == 0 {
				b, sound := e.decode(pos, v)
				if !sound {
					break
				}
				v, ok = e.asText(pos, b)
			} else if v.kind == String { // ProtoJSON has ints of 64 bits so
				v = intType.read(v.raw())
			}
			if !ok || !e.spend(pos, 1, len(v.raw())+valueBytes) || !e.push(pos, v) {
				return Value{head: head{kind: failed}}
			}
		}
		break
	}
	if e.over() {
		return Value{head: head{kind: failed}}
	}
	return e.listFrom(start)
}
