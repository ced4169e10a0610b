package gemini

import (
	"bytes"
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// appendSchema appends as JSON Schema a schema in the API's own form, which is OpenAPI's:
// types are in upper case, null is a mark, and numbers of 64 bits may be texts.
func appendSchema(dst, v []byte) []byte {
	if !dialect.IsObject(v) {
		return append(dst, v...)
	}
	nullable := string(jsonscan.Member(v, "nullable")) == "true"
	dst = append(dst, '{')
	from := len(dst)
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil || left(string(name), v) {
			continue
		}
		if len(dst) > from {
			dst = append(dst, ',')
		}
		dst = appendKeyword(dst, string(name), v, nullable)
	}
	return append(dst, '}')
}

// left reports whether a keyword means nothing in JSON Schema.
func left(name string, v []byte) bool {
	switch name {
	case "nullable", "propertyOrdering", "property_ordering":
		return true
	case "type":
		return dialect.Is(v, "TYPE_UNSPECIFIED")
	case "format":
		return dialect.Is(v, "enum")
	}
	return false
}

func appendKeyword(dst []byte, name string, v []byte, nullable bool) []byte {
	key := func(name string) []byte { return append(jsonscan.AppendString(dst, name), ':') }
	switch name {
	case "type":
		return appendType(key(name), v, nullable)
	case "enum":
		dst = append(key(name), v...)
		if nullable && dialect.IsList(v) && string(bytes.TrimSpace(v[1:len(v)-1])) != "" {
			dst = append(dst[:len(dst)-1], ",null]"...)
		}
		return dst
	case "example":
		return append(append(append(key("examples"), '['), v...), ']')
	case "properties", "defs", "$defs":
		return appendEach(key(name), v)
	case "items", "additionalProperties":
		return appendSchema(key(name), v)
	case "additional_properties":
		return appendSchema(key("additionalProperties"), v)
	case "anyOf", "oneOf", "allOf", "prefixItems":
		return appendAll(key(name), v)
	case "any_of":
		return appendAll(key("anyOf"), v)
	case "min_items", "max_items", "min_length", "max_length", "min_properties", "max_properties":
		i := len("min_")
		name = name[:i-1] + string(name[i]-'a'+'A') + name[i+1:]
	case "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties":
	default:
		return append(key(name), v...)
	}
	if n := numberOf(v); n != nil {
		v = n
	}
	return append(key(name), v...)
}

// appendType appends a type in lower case.
func appendType(dst, v []byte, nullable bool) []byte {
	if !dialect.IsText(v) {
		return append(dst, v...)
	}
	if nullable {
		dst = append(dst, '[')
	}
	from := len(dst)
	dst = append(dst, v...)
	if bytes.IndexByte(v, '\\') < 0 {
		for i := from; i < len(dst); i++ {
			if 'A' <= dst[i] && dst[i] <= 'Z' {
				dst[i] += 'a' - 'A'
			}
		}
	}
	if nullable {
		dst = append(dst, `,"null"]`...)
	}
	return dst
}

// appendEach appends an object of schemas.
func appendEach(dst, v []byte) []byte {
	if !dialect.IsObject(v) {
		return append(dst, v...)
	}
	dst = append(dst, '{')
	from := len(dst)
	for name, v := range jsonscan.MembersOf(v) {
		if len(dst) > from {
			dst = append(dst, ',')
		}
		dst = appendSchema(append(jsonscan.AppendString(dst, string(name)), ':'), v)
	}
	return append(dst, '}')
}

// appendAll appends a list of schemas.
func appendAll(dst, v []byte) []byte {
	if !dialect.IsList(v) {
		return append(dst, v...)
	}
	dst = append(dst, '[')
	from := len(dst)
	for v := range jsonscan.ElementsOf(v) {
		if len(dst) > from {
			dst = append(dst, ',')
		}
		dst = appendSchema(dst, v)
	}
	return append(dst, ']')
}
