package jsonscan

import "sluice/internal/llm"

// AppendError appends the body of an error reply as OpenAI shapes it.
func AppendError(dst []byte, e *llm.Error) []byte {
	dst = append(dst, `{"error":{"message":`...)
	dst = AppendString(dst, e.Message)
	dst = append(dst, `,"type":`...)
	dst = AppendString(dst, e.Type)
	dst = append(dst, `,"param":`...)
	dst = AppendStringOrNull(dst, e.Param)
	dst = append(dst, `,"code":`...)
	dst = AppendStringOrNull(dst, e.Code)
	return append(dst, '}', '}')
}

// AppendStringOrNull appends a JSON string, or null for "".
func AppendStringOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return AppendString(dst, s)
}
