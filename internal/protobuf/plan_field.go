package protobuf

import (
	"encoding/json"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// nullValue is the enum whose only value is JSON's null.
const nullValue = "google.protobuf.NullValue"

// field fills f from fd, its index aside.
func (c *compilation) field(p *Plan, f *field, fd protoreflect.FieldDescriptor) error {
	*f = field{
		desc:     fd,
		num:      fd.Number(),
		oneof:    -1,
		kind:     fd.Kind(),
		wire:     wireType(fd.Kind()),
		list:     fd.IsList(),
		isMap:    fd.IsMap(),
		packed:   fd.IsPacked(),
		presence: fd.HasPresence(),
		required: fd.Cardinality() == protoreflect.Required,
		utf8:     enforceUTF8(fd),
		jsonName: fd.JSONName(),
		textName: fd.TextName(),
	}
	f.jsonKey, f.textKey = append(quote(f.jsonName), ':'), append(quote(f.textName), ':')
	if od := fd.ContainingOneof(); od != nil {
		f.oneof = od.Index()
	}
	f.alt = f.wire
	if f.list && f.wire != protowire.StartGroupType {
		f.alt = protowire.BytesType
	}
	wire := f.wire
	if f.packed {
		wire = protowire.BytesType
	}
	f.tag = protowire.AppendTag(nil, f.num, wire)
	if f.kind == protoreflect.GroupKind {
		f.endTag = protowire.AppendTag(nil, f.num, protowire.EndGroupType)
	}
	switch {
	case f.isMap:
		f.key, f.val = new(field), new(field)
		if err := c.field(p, f.key, fd.MapKey()); err != nil {
			return err
		}
		return c.field(p, f.val, fd.MapValue())
	case fd.Message() != nil:
		f.msg = c.message(p, fd.Message())
		f.known = f.msg.name == "google.protobuf.Value"
	case fd.Enum() != nil:
		if fd.Enum().IsPlaceholder() {
			return fmt.Errorf("compile %s: enum %s is not resolved", fd.FullName(), fd.Enum().FullName())
		}
		f.enum = p.enum(fd.Enum())
		f.null = f.enum.null
	}
	return nil
}

// enforceUTF8 decides as protobuf-go does: proto3 checks, proto2 does not, and
// in editions the feature says, where the descriptor tells.
func enforceUTF8(fd protoreflect.FieldDescriptor) bool {
	if fd.Syntax() == protoreflect.Editions {
		if x, ok := fd.(interface{ EnforceUTF8() bool }); ok {
			return x.EnforceUTF8()
		}
	}
	return fd.Syntax() == protoreflect.Proto3
}

// quote writes a JSON string. Names in a schema are valid UTF-8.
func quote(s string) []byte {
	b, _ := json.Marshal(s)
	return b
}

func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	default:
		return protowire.VarintType
	}
}

// enum gives the table of ed. p.mu is held.
func (p *Plan) enum(ed protoreflect.EnumDescriptor) *enum {
	if e := p.enums[ed]; e != nil {
		return e
	}
	values := ed.Values()
	e := &enum{
		name:   ed.FullName(),
		null:   ed.FullName() == nullValue,
		byName: make(map[string]int32, values.Len()),
	}
	lo, hi := int64(math.MaxInt32), int64(math.MinInt32)
	for i := range values.Len() {
		n := int64(values.Get(i).Number())
		lo, hi = min(lo, n), max(hi, n)
	}
	if hi-lo < denseNumbers {
		e.first, e.dense = int32(lo), make([][]byte, hi-lo+1)
	} else {
		e.sparse = make(map[int32][]byte, values.Len())
	}
	for i := range values.Len() {
		v := values.Get(i)
		n := int32(v.Number())
		if _, taken := e.byName[string(v.Name())]; !taken {
			e.byName[string(v.Name())] = n
		}
		switch {
		case e.quoted(n) != nil: // an alias
		case e.dense != nil:
			e.dense[int64(n)-lo] = quote(string(v.Name()))
		default:
			e.sparse[n] = quote(string(v.Name()))
		}
	}
	p.enums[ed] = e
	return e
}

// unsetValue is what protojson's EmitUnpopulated writes for a field outside
// oneofs, with names of enums and with numbers.
func unsetValue(f *field) (named, numbered []byte) {
	text := "0"
	switch {
	case f.isMap:
		text = "{}"
	case f.list:
		text = "[]"
	case f.presence:
		text = "null"
	case f.kind == protoreflect.BoolKind:
		text = "false"
	case f.kind == protoreflect.StringKind, f.kind == protoreflect.BytesKind:
		text = `""`
	case is64(f.kind):
		text = `"0"`
	case f.null:
		text = "null"
	case f.enum != nil:
		if name := f.enum.quoted(0); name != nil {
			return name, []byte(text)
		}
	}
	return []byte(text), []byte(text)
}

// is64 reports whether JSON has the number as a string, since doubles, which
// most readers make of numbers, do not hold it.
func is64(k protoreflect.Kind) bool {
	switch k {
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind,
		protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return true
	}
	return false
}
