// Package chat is OpenAI's Chat Completions API as a dialect: what the vocabulary of
// package dialect is called there. It knows what services like OpenAI's add to it:
// reasoning as "reasoning_content" (DeepSeek, vLLM) or "reasoning" with
// "reasoning_details" (OpenRouter), which alone has a place for signatures, and
// "cache_control" of parts.
package chat

import (
	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Dialect is the API.
type Dialect struct{}

// Name implements dialect.Dialect.
func (Dialect) Name() string { return "chat" }

// NewReader implements dialect.Dialect.
func (Dialect) NewReader() dialect.Reader { return new(reader) }

// NewWriter implements dialect.Dialect.
func (Dialect) NewWriter() dialect.Writer { return new(writer) }

// AppendError implements dialect.Dialect.
func (Dialect) AppendError(dst []byte, e *llm.Error) []byte { return jsonscan.AppendError(dst, e) }

// AppendErrorEvent implements dialect.Dialect.
func (Dialect) AppendErrorEvent(dst []byte, e *llm.Error, _ uint64) []byte {
	return append(jsonscan.AppendError(append(dst, "data: "...), e), "\n\n"...)
}

// maxDepth bounds the nesting of an event.
const maxDepth = 64

func refuse(param, format string, args ...any) error {
	e := llm.Errorf(400, "invalid_value", format, args...)
	e.Param = param
	return e
}
