package protobuf

import (
	"encoding/binary"
	"math"
)

// emptyName is the one well-known type whose JSON form is that of any message,
// which only an Any treats in another way.
const emptyName = "google.protobuf.Empty"

// wellKnown reads the JSON form of a well-known type and writes its fields.
func (e *encoder) wellKnown(m *message) bool {
	f := &m.fields[0]
	switch m.wkt {
	case wktAny:
		return e.any()
	case wktStruct:
		return e.mapField(f)
	case wktListValue:
		return e.list(f)
	case wktValue:
		return e.value(m)
	case wktWrapper:
		start := len(e.out)
		e.out = append(e.out, f.tag...)
		was := e.scalar(f)
		if was == zero {
			e.out = e.out[:start]
		}
		return was != refused
	default:
		return e.timeOrMask(m.wkt)
	}
}

// The tags of the fields that the well-known types with a JSON form have. They
// were checked when the plan was compiled.
const (
	tagNull    = 1 << 3
	tagNumber  = 2<<3 | 1
	tagString  = 3<<3 | 2
	tagBool    = 4 << 3
	tagStruct  = 5<<3 | 2
	tagList    = 6<<3 | 2
	tagSeconds = 1 << 3
	tagNanos   = 2 << 3
	tagURL     = 1<<3 | 2
	tagInAny   = 2<<3 | 2
)

func (e *encoder) value(m *message) bool {
	switch c := e.peek(); c {
	case 'n':
		e.out = append(e.out, tagNull, 0)
		return e.literal("null")
	case 't':
		e.out = append(e.out, tagBool, 1)
		return e.literal("true")
	case 'f':
		e.out = append(e.out, tagBool, 0)
		return e.literal("false")
	case '"':
		e.out = append(e.out, tagString)
		_, ok := e.str()
		return ok
	case '{':
		e.out = append(e.out, tagStruct)
		g := e.open()
		if !e.deeper() || !e.mapField(&m.fields[4].msg.fields[0]) {
			return false
		}
		e.close(g)
		e.depth--
		return true
	case '[':
		e.out = append(e.out, tagList)
		g := e.open()
		if !e.deeper() || !e.list(&m.fields[5].msg.fields[0]) {
			return false
		}
		e.close(g)
		e.depth--
		return true
	}
	n := e.num.scan(e.in[e.i:])
	if n == 0 {
		return e.fail(e.i, "expected a value")
	}
	v, ok := e.num.double()
	if !ok {
		return e.fail(e.i, "the number is too large")
	}
	e.i += n
	e.out = binary.LittleEndian.AppendUint64(append(e.out, tagNumber), math.Float64bits(v))
	return true
}

// timeOrMask reads the types whose JSON form is a string.
func (e *encoder) timeOrMask(k wellKnown) bool {
	start := e.i
	if e.peek() != '"' {
		return e.fail(start, "expected a string")
	}
	t, ok := e.text()
	if !ok {
		return false
	}
	var secs int64
	var nanos int32
	b, kind := e.unescaped(t), ""
	switch k {
	case wktTimestamp:
		kind = "timestamp as RFC 3339 has it"
		secs, nanos, ok = parseTimestamp(b)
	case wktDuration:
		kind = `duration in seconds, as "1.5s"`
		secs, nanos, ok = parseDuration(b)
	default:
		kind = "list of fields in lowerCamelCase"
		e.out, ok = appendMask(e.out, b)
	}
	if !ok {
		return e.fail(start, "not a "+kind)
	}
	if secs != 0 {
		e.out = appendVarint(append(e.out, tagSeconds), uint64(secs))
	}
	if nanos != 0 {
		e.out = appendVarint(append(e.out, tagNanos), uint64(int64(nanos)))
	}
	return true
}
