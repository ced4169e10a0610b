package mapping

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/cel"
)

// kind is what a value has to be.
type kind uint8

const (
	anyKind kind = iota // any JSON
	boolKind
	intKind
	floatKind
	stringKind
	bytesKind // base64 in ProtoJSON
	enumKind
	messageKind
	vectorKind // numbers, of which an embedding consists
)

var kindWords = [...]string{"any value", "a bool", "an int", "a number", "a string", "bytes (a string of base64)", "a name of an enum", "a message", "a list of numbers"}

// target is what a part of a mapping is made for: a field of a message, or of an event.
type target struct {
	kind  kind
	list  bool
	isMap bool // of strings to what the rest says

	name  string // of the message or the enum
	enum  protoreflect.EnumDescriptor
	words []string // that alone may be said, of a string; nil for any
	bits  int      // of an int
	plus  bool     // of an int: it has no sign

	field    func(name string) *member // of a message; nil where there is none
	names    []string                  // of its fields
	required []protoreflect.FieldDescriptor
}

// member is a field of a message.
type member struct {
	id   int // of an event's
	name string
	desc protoreflect.FieldDescriptor // nil for an event's
	target
}

// elem is what an element of a list, or a value of a map, has to be.
func (t target) elem() target {
	t.list, t.isMap = false, false
	return t
}

func (t *target) words1() string {
	switch {
	case t.list:
		return "a list"
	case t.isMap:
		return "a map"
	case t.kind == messageKind || t.kind == enumKind:
		return t.name
	}
	return kindWords[t.kind]
}

// messageTarget is what a message of the type md has to be.
func messageTarget(md protoreflect.MessageDescriptor) target {
	t := target{kind: messageKind, name: string(md.FullName())}
	switch md.FullName() {
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Any":
		t.kind = anyKind
		return t
	case "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask":
		t.kind = stringKind
		return t
	case "google.protobuf.BoolValue", "google.protobuf.BytesValue", "google.protobuf.StringValue", "google.protobuf.DoubleValue", "google.protobuf.FloatValue",
		"google.protobuf.Int32Value", "google.protobuf.Int64Value", "google.protobuf.UInt32Value", "google.protobuf.UInt64Value":
		return fieldTarget(md.Fields().Get(0))
	}
	fields := md.Fields()
	for i := range fields.Len() {
		t.names = append(t.names, string(fields.Get(i).Name()))
		if fields.Get(i).Cardinality() == protoreflect.Required {
			t.required = append(t.required, fields.Get(i))
		}
	}
	t.field = func(name string) *member {
		fd := fields.ByTextName(name)
		if fd == nil {
			if fd = fields.ByJSONName(name); fd == nil {
				return nil
			}
		}
		return &member{name: fd.JSONName(), desc: fd, target: fieldTarget(fd)}
	}
	return t
}

func fieldTarget(fd protoreflect.FieldDescriptor) target {
	if fd.IsMap() {
		t := fieldTarget(fd.MapValue())
		t.isMap = true
		return t
	}
	t := target{}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		t.kind = boolKind
	case protoreflect.EnumKind:
		t = target{kind: enumKind, enum: fd.Enum(), name: string(fd.Enum().FullName())}
	case protoreflect.StringKind:
		t.kind = stringKind
	case protoreflect.BytesKind:
		t.kind = bytesKind
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		t.kind = floatKind
	case protoreflect.MessageKind, protoreflect.GroupKind:
		t = messageTarget(fd.Message())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		t.kind, t.bits = intKind, 32
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		t.kind, t.bits, t.plus = intKind, 32, true
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		t.kind, t.bits, t.plus = intKind, 64, true
	default:
		t.kind, t.bits = intKind, 64
	}
	t.list = fd.IsList()
	return t
}

// suits reports whether a value of which something is known may be what is wanted.
func (t *target) suits(v *cel.Type) bool {
	if v == nil || v.Kind == cel.None || v.Kind == cel.Null {
		return true
	}
	switch {
	case t.list:
		e := t.elem()
		return v.Kind == cel.List && e.suits(v.Elem)
	case t.isMap:
		return v.Kind == cel.Map
	}
	switch t.kind {
	case boolKind:
		return v.Kind == cel.Bool
	case intKind, floatKind:
		return v.Kind == cel.Int || v.Kind == cel.Double
	case stringKind, bytesKind:
		return v.Kind == cel.String
	case enumKind:
		return v.Kind == cel.String || v.Kind == cel.Int
	case messageKind:
		return v.Kind == cel.Map
	case vectorKind:
		// Or bytes: those of floats, as they are or in base64.
		return v.Kind == cel.String || v.Kind == cel.List && (v.Elem == nil || v.Elem.Kind == cel.Int || v.Elem.Kind == cel.Double)
	}
	return true
}
