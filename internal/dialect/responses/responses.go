// Package responses is the dialect of OpenAI's Responses API: POST /v1/responses.
//
// It keeps no state. A request that stands on an earlier one (previous_response_id,
// conversation, prompt, background, item_reference) is refused, since the service that is
// asked in its place has none of that, and replies say "store": false, unless the gateway
// keeps them (llm.Thread): then it has put what was said earlier into the request.
//
// What takes a text instead of arguments, a custom tool, is a function of one argument
// {"input": text} to every other dialect, and so is a call of it in the conversation;
// a grammar that the text has to follow stands in the function's description. The tool
// "local_shell" is a function whose arguments are the action without its type. Writers of
// replies make the items of such calls again, by the tools of the client's request.
package responses

import (
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Dialect is the Responses API.
type Dialect struct{}

// Name implements dialect.Dialect.
func (Dialect) Name() string { return "responses" }

// AppendError implements dialect.Dialect.
func (Dialect) AppendError(dst []byte, e *llm.Error) []byte { return jsonscan.AppendError(dst, e) }

// AppendErrorEvent implements dialect.Dialect. Events are numbered.
func (Dialect) AppendErrorEvent(dst []byte, e *llm.Error, before uint64) []byte {
	dst = append(dst, "event: error\ndata: {\"type\":\"error\",\"code\":"...)
	dst = jsonscan.AppendStringOrNull(dst, e.Code)
	dst = append(dst, `,"message":`...)
	dst = jsonscan.AppendString(dst, e.Message)
	dst = append(dst, `,"param":`...)
	dst = jsonscan.AppendStringOrNull(dst, e.Param)
	dst = append(dst, `,"sequence_number":`...)
	dst = strconv.AppendUint(dst, before, 10)
	return append(dst, "}\n\n"...)
}

// NewReader implements dialect.Dialect.
func (Dialect) NewReader() dialect.Reader { return new(Reader) }

// NewWriter implements dialect.Dialect.
func (Dialect) NewWriter() dialect.Writer { return new(Writer) }

// What stands for tools that are no functions.
const (
	localShell       = "local_shell"
	customSchema     = `{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}`
	localShellSchema = `{"type":"object","properties":{"command":{"type":"array","items":{"type":"string"}},"timeout_ms":{"type":"integer"},` +
		`"working_directory":{"type":"string"},"env":{"type":"object","additionalProperties":{"type":"string"}}},"required":["command"]}`
	localShellDescription = `"Runs a command in a shell on the user's machine and gives its output."`
)

// The values of include that mean something here.
const (
	includeSignature = "reasoning.encrypted_content"
	includeLogprobs  = "message.output_text.logprobs"
)

const (
	// maxDepth bounds the nesting of what comes from a service.
	maxDepth = 512
	// maxItems bounds the items of a reply that are told apart.
	maxItems = 4096
	// keptRoom is how much of a buffer is kept for the next reply, in bytes.
	keptRoom = 64 << 10
)

// emptied is a buffer for the next reply.
func emptied(b []byte) []byte {
	if cap(b) > keptRoom {
		return nil
	}
	return b[:0]
}

// The logprobs of a text are a list here and content of an object in Chat Completions;
// an entry is the same in both, but for members that one of them requires.

// appendLogprobs appends a list of them with all members.
func appendLogprobs(dst, list []byte) []byte {
	dst = append(dst, '[')
	first := true
	for one := range jsonscan.ElementsOf(list) {
		if !dialect.IsObject(one) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendLogprob(dst, one, true)
	}
	return append(dst, ']')
}

func appendLogprob(dst, one []byte, top bool) []byte {
	var token, logprob, raw, others []byte
	for name, v := range jsonscan.MembersOf(one) {
		switch string(name) {
		case "token":
			token = v
		case "logprob":
			logprob = v
		case "bytes":
			raw = v
		case "top_logprobs":
			others = v
		}
	}
	if !dialect.IsText(token) {
		token = []byte(`""`)
	}
	dst = append(append(dst, `{"token":`...), token...)
	if !dialect.IsNumber(logprob) {
		logprob = []byte("0")
	}
	dst = append(append(dst, `,"logprob":`...), logprob...)
	if dst = append(dst, `,"bytes":`...); dialect.IsList(raw) {
		dst = dialect.AppendLine(dst, raw)
	} else {
		dst = appendBytes(dst, token)
	}
	if !top {
		return append(dst, '}')
	}
	dst = append(dst, `,"top_logprobs":[`...)
	first := true
	for v := range jsonscan.ElementsOf(others) {
		if !dialect.IsObject(v) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendLogprob(dst, v, false)
	}
	return append(dst, "]}"...)
}

// appendBytes appends the bytes of a text as a list of numbers.
func appendBytes(dst, text []byte) []byte {
	dst = append(dst, '[')
	for i, c := range []byte(dialect.String(text)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(c), 10)
	}
	return append(dst, ']')
}

// bare is what stands between the quotes of a text.
func bare(v []byte) []byte { return v[1 : len(v)-1] }

// switchOf reads true and false.
func switchOf(v []byte) dialect.Switch {
	on, ok := jsonscan.Bool(v)
	if !ok {
		return dialect.Unset
	}
	return dialect.SwitchOf(on)
}

// refuse makes the error of a request that means nothing.
func refuse(code, param, format string, args ...any) error {
	e := llm.Errorf(400, code, format, args...)
	e.Param = param
	return e
}
