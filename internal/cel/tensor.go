package cel

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
)

// tensor gives the elements of an output of a reply in the Open Inference Protocol, as a
// list: of the message ModelInferResponse the output that is called so. It has them where
// its place is in raw_output_contents, or by their type in its contents; an output that
// is not there has none. Bytes that are no text in UTF-8 become U+FFFD.
func tensor(e *Env, pos int, args []Value) Value {
	reply, name := args[0], e.textOf(args[1])
	outputs, ok := e.member(pos, reply, "outputs")
	start := len(e.values)
	if !ok || outputs.kind != List {
		return e.listFrom(pos, start)
	}
	it := outputs.Items(nil)
	for i := 0; ; i++ {
		out, more := it.Next()
		if !more || !e.spend(pos, 1, len(out.raw)) {
			break
		}
		if called, ok := e.member(pos, out, "name"); !ok || called.kind != String || !bytes.Equal(e.textOf(called), name) {
			continue
		}
		kind, _ := e.member(pos, out, "datatype")
		if raw, ok := e.rawContents(pos, reply, i); ok {
			return e.unpack(pos, raw, string(e.textOf(kind)))
		}
		return e.contents(pos, out)
	}
	return e.listFrom(pos, start)
}

// member finds a member of a map by its name.
func (e *Env) member(pos int, v Value, name string) (Value, bool) {
	if v.kind != Map {
		return Value{}, false
	}
	raw, _, ok := e.lookup(pos, &v, nil, []byte(name))
	return read(raw), ok
}

// rawContents gives the bytes of the output number i.
func (e *Env) rawContents(pos int, reply Value, i int) ([]byte, bool) {
	list, ok := e.member(pos, reply, "raw_output_contents")
	if !ok || list.kind != List {
		return nil, false
	}
	it := list.Items(nil)
	for ; ; i-- {
		v, more := it.Next()
		if !more || v.kind != String {
			return nil, false
		}
		if i > 0 {
			continue
		}
		if !e.room(pos, 4*len(v.raw)) { // decoded, and as text
			return nil, false
		}
		b, err := base64.StdEncoding.DecodeString(string(e.textOf(v)))
		return b, err == nil && e.spend(pos, 1, len(b))
	}
}

// sizes are how many bytes a number takes.
var sizes = map[string]int{ //nolint:gochecknoglobals // a table that nobody writes
	"BOOL": 1, "INT8": 1, "UINT8": 1, "INT16": 2, "UINT16": 2, "INT32": 4, "UINT32": 4, "INT64": 8, "UINT64": 8, "FP32": 4, "FP64": 8,
}

// unpack makes a list of elements that stand in a row, in little-endian order; those of
// BYTES have their length before them, in four bytes.
func (e *Env) unpack(pos int, raw []byte, kind string) Value {
	start := len(e.values)
	size, known := sizes[kind]
	if !known && kind != "BYTES" {
		return e.fail(pos, "tensors of the type "+kind+" cannot be read; "+
			"known are BYTES, BOOL, FP32, FP64 and ints")
	}
	for len(raw) > 0 {
		if !e.spend(pos, 1, valueBytes) {
			return Value{kind: failed}
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
		switch kind {
		case "BYTES":
			v = Text(bytes.ToValidUTF8(b, []byte("\uFFFD")))
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
			return Value{kind: failed}
		}
	}
	return e.listFrom(pos, start)
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

// contents gives the elements of an output that has them by their type.
func (e *Env) contents(pos int, out Value) Value {
	start := len(e.values)
	c, ok := e.member(pos, out, "contents")
	if !ok {
		return e.listFrom(pos, start)
	}
	if list, ok := e.member(pos, c, "bytes_contents"); ok && list.kind == List {
		it := list.Items(nil)
		for v, more := it.Next(); more && v.kind == String; v, more = it.Next() {
			if !e.room(pos, 4*len(v.raw)) {
				break
			}
			b, err := base64.StdEncoding.DecodeString(string(e.textOf(v)))
			if err != nil || !e.spend(pos, 1, len(b)+valueBytes) || !e.push(pos, Text(bytes.ToValidUTF8(b, []byte("\uFFFD")))) {
				break
			}
		}
		return e.listFrom(pos, start)
	}
	for _, name := range [...]string{"bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents", "fp32_contents", "fp64_contents"} {
		list, ok := e.member(pos, c, name)
		if !ok || list.kind != List {
			continue
		}
		it := list.Items(nil)
		for v, more := it.Next(); more && e.spend(pos, 1, len(v.raw)+valueBytes); v, more = it.Next() {
			if v.kind == String { // ProtoJSON has ints of 64 bits so
				v = intType.read(v.raw)
			}
			if !e.push(pos, v) {
				break
			}
		}
		break
	}
	if e.over() {
		return Value{kind: failed}
	}
	return e.listFrom(pos, start)
}
