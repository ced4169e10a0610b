package mapping

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/cel"
	"sluice/internal/nearest"
)

// types makes what expressions know of the messages of a reply. The JSON in which they
// look has the names of the schema.
type types struct {
	messages map[protoreflect.MessageDescriptor]*cel.Type
}

var (
	emptyMap  = cel.JSON([]byte("{}")) //nolint:gochecknoglobals // a table that nobody writes
	emptyList = cel.JSON([]byte("[]")) //nolint:gochecknoglobals // a table that nobody writes
	emptyText = cel.Text(nil)          //nolint:gochecknoglobals // a table that nobody writes
)

func (c *types) message(md protoreflect.MessageDescriptor) *cel.Type {
	switch md.FullName() {
	case "google.protobuf.Struct":
		return &cel.Type{Kind: cel.Map, Zero: emptyMap}
	case "google.protobuf.ListValue":
		return &cel.Type{Kind: cel.List, Zero: emptyList}
	case "google.protobuf.Value", "google.protobuf.Any":
		return nil
	case "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask":
		return &cel.Type{Kind: cel.String}
	case "google.protobuf.BoolValue", "google.protobuf.BytesValue", "google.protobuf.StringValue", "google.protobuf.DoubleValue", "google.protobuf.FloatValue",
		"google.protobuf.Int32Value", "google.protobuf.Int64Value", "google.protobuf.UInt32Value", "google.protobuf.UInt64Value":
		t := *c.single(md.Fields().Get(0))
		t.Zero = cel.Value{} // a wrapper is there or not
		return &t
	}
	if t := c.messages[md]; t != nil {
		return t
	}
	if c.messages == nil {
		c.messages = make(map[protoreflect.MessageDescriptor]*cel.Type)
	}
	t := &cel.Type{Kind: cel.Map, Zero: emptyMap, Of: md}
	c.messages[md] = t
	t.Field = func(name string) (*cel.Type, error) {
		fd := md.Fields().ByTextName(name)
		if fd == nil {
			return nil, noField(string(md.FullName()), name, messageTarget(md).names)
		}
		return c.field(fd), nil
	}
	return t
}

func noField(message, name string, names []string) error {
	if near := nearest.Name(name, names); near != "" {
		return fmt.Errorf("%s has no field %q; did you mean %q?", message, name, near)
	}
	return fmt.Errorf("%s has no field %q", message, name)
}

func (c *types) field(fd protoreflect.FieldDescriptor) *cel.Type {
	switch {
	case fd.IsMap():
		return &cel.Type{Kind: cel.Map, Elem: c.single(fd.MapValue()), Zero: emptyMap}
	case fd.IsList():
		return &cel.Type{Kind: cel.List, Elem: c.single(fd), Zero: emptyList}
	}
	return c.single(fd)
}

// single is the type of one value of a field.
func (c *types) single(fd protoreflect.FieldDescriptor) *cel.Type {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return c.message(fd.Message())
	case protoreflect.BoolKind:
		return &cel.Type{Kind: cel.Bool, Zero: cel.Boolean(false)}
	case protoreflect.StringKind, protoreflect.BytesKind:
		return &cel.Type{Kind: cel.String, Zero: emptyText}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return &cel.Type{Kind: cel.Double, Zero: cel.Integer(0)}
	case protoreflect.EnumKind:
		// An enum's number that has no name is an int.
		first := []byte(fd.Enum().Values().Get(0).Name())
		return &cel.Type{Zero: cel.Text(first), Of: fd.Enum()}
	default:
		return &cel.Type{Kind: cel.Int, Zero: cel.Integer(0)}
	}
}
