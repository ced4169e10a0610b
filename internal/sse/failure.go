package sse

import (
	"bytes"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Failure reports whether an event of a model's reply tells that the reply failed,
// and gives its payload (see Data): an "error" that is not null, at the top or in
// a choice; a choice that ended by "error"; an event called "error" or
// "response.failed", by its name or its type; or a "response.incomplete" whose
// response has an error. Most events are only searched for a word: what is said in
// a reply is quoted and escaped, and so cannot be taken for one of these.
func Failure(raw []byte) (data []byte, failed bool) {
	if !bytes.Contains(raw, []byte("error")) && !bytes.Contains(raw, []byte("response.failed")) {
		return nil, false
	}
	data, ok := Data(raw, nil)
	if !ok {
		return nil, false
	}
	return data, fails(Name(raw)) || tells(data)
}

// FailedReply reports whether a whole reply tells that it failed, though its status
// says that it did not: an "error" that is not null, as some services answer and as
// a failed response of OpenAI's has. nothing is true where there is no more to it,
// such as what was made up to then.
func FailedReply(body []byte) (failed, nothing bool) {
	if !bytes.Contains(body, []byte("error")) || !tells(body) {
		return false, false
	}
	return true, !has(body, "choices") && !has(body, "output") && !has(body, "data")
}

func fails(kind []byte) bool {
	return string(kind) == "error" || string(kind) == "response.failed"
}

// tells reports whether a payload tells of an error.
func tells(data []byte) bool {
	if has(data, "error") {
		return true
	}
	kind := word(data, "type")
	if fails(kind) || string(kind) == "response.incomplete" && has(data, "response", "error") {
		return true
	}
	failed := false
	if v, ok := jsonscan.Get(data, "choices"); ok {
		choices := data[v.Start:v.End]
		jsonscan.Elements(choices, func(v llm.Span) bool {
			choice := choices[v.Start:v.End]
			failed = has(choice, "error") || string(word(choice, "finish_reason")) == "error"
			return !failed
		})
	}
	return failed
}

// has reports whether there is a value at a path that is not null.
func has(data []byte, path ...string) bool {
	v, ok := jsonscan.Get(data, path...)
	return ok && string(data[v.Start:v.End]) != "null"
}

// word gives a string member that has no escapes.
func word(data []byte, name string) []byte {
	v, ok := jsonscan.Get(data, name)
	if !ok || data[v.Start] != '"' {
		return nil
	}
	return bytes.Trim(data[v.Start:v.End], `"`)
}
