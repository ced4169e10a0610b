package protobuf

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Compile makes the tables of md and of all messages and enums that its fields
// reach. types finds the messages of Any and extensions; nil means those that
// are linked into the program. It fails where a well-known type is not declared
// as it is known, or where md holds something that was not resolved.
func Compile(md protoreflect.MessageDescriptor, types Types) (*Plan, error) {
	if types == nil {
		types = protoregistry.GlobalTypes
	}
	p := &Plan{
		types:    types,
		messages: make(map[protoreflect.MessageDescriptor]*message),
		enums:    make(map[protoreflect.EnumDescriptor]*enum),
	}
	m, err := p.compile(md)
	if err != nil {
		return nil, err
	}
	p.root = m
	return p, nil
}

// compile gives the table of md, and makes it and what it reaches if need be.
// What it returns is complete and never changes.
func (p *Plan) compile(md protoreflect.MessageDescriptor) (*message, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var c compilation
	m := c.message(p, md)
	c.run(p)
	if c.err != nil {
		// Tables that lead to the fault are incomplete.
		for _, m := range c.made {
			delete(p.messages, m.desc)
		}
		return nil, c.err
	}
	return m, nil
}

// compilation is one run of compile. Tables refer to each other, so each is
// named first and filled later.
type compilation struct {
	made []*message
	done int // of made
	err  error
}

func (c *compilation) message(p *Plan, md protoreflect.MessageDescriptor) *message {
	m := p.messages[md]
	if m == nil {
		m = &message{plan: p, desc: md, name: md.FullName()}
		p.messages[md] = m
		c.made = append(c.made, m)
	}
	return m
}

// run fills what was named, and what that names.
func (c *compilation) run(p *Plan) {
	for ; c.done < len(c.made) && c.err == nil; c.done++ {
		c.err = c.fill(p, c.made[c.done])
	}
}

func (c *compilation) fill(p *Plan, m *message) error {
	md := m.desc
	if md.IsPlaceholder() {
		return fmt.Errorf("compile %s: the type is not resolved", md.FullName())
	}
	var err error
	if m.wkt, err = wellKnownType(md); err != nil {
		return fmt.Errorf("compile %s: %w", md.FullName(), err)
	}
	if isMessageSet(md) {
		m.fallback = "message set"
	}
	m.oneofs = md.Oneofs().Len()
	m.extendable = md.ExtensionRanges().Len() > 0
	fds := md.Fields()
	m.fields = make([]field, fds.Len())
	for i := range m.fields {
		f := &m.fields[i]
		if err := c.field(p, f, fds.Get(i)); err != nil {
			return err
		}
		f.index = i
		if f.oneof < 0 {
			f.unset, f.unsetNumber = unsetValue(f)
		}
		if f.required {
			m.required = append(m.required, f)
		}
	}
	m.nameFields()
	m.wide = len(m.fields)+m.oneofs > seenBits
	m.number()
	return nil
}

// number spreads the fields over dense and sparse.
func (m *message) number() {
	size := protowire.Number(0)
	for i := range m.fields {
		if n := m.fields[i].num; n < denseNumbers {
			size = max(size, n+1)
		}
	}
	m.dense = make([]*field, size)
	for i := range m.fields {
		f := &m.fields[i]
		if f.num < size {
			m.dense[f.num] = f
			continue
		}
		if m.sparse == nil {
			m.sparse = make(map[protowire.Number]*field)
		}
		m.sparse[f.num] = f
	}
}

// isMessageSet tells the oldest form of extension apart, which protobuf-go
// refuses unless it is built for it.
func isMessageSet(md protoreflect.MessageDescriptor) bool {
	x, ok := md.(interface{ IsMessageSet() bool })
	return ok && x.IsMessageSet()
}

var errShape = errors.New("a well-known type with other fields than it is known for")

// wellKnownType finds the type of md by its name and checks its fields, since
// the code for it relies on them.
func wellKnownType(md protoreflect.MessageDescriptor) (wellKnown, error) {
	if md.FullName().Parent() != "google.protobuf" {
		return notWellKnown, nil
	}
	known, ok := map[protoreflect.Name]struct {
		wkt    wellKnown
		fields string
	}{
		"Any":         {wktAny, "1 string 2 bytes"},
		"Timestamp":   {wktTimestamp, "1 int64 2 int32"},
		"Duration":    {wktDuration, "1 int64 2 int32"},
		"FieldMask":   {wktFieldMask, "1 list string"},
		"Struct":      {wktStruct, "1 map string google.protobuf.Value"},
		"ListValue":   {wktListValue, "1 list google.protobuf.Value"},
		"Value":       {wktValue, "1 google.protobuf.NullValue 2 double 3 string 4 bool 5 google.protobuf.Struct 6 google.protobuf.ListValue"},
		"BoolValue":   {wktWrapper, "1 bool"},
		"Int32Value":  {wktWrapper, "1 int32"},
		"Int64Value":  {wktWrapper, "1 int64"},
		"UInt32Value": {wktWrapper, "1 uint32"},
		"UInt64Value": {wktWrapper, "1 uint64"},
		"FloatValue":  {wktWrapper, "1 float"},
		"DoubleValue": {wktWrapper, "1 double"},
		"StringValue": {wktWrapper, "1 string"},
		"BytesValue":  {wktWrapper, "1 bytes"},
	}[md.Name()]
	if !ok {
		return notWellKnown, nil
	}
	shape := ""
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if i > 0 {
			shape += " "
		}
		shape += fmt.Sprint(int(fd.Number())) + " " + shapeOf(fd)
	}
	if shape != known.fields || (known.wkt == wktValue && md.Oneofs().Len() != 1) {
		return notWellKnown, errShape
	}
	return known.wkt, nil
}

func shapeOf(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.IsMap():
		return "map " + shapeOf(fd.MapKey()) + " " + shapeOf(fd.MapValue())
	case fd.IsList():
		return "list " + shapeOf1(fd)
	default:
		return shapeOf1(fd)
	}
}

func shapeOf1(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.Message() != nil:
		return string(fd.Message().FullName())
	case fd.Enum() != nil:
		return string(fd.Enum().FullName())
	default:
		return fd.Kind().String()
	}
}
