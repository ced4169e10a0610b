package protobuf

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// part is a field as it stands in a message.
type part struct {
	f        *field
	from, to int // tag included
	value    int // where the value begins, behind its length
}

// inOrder puts the fields of the message in b, which was just written, into the
// order that protojson gives them inside an Any, and so those of the messages
// within. There the bytes are the value, and two that differ are not equal.
func (e *encoder) inOrder(m *message, b []byte) {
	first := len(e.parts)
	inside := m
	for i := 0; i < len(b); {
		num, wire, n := protowire.ConsumeTag(b[i:])
		p := part{from: i, value: i + n}
		p.to = p.value + protowire.ConsumeFieldValue(num, wire, b[p.value:])
		if p.f, _ = m.fieldByNumber(num); p.f == nil || n < 0 || p.to <= i {
			return // not what was written
		}
		i = p.to
		body := b[p.value:p.to]
		switch wire {
		case protowire.BytesType:
			_, n := protowire.ConsumeVarint(body)
			body = body[n:]
			p.value += n
		case protowire.StartGroupType:
			body = body[:len(body)-len(p.f.endTag)]
		}
		e.parts = pushed(e, e.parts, p, 0)
		if e.lack != nil {
			return // the next look at the output ends the work
		}
		switch f := p.f; {
		case m.wkt == wktAny && num == 1:
			inside, _ = e.root.typeByURL(body)
		case m.wkt == wktAny && inside != nil:
			e.inOrder(inside, body)
		case f.isMap && f.val.msg != nil:
			entry := body[protowire.ConsumeFieldValue(1, f.key.wire, body[1:])+1:]
			value, _ := protowire.ConsumeBytes(entry[1:])
			e.inOrder(f.val.msg, value)
		case f.msg != nil:
			e.inOrder(f.msg, body)
		}
	}
	parts := e.parts[first:]
	before := func(x, y part) int { return order(b, x, y) }
	if !slices.IsSortedFunc(parts, before) {
		slices.SortStableFunc(parts, before)
		buf, ok := extended(&e.asker, e.buf[:0], len(b), 0)
		if !ok {
			e.lacks()
			return
		}
		e.buf = append(buf, b...)
		i := 0
		for _, p := range parts {
			i += copy(b[i:], e.buf[p.from:p.to])
		}
	}
	clear(parts) // of pointers into a plan
	e.parts = e.parts[:first]
}

// order compares fields of the message in b: extensions go first and members
// of oneofs last, then numbers and the keys of a map decide.
func order(b []byte, x, y part) int {
	if x.f == y.f {
		if !x.f.isMap {
			return 0
		}
		xn, xs := rank(x.f.key, b[x.value+1:x.to])
		yn, ys := rank(x.f.key, b[y.value+1:y.to])
		return cmp.Or(cmp.Compare(xn, yn), bytes.Compare(xs, ys))
	}
	return cmp.Or(
		cmp.Compare(btoi(y.f.desc.IsExtension()), btoi(x.f.desc.IsExtension())),
		cmp.Compare(realOneof(x.f), realOneof(y.f)),
		cmp.Compare(x.f.num, y.f.num),
	)
}

// realOneof gives the index of the oneof that f is in, -1 where the schema has
// none for it.
func realOneof(f *field) int {
	if od := f.desc.ContainingOneof(); od != nil && !od.IsSynthetic() {
		return od.Index()
	}
	return -1
}

// rank gives what the key of a map that b begins with is ordered by: a number,
// or a string.
func rank(f *field, b []byte) (uint64, []byte) {
	const sign = 1 << 63
	switch f.kind {
	case protoreflect.StringKind:
		s, _ := protowire.ConsumeBytes(b)
		return 0, s
	case protoreflect.Fixed32Kind:
		return uint64(binary.LittleEndian.Uint32(b)), nil
	case protoreflect.Sfixed32Kind:
		return uint64(int32(binary.LittleEndian.Uint32(b))) ^ sign, nil
	case protoreflect.Fixed64Kind:
		return binary.LittleEndian.Uint64(b), nil
	case protoreflect.Sfixed64Kind:
		return binary.LittleEndian.Uint64(b) ^ sign, nil
	}
	v, _ := protowire.ConsumeVarint(b)
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		v ^= sign
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		v = uint64(protowire.DecodeZigZag(v)) ^ sign
	}
	return v, nil
}
