package codec

import (
	"bytes"
	"encoding/base64"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/protobuf"
)

// ask is what a request says of its message or messages, in an envelope or in its
// query.
type ask struct {
	typeName, schema string
	options          protobuf.Options
	data             []byte   // JSON, or a bare message; nil when there is none
	items            llm.Span // where their array stands; zero when there is none

	wrap     wish   // in the query: whether the reply is to be an envelope
	encoding string // in the query: Base64, Hex, or "" when it is not said
}

// wish is what a query says, if anything.
type wish uint8

const (
	unsaid wish = iota
	yes
	no
)

// parse reads an envelope, or an item of one, which has neither items nor options
// of its own. It aliases body.
func (a *ask) parse(body []byte, depth int, item bool) error {
	var seen [keys]bool
	return jsonscan.Members(body, depth, func(key []byte, value llm.Span) error {
		raw := body[value.Start:value.End]
		k := keyOf(key)
		if k == keyUnknown || item && (k == keyItems || k == keyOptions) {
			return errParam("unknown_parameter", printable(key), "%q is none of the keys that are known here: type, schema, data, and of the whole request options and items.", printable(key))
		}
		if seen[k] {
			return errParam("duplicate_parameter", string(key), "%q is given twice.", key)
		}
		seen[k] = true
		switch k {
		case keyType:
			return name(&a.typeName, "type", raw)
		case keySchema:
			return name(&a.schema, "schema", raw)
		case keyOptions:
			return parseOptions(&a.options, raw, depth)
		case keyItems:
			if raw[0] != '[' {
				return errParam("invalid_type", "items", "\"items\" is not an array.")
			}
			a.items = value
		default:
			a.data = raw
		}
		return nil
	})
}

type key uint8

const (
	keyUnknown key = iota
	keyType
	keySchema
	keyOptions
	keyData
	keyItems
	keys
)

func keyOf(name []byte) key {
	switch string(name) {
	case "type":
		return keyType
	case "schema":
		return keySchema
	case "options":
		return keyOptions
	case "data":
		return keyData
	case "items":
		return keyItems
	default:
		return keyUnknown
	}
}

// printable shortens a name that a client made up.
func printable(name []byte) string { return string(name[:min(len(name), 64)]) }

// name reads a string that may be null.
func name(dst *string, param string, raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	s, err := jsonscan.String(raw)
	if err != nil {
		return errParam("invalid_type", param, "%q is not a string.", param)
	}
	*dst = s
	return nil
}

func parseOptions(o *protobuf.Options, raw []byte, depth int) error {
	if string(raw) == "null" {
		return nil
	}
	if raw[0] != '{' {
		return errParam("invalid_type", "options", "\"options\" is not an object.")
	}
	return jsonscan.Members(raw, depth, func(key []byte, value llm.Span) error {
		at := option(o, string(key))
		if at == nil {
			return errParam("unknown_parameter", "options."+printable(key), "%q is none of the options use_proto_names, emit_unpopulated, use_enum_numbers, discard_unknown.", printable(key))
		}
		on, ok := jsonscan.Bool(raw[value.Start:value.End])
		if !ok {
			return errParam("invalid_type", "options."+string(key), "\"options.%s\" is neither true nor false.", key)
		}
		*at = on
		return nil
	})
}

// option finds an option by its name, nil for none.
func option(o *protobuf.Options, name string) *bool {
	switch name {
	case "use_proto_names":
		return &o.UseProtoNames
	case "emit_unpopulated":
		return &o.EmitUnpopulated
	case "use_enum_numbers":
		return &o.UseEnumNumbers
	case "discard_unknown":
		return &o.DiscardUnknown
	default:
		return nil
	}
}

// appendBase64 appends what a JSON string with base64 stands for. As in
// protobuf's own JSON, either alphabet will do, and padding may be left out.
func appendBase64(dst, raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return dst, errParam("invalid_type", "data", "\"data\" is not a string. A binary message is given as base64.")
	}
	text := raw[1 : len(raw)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		s, err := jsonscan.String(raw)
		if err != nil {
			return dst, errParam("invalid_type", "data", "\"data\" is not a string.")
		}
		text = []byte(s)
	}
	return appendText64(dst, text)
}

func appendText64(dst, text []byte) ([]byte, error) {
	text = bytes.TrimRight(text, "=")
	encoding := base64.RawStdEncoding
	if bytes.IndexByte(text, '-') >= 0 || bytes.IndexByte(text, '_') >= 0 {
		encoding = base64.RawURLEncoding
	}
	// The decoder passes over line ends, which is not what base64 in JSON is.
	for _, end := range [...]byte{'\n', '\r'} {
		if i := bytes.IndexByte(text, end); i >= 0 {
			return dst, errParam("invalid_data", "data", "The base64 of the message has a line end at byte %d.", i)
		}
	}
	out, err := encoding.AppendDecode(dst, text)
	if err != nil {
		return dst, errParam("invalid_data", "data", "The message is not valid base64: %v.", err)
	}
	return out, nil
}
