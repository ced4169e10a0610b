package dialect

import (
	"bytes"
	"strconv"
	"strings"

	"sluice/internal/jsonscan"
)

const null = "null"

// OrNil is v, nil where it is null.
func OrNil(v []byte) []byte {
	if string(v) == null {
		return nil
	}
	return v
}

// IsText reports whether v is a JSON string.
func IsText(v []byte) bool { return len(v) >= 2 && v[0] == '"' }

// IsList reports whether v is a JSON array.
func IsList(v []byte) bool { return len(v) > 0 && v[0] == '[' }

// IsObject reports whether v is a JSON object.
func IsObject(v []byte) bool { return len(v) > 0 && v[0] == '{' }

// IsNumber reports whether v is a JSON number.
func IsNumber(v []byte) bool {
	return len(v) > 0 && (v[0] == '-' || '0' <= v[0] && v[0] <= '9')
}

// Is reports whether a JSON string says s, which needs no escapes.
func Is(v []byte, s string) bool {
	if len(v) == len(s)+2 {
		return v[0] == '"' && string(v[1:len(v)-1]) == s
	}
	if !IsText(v) || bytes.IndexByte(v, '\\') < 0 {
		return false
	}
	text, err := jsonscan.String(v)
	return err == nil && text == s
}

// String gives what a JSON string says, "" where v is none.
func String(v []byte) string {
	if !IsText(v) {
		return ""
	}
	s, err := jsonscan.String(v)
	if err != nil {
		return ""
	}
	return s
}

// Int gives a whole number of at most 15 digits, such as a count of tokens, 0 where v is
// none.
func Int(v []byte) int64 {
	if len(v) > 15 {
		return 0
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ObjectOf is v where that is a JSON object, else nil.
func ObjectOf(v []byte) []byte {
	if !IsObject(v) {
		return nil
	}
	return v
}

// maxLabel bounds an id of a reply, and the name of its model, in bytes: they stand in each
// event.
const maxLabel = 1024

// LabelOf is v where that is a JSON string that can be an id or a name, neither empty nor
// longer than any, else nil.
func LabelOf(v []byte) []byte {
	if !IsText(v) || IsEmpty(v) || len(v) > maxLabel {
		return nil
	}
	return v
}

// Type is a type of JSON values, or several of them.
type Type uint8

const (
	TextType Type = 1 << iota
	NumberType
	BoolType
	ListType
	ObjectType

	AnyType Type = 0
)

// Has reports whether a value is of the type.
func (t Type) Has(v []byte) bool {
	switch {
	case t == AnyType:
		return true
	case IsText(v):
		return t&TextType != 0
	case IsList(v):
		return t&ListType != 0
	case IsObject(v):
		return t&ObjectType != 0
	case IsNumber(v):
		return t&NumberType != 0
	default:
		return t&BoolType != 0
	}
}

// String names the type as errors do.
func (t Type) String() string {
	var names []string
	for i, name := range [...]string{"a string", "a number", "a boolean", "a list", "an object"} {
		if t&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

// TextOf is v where it is a text, else nil.
func TextOf(v []byte) []byte {
	if IsText(v) {
		return v
	}
	return nil
}

// FilledText is v where it is a text that says something, else nil.
func FilledText(v []byte) []byte {
	if IsText(v) && !IsEmpty(v) {
		return v
	}
	return nil
}

// OrEmpty is v, an empty text where there is none.
func OrEmpty(v []byte) []byte {
	if len(v) == 0 {
		return []byte(`""`)
	}
	return v
}

// IsEmpty reports whether v is an empty string.
func IsEmpty(v []byte) bool { return string(v) == `""` }

// AppendObject appends arguments of a call as the object that they are: those of a Part may be a
// text that holds it. What is no object, such as the text of a call that was cut short,
// becomes {}; ok says whether it was one. It stands in one line: see AppendLine.
func AppendObject(dst, arguments []byte) (out []byte, ok bool) {
	if IsObject(arguments) {
		return AppendLine(dst, arguments), true
	}
	from := len(dst)
	if IsText(arguments) {
		dst = jsonscan.AppendText(dst, arguments)
		text := bytes.TrimSpace(dst[from:])
		if IsObject(text) && jsonscan.Validate(text, maxDepth) == nil {
			dst = dst[:from+copy(dst[from:], text)] // what stands around it may be no white space of JSON
			oneLine(dst[from:])
			return dst, true
		}
		ok = len(text) == 0 // of a tool without arguments
	}
	return append(dst[:from], "{}"...), ok || arguments == nil
}

// AppendLine appends JSON with spaces for its line ends, which stand between its values alone:
// a line of a server-sent event ends at each. It is how writers append what they did not
// write themselves and what may be no text.
func AppendLine(dst, v []byte) []byte {
	from := len(dst)
	dst = append(dst, v...)
	oneLine(dst[from:])
	return dst
}

func oneLine(v []byte) {
	for _, end := range [...]byte{'\n', '\r'} {
		for rest := v; ; {
			i := bytes.IndexByte(rest, end)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
}

// AppendArguments appends arguments of a call as the text that holds them.
func AppendArguments(dst, arguments []byte) []byte {
	switch {
	case arguments == nil:
		return append(dst, `"{}"`...)
	case IsText(arguments):
		return append(dst, arguments...)
	}
	return AppendQuoted(dst, arguments)
}

// maxDepth bounds the nesting of arguments.
const maxDepth = 512

// AppendQuoted appends JSON as a JSON string that holds it.
func AppendQuoted(dst, raw []byte) []byte {
	dst = append(dst, '"')
	for {
		i := bytes.IndexAny(raw, "\"\\\n\r\t")
		if i < 0 {
			break
		}
		dst = append(dst, raw[:i]...)
		switch c := raw[i]; c {
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', c)
		}
		raw = raw[i+1:]
	}
	return append(append(dst, raw...), '"')
}

// AppendJoined appends the JSON string that several say one after another, with between,
// which is written as it stands in JSON, between them.
func AppendJoined(dst []byte, texts [][]byte, between string) []byte {
	dst = append(dst, '"')
	for i, t := range texts {
		if i > 0 {
			dst = append(dst, between...)
		}
		dst = append(dst, t[1:len(t)-1]...)
	}
	return append(dst, '"')
}

// DataURL parts a URL that holds its data (RFC 2397, base64 alone), as a JSON string: the
// media type, and the data without quotes.
func DataURL(url []byte) (mediaType string, data []byte, ok bool) {
	if !IsText(url) {
		return "", nil, false
	}
	rest, ok := bytes.CutPrefix(url[1:len(url)-1], []byte("data:"))
	if !ok {
		return "", nil, false
	}
	head, data, ok := bytes.Cut(rest, []byte(","))
	if !ok {
		return "", nil, false
	}
	head, ok = bytes.CutSuffix(head, []byte(";base64"))
	if !ok {
		return "", nil, false
	}
	head, _, _ = bytes.Cut(head, []byte(";")) // without parameters
	return string(bytes.ReplaceAll(head, []byte(`\/`), []byte("/"))), data, true
}

// AppendDataURL appends the URL that holds data, as a JSON string.
func AppendDataURL(dst []byte, mediaType string, data []byte) []byte {
	text := jsonscan.AppendString(append(dst, `"data:`...), mediaType)
	// The type's own quotes go.
	i := len(dst) + len(`"data:`)
	text = append(text[:i], text[i+1:len(text)-1]...)
	return append(append(append(text, ";base64,"...), data...), '"')
}
