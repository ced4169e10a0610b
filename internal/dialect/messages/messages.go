// Package messages is Anthropic's Messages API (version 2023-06-01) as a dialect: what the
// vocabulary of package dialect is called there.
//
// What it asks of a request beyond what the vocabulary says, and what is done about it:
//
//   - max_tokens is required: Options.MaxTokens, or 4096, and what the model may think besides.
//   - Prompts have a place of their own. One that stands among the messages goes there too,
//     after the others, as most gateways have it, and is noted as "system_position"; models that
//     take it where it stands (Claude 4.8 and later, after a user's message that an
//     assistant's or nothing follows) get it there. Where nothing but prompts was said, the
//     last of them is said by the user.
//   - Messages that one says in a row become one, in which the results of tools come first.
//     A conversation that the assistant begins is sent as it is.
//   - Texts without a visible character are left out, and the space that a last message of
//     the assistant ends in: the service refuses both.
//   - Temperatures end at 1. While a model thinks there is none, no top_k, a top_p from 0.95
//     on, and no tool that it has to call: where the request has such a choice, that
//     matters more and nothing is thought. Claude takes either of temperature and top_p
//     from 4.1 on, none of them and no top_k from 4.7 on.
//   - Efforts are budgets of tokens up to Claude 4.5 and for models of other names, and
//     efforts of thinking that is adaptive from 4.6 on.
//   - Ids of calls have letters, digits, "_" and "-" alone: any other character becomes "_".
//
// A request to count tokens (POST /v1/messages/count_tokens) has the same members but
// for max_tokens, which is not required when reading: ReadRequest reads it too.
package messages

import (
	"strconv"
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Dialect is the API.
type Dialect struct{}

// Name implements dialect.Dialect.
func (Dialect) Name() string { return "messages" }

// NewReader implements dialect.Dialect.
func (Dialect) NewReader() dialect.Reader { return new(reader) }

// NewWriter implements dialect.Dialect.
func (Dialect) NewWriter() dialect.Writer { return new(writer) }

// AppendError implements dialect.Dialect. Where the API has a code it is among the details.
func (Dialect) AppendError(dst []byte, e *llm.Error) []byte {
	dst = append(append(append(dst, `{"type":"error","error":{"type":"`...), errorType(e.Status)...), `","message":`...)
	dst = jsonscan.AppendString(dst, e.Message)
	if e.Code != "" {
		dst = append(jsonscan.AppendString(append(dst, `,"details":{"error_code":`...), e.Code), '}')
	}
	return append(dst, "}}"...)
}

// AppendErrorEvent implements dialect.Dialect.
func (Dialect) AppendErrorEvent(dst []byte, e *llm.Error, _ uint64) []byte {
	dst = Dialect{}.AppendError(append(dst, "event: error\ndata: "...), e)
	return append(dst, "\n\n"...)
}

// errorType names the error that a status stands for.
func errorType(status int) string {
	switch status {
	case 401:
		return "authentication_error"
	case 402:
		return "billing_error"
	case 403:
		return "permission_error"
	case 404:
		return "not_found_error"
	case 413:
		return "request_too_large"
	case 429:
		return "rate_limit_error"
	case 503, 529:
		return "overloaded_error"
	case 504:
		return "timeout_error"
	}
	if status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

// keptBytes is how much room a reader or a writer keeps for its next reply.
const keptBytes = 64 << 10

// kept is b without what is in it, or nothing where it has grown too large to be kept.
func kept(b []byte) []byte {
	if cap(b) > keptBytes {
		return nil
	}
	return b[:0]
}

// keptCalls is for how many calls a reader or a writer keeps room for its next reply.
const keptCalls = 256

func refuse(param, message string) error {
	e := llm.Errorf(400, "invalid_value", "%s", message)
	e.Param = param
	return e
}

// version is that of a Claude, 100 times its major number and its minor one: 407 is 4.7.
type version int

const (
	noClaude version = 0
	newest   version = 9999 // a name without a number, such as that of a preview

	claude41 version = 401
	claude46 version = 406
	claude47 version = 407
	claude48 version = 408
	claude5  version = 500
)

// versionOf reads the version of a model by its name, whose numbers stand after the family
// ("claude-opus-4-7", "claude-opus-4-20250514", "anthropic.claude-opus-4-6-v1") or before it
// ("claude-3-7-sonnet-latest", "anthropic/claude-4.6-opus").
func versionOf(model string) version {
	_, rest, ok := strings.Cut(model, "claude-")
	if !ok {
		return noClaude
	}
	major, rest := number(rest)
	if major < 0 {
		return newest
	}
	minor := 0
	if len(rest) > 1 && (rest[0] == '-' || rest[0] == '.') && '0' <= rest[1] && rest[1] <= '9' {
		minor, _ = number(rest)
	}
	return version(100*major + max(minor, 0))
}

// number reads the first number of a name, -1 for none: one of more than two digits is a date.
func number(name string) (n int, rest string) {
	i := strings.IndexAny(name, "0123456789")
	if i < 0 {
		return -1, ""
	}
	end := i
	for end < len(name) && '0' <= name[end] && name[end] <= '9' {
		end++
	}
	if end-i > 2 {
		return -1, ""
	}
	n, _ = strconv.Atoi(name[i:end]) // of two digits
	return n, name[end:]
}

// trimmed is what stands between the quotes of a JSON string, without the space at its end.
func trimmed(text []byte) []byte {
	s := text[1 : len(text)-1]
	for {
		n := len(s)
		switch {
		case n > 0 && s[n-1] == ' ':
			s = s[:n-1]
		case n > 1 && (s[n-1] == 'n' || s[n-1] == 't' || s[n-1] == 'r') && slashes(s[:n-1])%2 == 1:
			s = s[:n-2]
		default:
			return s
		}
	}
}

// slashes counts the backslashes that s ends in.
func slashes(s []byte) (n int) {
	for n < len(s) && s[len(s)-1-n] == '\\' {
		n++
	}
	return n
}

// isBlank reports whether a text has no visible character, as one that is missing has not.
func isBlank(text []byte) bool { return !dialect.IsText(text) || len(trimmed(text)) == 0 }
