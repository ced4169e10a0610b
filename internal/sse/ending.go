package sse

import (
	"bytes"

	"sluice/internal/jsonscan"
)

// IsDone reports whether an event's payload says no more than that the stream is
// whole, as it does in OpenAI's older APIs.
func IsDone(data []byte) bool { return string(bytes.TrimSpace(data)) == "[DONE]" }

// Kind is the type of an event, a part of raw: its name, where it has none the type that its
// payload, an object, gives as it is spelt there. It is nil where there is neither.
func Kind(raw []byte) []byte {
	if name := Name(raw); len(name) > 0 {
		return name
	}
	data, _ := Data(raw, nil)
	v, ok := jsonscan.Get(data, "type")
	if !ok || data[v.Start] != '"' {
		return nil
	}
	return data[v.Start+1 : v.End-1]
}

// Heading is the name of an event whose first line it is, a part of raw; nil for any other.
func Heading(raw []byte) []byte {
	if !bytes.HasPrefix(raw, []byte("event:")) {
		return nil
	}
	line, _ := cutLine(raw)
	_, name := cutField(line)
	return name
}
