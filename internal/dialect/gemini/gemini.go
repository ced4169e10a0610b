// Package gemini is Google's Gemini API (v1beta) as a dialect: generateContent,
// streamGenerateContent, countTokens, embedContent and batchEmbedContents. Streams are those of
// alt=sse; what a client gets that wants an array is made of them where it is written.
//
// What differs most from others: the model's name is in the path; calls of tools need no ids,
// so that one is made for those without, and their results are matched by name and order;
// arguments are objects, which come whole; a signature of thoughts stands on the part that
// comes after them, whichever that is; offsets in texts count bytes; a stream has no event
// that ends it. Names are read in camelCase and in snake_case, as the API itself does.
//
// What it can say and the vocabulary cannot: programs that the service itself has run.
package gemini

import (
	"net/url"
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Dialect is the API.
type Dialect struct{}

// Name implements dialect.Dialect.
func (Dialect) Name() string { return "gemini" }

// NewReader implements dialect.Dialect.
func (Dialect) NewReader() dialect.Reader { return new(reader) }

// NewWriter implements dialect.Dialect.
func (Dialect) NewWriter() dialect.Writer { return new(writer) }

// AppendError implements dialect.Dialect. The code of an error is the reason in its
// details (google.rpc.ErrorInfo).
func (Dialect) AppendError(dst []byte, e *llm.Error) []byte {
	dst = appendInt(append(dst, `{"error":{"code":`...), int64(e.Status))
	dst = jsonscan.AppendString(append(dst, `,"message":`...), e.Message)
	dst = append(append(append(dst, `,"status":"`...), statusName(e.Status)...), '"')
	if e.Code != "" {
		dst = jsonscan.AppendString(append(dst, `,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":`...), strings.ToUpper(e.Code))
		dst = append(dst, `,"domain":"sluice"}]`...)
	}
	return append(dst, "}}"...)
}

// AppendErrorEvent implements dialect.Dialect.
func (d Dialect) AppendErrorEvent(dst []byte, e *llm.Error, _ uint64) []byte {
	return append(d.AppendError(append(dst, "data: "...), e), "\n\n"...)
}

// statusName names an HTTP status as google.rpc.Code does.
func statusName(status int) string {
	switch status {
	case 401:
		return "UNAUTHENTICATED"
	case 402, 403:
		return "PERMISSION_DENIED"
	case 404:
		return "NOT_FOUND"
	case 408, 504:
		return "DEADLINE_EXCEEDED"
	case 409:
		return "ABORTED"
	case 429:
		return "RESOURCE_EXHAUSTED"
	case 499:
		return "CANCELLED"
	case 501:
		return "UNIMPLEMENTED"
	case 502, 503, 529:
		return "UNAVAILABLE"
	}
	if status >= 500 {
		return "INTERNAL"
	}
	return "INVALID_ARGUMENT"
}

// Is reports whether a request's path is one of the API.
func Is(path string) bool { return strings.HasPrefix(path, Prefix) }

// The methods of models, as they stand in the path after the colon.
const (
	Generate       = "generateContent"
	GenerateStream = "streamGenerateContent"
	CountTokens    = "countTokens"
	Embed          = "embedContent"
	BatchEmbed     = "batchEmbedContents"
)

// Called gives the operation that a method of a model is, and whether it asks for a stream;
// Passthrough for none.
func Called(method string) (op llm.Operation, stream bool) {
	switch method {
	case Generate:
		return llm.GenerateContent, false
	case GenerateStream:
		return llm.GenerateContent, true
	case CountTokens:
		return llm.CountContentTokens, false
	case Embed:
		return llm.EmbedContent, false
	case BatchEmbed:
		return llm.BatchEmbedContents, false
	default:
		return llm.Passthrough, false
	}
}

// Prefix begins the paths of the API.
const Prefix = "/v1beta/"

// Path is the path of a method of a model. The model's name may begin with the collection
// that it is in ("models/", "tunedModels/"), as it does where the API itself tells it. The path
// stays in the collection, whatever the name is: of one that walks to another (see walks) the
// slashes and dots are escaped twice, so that it is the name of no model.
func Path(model, method string) string {
	collection := "models/"
	if name, ok := strings.CutPrefix(model, collection); ok {
		model = name
	} else if name, ok := strings.CutPrefix(model, "tunedModels/"); ok {
		collection, model = "tunedModels/", name
	}
	escaped := strings.ReplaceAll(url.PathEscape(model), "%2F", "/")
	if walks(model) {
		escaped = url.PathEscape(strings.ReplaceAll(url.PathEscape(model), ".", "%2E"))
	}
	return Prefix + collection + escaped + ":" + method
}

// walks reports whether the name of a model, as a path, may be taken for that of something
// else: where one of its segments is empty or has dots alone, or it has an escape, a backslash
// or a control character.
func walks(model string) bool {
	for segment := range strings.SplitSeq(model, "/") {
		if strings.Trim(segment, ".") == "" {
			return true
		}
	}
	return strings.ContainsFunc(model, func(c rune) bool { return c == '%' || c == '\\' || c < ' ' || c == 0x7f })
}

// maxDepth bounds the nesting of an event.
const maxDepth = 128

func refuse(param, format string, args ...any) error {
	e := llm.Errorf(400, "invalid_value", format, args...)
	e.Param = param
	return e
}

// numberOf is a number, which may be a text that holds one, as numbers of 64 bits are; nil
// for what is none.
func numberOf(v []byte) []byte {
	if dialect.IsNumber(v) {
		return v
	}
	if dialect.IsText(v) && jsonscan.Validate(v[1:len(v)-1], 1) == nil && dialect.IsNumber(v[1:len(v)-1]) {
		return v[1 : len(v)-1]
	}
	return nil
}

// intOf is a whole number, 0 for what is none.
func intOf(v []byte) int64 {
	if v = numberOf(v); v == nil {
		return 0
	}
	return dialect.Int(v)
}

func switchOf(v []byte) dialect.Switch {
	on, ok := jsonscan.Bool(v)
	if !ok {
		return dialect.Unset
	}
	return dialect.SwitchOf(on)
}

// version is of a model, in tenths: 25 is Gemini 2.5. It is 0 for one whose name does not
// tell.
type version int

const (
	noThinking version = 20 // and before
	levels     version = 30 // thinks by levels, and requires signatures of calls
)

func versionOf(model string) version {
	_, rest, ok := strings.Cut(model, "gemini-")
	if !ok || rest == "" || rest[0] < '1' || rest[0] > '9' {
		return 0
	}
	v := version(rest[0]-'0') * 10
	if len(rest) > 2 && rest[1] == '.' && '0' <= rest[2] && rest[2] <= '9' {
		v += version(rest[2] - '0')
	}
	return v
}
