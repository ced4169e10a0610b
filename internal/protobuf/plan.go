package protobuf

import (
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Plan holds the tables of one message type and of all that it refers to. It
// is safe for concurrent use. What it learns from Types it keeps, so that types
// that change need a new Plan.
type Plan struct {
	root      *message
	types     Types
	fallbacks *fallbacks // of the Plans that keep it; nil for none

	mu       sync.Mutex // guards messages, enums and what they are filled with
	messages map[protoreflect.MessageDescriptor]*message
	enums    map[protoreflect.EnumDescriptor]*enum
	urls     atomic.Pointer[map[string]*message] // types of Any by URL; replaced, never changed
}

// wellKnown tells the messages apart that have a JSON form of their own.
type wellKnown uint8

const (
	notWellKnown wellKnown = iota
	wktAny
	wktTimestamp
	wktDuration
	wktFieldMask
	wktStruct
	wktValue
	wktListValue
	wktWrapper // BoolValue and its kin: the field is number 1
)

// denseNumbers is how far field numbers reach an array, beyond which they are
// in a map. Schemas number from 1, with gaps above.
const denseNumbers = 256

// message is the table of a message type.
type message struct {
	plan *Plan
	desc protoreflect.MessageDescriptor
	name protoreflect.FullName
	wkt  wellKnown
	// fallback says why protojson has to do this message, "" if it need not.
	fallback         string
	decoded, encoded atomic.Uint64 // messages that went to protojson

	fields   []field // in the order of the schema
	dense    []*field
	sparse   map[protowire.Number]*field
	byName   map[string]*field // by JSON name and name in the schema
	names    names             // the same by length
	required []*field
	oneofs   int  // how many there are, synthetic ones included
	wide     bool // more fields and oneofs than a bitmap has bits

	extendable bool
	extensions atomic.Pointer[extensions]
}

// extensions are those that a message was seen with. They are replaced, never
// changed.
type extensions struct {
	byNumber map[protowire.Number]*field
	byName   map[string]*field // by full name
}

// field is the table of a field or an extension.
type field struct {
	desc   protoreflect.FieldDescriptor
	num    protowire.Number
	index  int // in message.fields; extensions count on after oneofs, in the order they are seen
	oneof  int // index, -1 outside
	kind   protoreflect.Kind
	wire   protowire.Type // of one value
	alt    protowire.Type // that is read too: of a packed list, else as wire
	list   bool
	isMap  bool
	packed bool // as it is written; both forms are read

	presence bool // a zero that was set differs from an absent field
	required bool
	utf8     bool // wrong UTF-8 is refused even where the value is not used
	null     bool // of type NullValue
	known    bool // of type Value: null is a value

	jsonName, textName string
	shadowed           bool   // jsonName finds another field, or none
	jsonKey, textKey   []byte // names quoted, with the colon

	tag    []byte // for writing: of one value, or of the packed list
	endTag []byte // of a group

	msg      *message // kind message or group, unless isMap
	enum     *enum
	key, val *field // of a map

	// unset is what Options.EmitUnpopulated writes, with names of enums and
	// with numbers. It is nil where nothing is written.
	unset, unsetNumber []byte
}

// enum is the table of an enum type.
type enum struct {
	name   protoreflect.FullName
	null   bool     // NullValue
	first  int32    // number of dense[0]
	dense  [][]byte // quoted names; nil where there is none
	sparse map[int32][]byte
	byName map[string]int32
}

// byNumber finds a field or extension, nil if the schema has none.
func (m *message) byNumber(num protowire.Number) *field {
	if uint(num) < uint(len(m.dense)) {
		if f := m.dense[num]; f != nil || !m.extendable {
			return f
		}
	}
	return m.sparse[num]
}

// quoted gives the first name that has the number n, nil if none has.
func (e *enum) quoted(n int32) []byte {
	if i := uint64(int64(n) - int64(e.first)); i < uint64(len(e.dense)) {
		return e.dense[i]
	}
	return e.sparse[n]
}

// number finds the number of a name.
func (e *enum) number(name []byte) (int32, bool) {
	n, ok := e.byName[string(name)]
	return n, ok
}

// name gives the member's name with quotes and colon.
func (f *field) name(o *Options) []byte {
	if o.UseProtoNames {
		return f.textKey
	}
	return f.jsonKey
}

// repeated reports whether a field is a list or a map.
func (f *field) repeated() bool { return f.list || f.isMap }
