package protobuf

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// wellKnown writes the message b[i:] of a well-known type.
func (d *decoder) wellKnown(m *message, b []byte, i int) int {
	switch m.wkt {
	case wktAny:
		return d.anyMessage(m, b, i)
	case wktTimestamp:
		return d.timestamp(m, b, i)
	case wktDuration:
		return d.duration(m, b, i)
	case wktFieldMask:
		return d.fieldMask(m, b, i)
	case wktStruct:
		return d.structMap(m, b, i)
	case wktValue:
		return d.knownValue(m, b, i)
	case wktListValue:
		return d.listValue(m, b, i)
	default:
		return d.wrapper(m, b, i)
	}
}

// next reads tags until that of a field that m has. At the end of b it returns
// nil and len(b); after a fault nil and -1.
func (d *decoder) next(m *message, b []byte, i int) (*field, int) {
	for i < len(b) {
		num, typ, next := d.tag(b, i)
		if next < 0 {
			return nil, -1
		}
		if f := m.byNumber(num); f != nil && typ == f.wire {
			return f, next
		}
		if i = d.skip(b, next, num, typ); i < 0 {
			return nil, -1
		}
	}
	return nil, i
}

// structMap writes a google.protobuf.Struct.
func (d *decoder) structMap(m *message, b []byte, i int) int {
	if d.careful {
		base := len(d.found)
		if !d.find(m, b, i) || !d.entries(&m.fields[0], b, base, len(d.found)) {
			return -1
		}
		d.found = d.found[:base]
		return len(b)
	}
	d.out = append(d.out, '{')
	run := d.keys.start()
	var f *field
	for f, i = d.next(m, b, i); f != nil; f, i = d.next(m, b, i) {
		if i = d.entry(f, b, i, &run); i < 0 {
			return -1
		}
	}
	if i < 0 {
		return -1
	}
	d.keys.end(run)
	d.out = append(d.out, '}')
	return len(b)
}

// listValue writes a google.protobuf.ListValue.
func (d *decoder) listValue(m *message, b []byte, i int) int {
	d.out = append(d.out, '[')
	var f *field
	for f, i = d.next(m, b, i); f != nil; f, i = d.next(m, b, i) {
		d.comma()
		if i = d.value(f, b, i); i < 0 || d.fits(i) < 0 {
			return -1
		}
	}
	if i < 0 {
		return -1
	}
	d.out = append(d.out, ']')
	return len(b)
}

// knownValue writes a google.protobuf.Value, which has one member.
func (d *decoder) knownValue(m *message, b []byte, i int) int {
	begin, left := i, d.left
	f, at := d.next(m, b, i)
	if at < 0 {
		return -1
	}
	if f == nil {
		return d.fail(i, "a google.protobuf.Value without a value")
	}
	rest := d.left
	if i = d.skip(b, at, f.num, f.wire); i < 0 {
		return -1
	}
	if other, end := d.next(m, b, i); end < 0 {
		return -1
	} else if other != nil {
		d.left = left
		return d.lastValue(m, b, begin)
	}
	d.left = rest
	if d.valueMember(f, b, at) < 0 {
		return -1
	}
	return len(b)
}

// lastValue writes a Value of which several members, or parts, came.
func (d *decoder) lastValue(m *message, b []byte, i int) int {
	base := len(d.found)
	if !d.find(m, b, i) {
		return -1
	}
	last := len(d.found)
	f, from := d.found[last-1].f, d.lasting(b, base, last)
	switch {
	case from < 0:
		return -1
	case from < last-1:
		if !d.mergedParts(f, b, from, last) {
			return -1
		}
	case d.valueMember(f, b, d.found[from].at) < 0:
		return -1
	}
	d.found = d.found[:base]
	return len(b)
}

// valueMember writes a member of a Value. JSON has no number for NaN and the
// infinities, and a string would be another Value.
func (d *decoder) valueMember(f *field, b []byte, i int) int {
	if f.kind == protoreflect.DoubleKind {
		bits, next := d.bits(f, b, i)
		if v := math.Float64frombits(bits); next >= 0 && (v != v || math.Abs(v) > math.MaxFloat64) {
			return d.fail(i, "a google.protobuf.Value that is no number JSON has")
		}
	}
	return d.value(f, b, i)
}

// wrapper writes the value of google.protobuf.BoolValue and its kin.
func (d *decoder) wrapper(m *message, b []byte, i int) int {
	v := &m.fields[0]
	buf, at, bits := b[:i], i, uint64(0)
	var f *field
	for f, i = d.next(m, b, i); f != nil; f, i = d.next(m, b, i) {
		if v.wire != protowire.BytesType {
			if bits, i = d.bits(v, b, i); i < 0 {
				return -1
			}
			continue
		}
		begin, end := d.length(b, i)
		if begin < 0 || (v.kind == protoreflect.StringKind && d.checkText(v, b[:end], begin) < 0) {
			return -1
		}
		buf, at, i = b[:end], begin, end
	}
	if i < 0 {
		return -1
	}
	if v.wire != protowire.BytesType {
		d.scalar(v, bits)
	} else if d.chunk(v, buf, at) < 0 {
		return -1
	}
	return len(b)
}
