package protobuf

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// singular writes a member that is no list or map. A zero that means absent is
// left out.
func (d *decoder) singular(f *field, b []byte, i int) int {
	shown := f.presence || d.options.EmitUnpopulated
	switch f.wire {
	case protowire.BytesType:
		i, stop := d.length(b, i)
		if i < 0 || (i == stop && !shown) {
			return i
		}
		d.key(f)
		return d.chunk(f, b[:stop], i)
	case protowire.StartGroupType:
		d.key(f)
		return d.message(f.msg, b, i, f.num)
	default:
		bits, next := d.bits(f, b, i)
		if next < 0 || (bits == 0 && !shown) {
			return next
		}
		d.key(f)
		d.scalar(f, bits)
		return next
	}
}

// value writes one value, of a list, a map or a member.
func (d *decoder) value(f *field, b []byte, i int) int {
	switch f.wire {
	case protowire.BytesType:
		i, stop := d.length(b, i)
		if i < 0 {
			return i
		}
		return d.chunk(f, b[:stop], i)
	case protowire.StartGroupType:
		return d.message(f.msg, b, i, f.num)
	default:
		bits, next := d.bits(f, b, i)
		if next >= 0 {
			d.scalar(f, bits)
		}
		return next
	}
}

// chunk writes the text, bytes or message that is the rest of b.
func (d *decoder) chunk(f *field, b []byte, i int) int {
	switch f.kind {
	case protoreflect.StringKind:
		return d.text(b, i)
	case protoreflect.BytesKind:
		if d.spans() {
			d.place(i, len(b))
			return len(b)
		}
		if n := base64.StdEncoding.EncodedLen(len(b) - i); d.short(d.out, n) && !d.grow(n) {
			return -1
		}
		d.out = append(d.out, '"')
		d.out = base64.StdEncoding.AppendEncode(d.out, b[i:])
		d.out = append(d.out, '"')
		return len(b)
	default:
		return d.message(f.msg, b, i, 0)
	}
}

// text writes a string. JSON cannot hold wrong UTF-8, so that is refused also
// where the schema does not ask.
func (d *decoder) text(b []byte, i int) int {
	if n := len(b) - i; d.short(d.out, 6*n) {
		if n = textRoom(b[i:]); d.short(d.out, n) && !d.grow(n) {
			return -1
		}
	}
	var ok bool
	if d.out, ok = appendText(d.out, b[i:]); !ok {
		return d.fail(i, "invalid UTF-8 in a string")
	}
	return len(b)
}

// packed writes the elements of a list that are the rest of b.
func (d *decoder) packed(f *field, b []byte, i int) int {
	if f.kind == protoreflect.FloatKind {
		return d.floats(b, i)
	}
	for i < len(b) {
		bits, next := d.bits(f, b, i)
		if next < 0 {
			return -1
		}
		d.comma()
		d.scalar(f, bits)
		if i = d.fits(next); i < 0 {
			return -1
		}
	}
	return i
}

// floats is packed for embeddings.
func (d *decoder) floats(b []byte, i int) int {
	if (len(b)-i)%4 != 0 {
		return d.fail(len(b), "unexpected end inside a number")
	}
	if d.spans() {
		d.comma()
		d.place(i, len(b))
		return len(b)
	}
	for ; i < len(b); i += 4 {
		d.comma()
		d.out = appendFloat32(d.out, math.Float32frombits(binary.LittleEndian.Uint32(b[i:])))
		if d.fits(i) < 0 {
			return -1
		}
	}
	return i
}

// spans reports whether places are written in place of values. What was put together
// in scratch stands nowhere in the input.
func (d *decoder) spans() bool { return d.options.Spans && d.moved < 0 }

// place writes where a value stands in the input.
func (d *decoder) place(start, end int) {
	d.out = append(d.out, `"@`...)
	d.out = strconv.AppendInt(d.out, int64(start), 10)
	d.out = append(d.out, ':')
	d.out = strconv.AppendInt(d.out, int64(end), 10)
	d.out = append(d.out, '"')
}

// ParseSpan reads a place that Options.Spans had written, as JSON: the half-open range
// of the input that begins at start. ok is false for any other JSON.
func ParseSpan(raw []byte) (start, end int, ok bool) {
	if len(raw) < 6 || raw[1] != '@' || raw[len(raw)-1] != '"' {
		return 0, 0, false
	}
	first, second, _ := bytes.Cut(raw[2:len(raw)-1], []byte(":"))
	start, err := strconv.Atoi(string(first))
	end, err2 := strconv.Atoi(string(second))
	return start, end, err == nil && err2 == nil && 0 <= start && start <= end
}

// bits reads a number, bool or enum. What it returns is zero exactly where the
// value is the zero of its kind; a 32-bit kind is in the lower half.
func (d *decoder) bits(f *field, b []byte, i int) (uint64, int) {
	var v uint64
	switch f.wire {
	case protowire.Fixed32Type:
		next := d.fixed(b, i, 4)
		if next < 0 {
			return 0, -1
		}
		return uint64(binary.LittleEndian.Uint32(b[i:])), next
	case protowire.Fixed64Type:
		next := d.fixed(b, i, 8)
		if next < 0 {
			return 0, -1
		}
		return binary.LittleEndian.Uint64(b[i:]), next
	}
	v, i = d.varint(b, i)
	switch f.kind {
	case protoreflect.BoolKind:
		if v != 0 {
			v = 1
		}
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.EnumKind:
		v = uint64(uint32(v))
	case protoreflect.Sint32Kind:
		v = uint64(uint32(protowire.DecodeZigZag(v & math.MaxUint32)))
	case protoreflect.Sint64Kind:
		v = uint64(protowire.DecodeZigZag(v))
	}
	return v, i
}

// scalar writes what bits returned.
func (d *decoder) scalar(f *field, bits uint64) {
	switch f.kind {
	case protoreflect.BoolKind:
		d.out = strconv.AppendBool(d.out, bits != 0)
	case protoreflect.EnumKind:
		d.enum(f.enum, int32(bits))
	case protoreflect.FloatKind:
		d.out = appendFloat32(d.out, math.Float32frombits(uint32(bits)))
	case protoreflect.DoubleKind:
		d.out = appendFloat(d.out, math.Float64frombits(bits), 64)
	default:
		if is64(f.kind) {
			d.out = append(d.out, '"')
			d.integer(f.kind, bits)
			d.out = append(d.out, '"')
			return
		}
		d.integer(f.kind, bits)
	}
}

func (d *decoder) integer(k protoreflect.Kind, bits uint64) {
	switch k {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		d.out = strconv.AppendInt(d.out, int64(int32(bits)), 10)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		d.out = strconv.AppendInt(d.out, int64(bits), 10)
	default:
		d.out = strconv.AppendUint(d.out, bits, 10)
	}
}

func (d *decoder) enum(e *enum, n int32) {
	if e.null {
		d.out = append(d.out, "null"...)
		return
	}
	if !d.options.UseEnumNumbers {
		if name := e.quoted(n); name != nil {
			d.out = append(d.out, name...)
			return
		}
	}
	d.out = strconv.AppendInt(d.out, int64(n), 10)
}
