package sse

import (
	"bytes"

	"sluice/internal/outline"
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
	return data, fails(Name(raw)) || outline.Read(data).Failed
}

func fails(kind []byte) bool {
	return string(kind) == "error" || string(kind) == "response.failed"
}
