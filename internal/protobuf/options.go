package protobuf

import "google.golang.org/protobuf/reflect/protoregistry"

// Options choose among the forms of ProtoJSON. They mean what the fields of
// protojson.MarshalOptions and UnmarshalOptions with these names mean.
type Options struct {
	UseProtoNames   bool // decode: a member is named as in the schema, not in lowerCamelCase
	EmitUnpopulated bool // decode: fields outside oneofs that are not set are written too
	UseEnumNumbers  bool // decode: an enum is its number, not its name
	DiscardUnknown  bool // encode: members and enum names that the schema lacks are passed over

	// Spans has bytes, and each run of a packed list of floats, written as where they
	// stand in the input, a string that ParseSpan reads, so that vectors are not
	// printed. What does not stand in one piece is written as ever. It is no ProtoJSON.
	Spans bool // decode
}

// The limits that hold where Limits has a zero. MaxDepth is what protobuf
// implementations agree on (C++, Java); protobuf-go's own is 10,000.
const (
	DefaultMaxOutput = 64 << 20
	DefaultMaxDepth  = 100
	DefaultMaxFields = 4 << 20
)

// Limits bound what one input may cost. A zero means the default.
type Limits struct {
	MaxOutput int // bytes of output
	// MaxDepth is how many messages may be inside each other as they stand on the
	// wire, the outermost included. There an entry of a map is a message, and so
	// are the Struct and the ListValue that a google.protobuf.Value holds.
	MaxDepth  int
	MaxFields int // fields in all, those of nested messages and unknown ones included

	Memory Memory // is asked for more; nil is without bound
}

func (l Limits) orDefault() Limits {
	if l.MaxOutput <= 0 {
		l.MaxOutput = DefaultMaxOutput
	}
	if l.MaxDepth <= 0 {
		l.MaxDepth = DefaultMaxDepth
	}
	if l.MaxFields <= 0 {
		l.MaxFields = DefaultMaxFields
	}
	return l
}

// Types finds what a descriptor does not name: the message inside an Any, and
// extensions. *dynamicpb.Types and *protoregistry.Types are Types.
type Types interface {
	protoregistry.MessageTypeResolver
	protoregistry.ExtensionTypeResolver
}
