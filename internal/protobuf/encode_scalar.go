package protobuf

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// outcome says what became of a value.
type outcome uint8

const (
	refused outcome = iota
	absent          // the name of an enum that is not known and not asked for
	zero            // written; an implicit field does without it
	set
)

func appendVarint(b []byte, v uint64) []byte { return protowire.AppendVarint(b, v) }

// scalar reads a value that is no message and writes it without its tag.
func (e *encoder) scalar(f *field) outcome {
	e.scalarAt = e.i
	switch f.kind {
	case protoreflect.StringKind:
		if e.peek() != '"' {
			return e.wrong(f)
		}
		size, ok := e.str()
		return e.result(f, size != 0, ok)
	case protoreflect.BytesKind:
		return e.bytes(f)
	case protoreflect.EnumKind:
		return e.enum(f)
	case protoreflect.BoolKind:
		return e.bool(f)
	}
	num := &e.num
	word, ok := e.number(f.kind)
	if !ok {
		return e.wrong(f)
	}
	switch f.kind {
	case protoreflect.DoubleKind:
		var v float64
		if v, ok = word, true; num.raw != nil {
			v, ok = num.double()
		}
		bits := math.Float64bits(v)
		e.out = binary.LittleEndian.AppendUint64(e.out, bits)
		return e.result(f, bits != 0, ok)
	case protoreflect.FloatKind:
		var v float32
		if v, ok = float32(word), true; num.raw != nil {
			v, ok = num.single()
		}
		bits := math.Float32bits(v)
		e.out = binary.LittleEndian.AppendUint32(e.out, bits)
		return e.result(f, bits != 0, ok)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		v, ok := num.unsigned(32)
		e.integer(f.kind, v)
		return e.result(f, v != 0, ok)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		v, ok := num.unsigned(64)
		e.integer(f.kind, v)
		return e.result(f, v != 0, ok)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		v, ok := num.signed(32)
		e.integer(f.kind, uint64(v))
		return e.result(f, v != 0, ok)
	default:
		v, ok := num.signed(64)
		e.integer(f.kind, uint64(v))
		return e.result(f, v != 0, ok)
	}
}

func (e *encoder) result(f *field, nonzero, ok bool) outcome {
	switch {
	case !ok:
		return e.wrong(f)
	case nonzero:
		return set
	default:
		return zero
	}
}

// wrong refuses a value that is not of the type of f.
func (e *encoder) wrong(f *field) outcome {
	e.fail(e.scalarAt, "not a value of type "+f.kind.String())
	return refused
}

// integer writes an integer that is known to be in range.
func (e *encoder) integer(k protoreflect.Kind, v uint64) {
	switch k {
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		e.out = appendVarint(e.out, protowire.EncodeZigZag(int64(v)))
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		e.out = binary.LittleEndian.AppendUint32(e.out, uint32(v))
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		e.out = binary.LittleEndian.AppendUint64(e.out, v)
	default:
		e.out = appendVarint(e.out, v)
	}
}

// number reads a number into e.num, or a string that holds nothing else. Where a
// floating point field has one of the words for what is no number, e.num.raw is
// nil.
func (e *encoder) number(k protoreflect.Kind) (word float64, ok bool) {
	if e.peek() != '"' {
		n := e.num.scan(e.in[e.i:])
		e.i += n
		return 0, n > 0
	}
	t, ok := e.text()
	if !ok {
		return 0, false
	}
	b := e.unescaped(t)
	if k == protoreflect.DoubleKind || k == protoreflect.FloatKind {
		e.num.raw = nil
		switch string(b) {
		case "NaN":
			return math.NaN(), true
		case "Infinity":
			return math.Inf(1), true
		case "-Infinity":
			return math.Inf(-1), true
		}
	}
	n := e.num.scan(b)
	return 0, n > 0 && n == len(b)
}

// bytes reads base64 as protojson does: of either alphabet, with padding where
// the length is a multiple of four and without elsewhere. Package base64 passes
// line ends over, after they have been counted.
func (e *encoder) bytes(f *field) outcome {
	if e.peek() != '"' {
		return e.wrong(f)
	}
	start := e.i
	t, ok := e.text()
	if !ok {
		return refused
	}
	b := e.unescaped(t)
	enc := base64.StdEncoding
	switch url := bytes.ContainsAny(b, "-_"); {
	case url && len(b)%4 == 0:
		enc = base64.URLEncoding
	case url:
		enc = base64.RawURLEncoding
	case len(b)%4 != 0:
		enc = base64.RawStdEncoding
	}
	// Line ends may make it shorter than it seems, and so its length.
	most := enc.DecodedLen(len(b))
	head, at := varintSize(uint64(most)), len(e.out)
	if e.short(e.out, head+most) && !e.grow(head+most) {
		return refused
	}
	e.out = slices.Grow(e.out, head+most)
	n, err := enc.Decode(e.out[at+head:at+head+most], b)
	if err != nil {
		e.fail(start, "not base64")
		return refused
	}
	body := e.out[at+head : at+head+n]
	e.out = appendVarint(e.out, uint64(n))
	e.out = append(e.out, body...)
	return e.result(f, n != 0, true)
}

func (e *encoder) bool(f *field) outcome {
	is := e.peek() == 't'
	if !is && e.peek() != 'f' {
		return e.wrong(f)
	}
	word := "false"
	if is {
		word = "true"
	}
	if !e.literal(word) {
		return refused
	}
	e.out = append(e.out, byte(btoi(is)))
	return e.result(f, is, true)
}

// enum reads an enum by name or number. Any number is taken, even where the
// enum is closed.
func (e *encoder) enum(f *field) outcome {
	start := e.i
	var v int32
	switch c := e.peek(); {
	case c == '"':
		t, ok := e.text()
		if !ok {
			return refused
		}
		if v, ok = f.enum.number(e.unescaped(t)); !ok {
			if e.discard {
				return absent
			}
			e.fail(start, "not a name of enum "+string(f.enum.name))
			return refused
		}
	case c == 'n' && f.null:
		if !e.literal("null") {
			return refused
		}
	default:
		n := e.num.scan(e.in[e.i:])
		wide, ok := int64(0), n > 0
		if ok {
			wide, ok = e.num.signed(32)
		}
		if !ok {
			return e.wrong(f)
		}
		e.i += n
		v = int32(wide)
	}
	e.out = appendVarint(e.out, uint64(int64(v)))
	return e.result(f, v != 0, true)
}
