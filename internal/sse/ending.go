package sse

import (
	"bytes"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

const (
	done        = "[DONE]"
	messageStop = "message_stop"
)

// IsDone reports whether an event's payload says no more than that the stream is
// whole.
func IsDone(data []byte) bool { return string(bytes.TrimSpace(data)) == done }

// EndKnown reports whether a whole stream of an operation has an event that is known to
// be one of its last: see Completes.
func EndKnown(op llm.Operation) bool {
	return op == llm.Chat || op == llm.Completion || op == llm.Response || op == llm.Messages || op == llm.GenerateContent
}

// Completes reports whether a stream of an operation may end after an event and be whole:
// it is the one that ends it, or one after which only figures come.
func Completes(op llm.Operation, raw []byte) bool {
	if op == llm.GenerateContent {
		return completesContent(raw)
	}
	return Ends(op, raw)
}

// completesContent is Completes for Google's API. It is not to be on the stack of the streams
// of all others.
//
//go:noinline
func completesContent(raw []byte) bool {
	if !bytes.Contains(raw, []byte("finishReason")) && !bytes.Contains(raw, []byte("blockReason")) {
		return false
	}
	data, _ := Data(raw, nil)
	if jsonscan.Validate(data, 0) != nil {
		return false
	}
	for candidate := range jsonscan.ElementsOf(jsonscan.Member(data, "candidates")) {
		if jsonscan.Member(candidate, "finishReason") != nil {
			return true
		}
	}
	return jsonscan.Member(jsonscan.Member(data, "promptFeedback"), "blockReason") != nil
}

// Ends reports whether an event is the one that ends a stream of an operation. It
// is false for those of which the end is not known.
func Ends(op llm.Operation, raw []byte) bool {
	switch op {
	case llm.Chat, llm.Completion:
		// It is short, and looked into only then.
		if len(raw) > 64 || !bytes.Contains(raw, []byte(done)) {
			return false
		}
		data, _ := Data(raw, nil)
		return IsDone(data)
	case llm.Response:
		return endsResponse(kind(raw))
	case llm.Messages:
		return string(kind(raw)) == messageStop
	default:
		return false
	}
}

// kind is the name of an event, where it has none the type that its payload gives.
func kind(raw []byte) []byte {
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

// MayEnd reports whether clients take an event for the last one of a stream, of
// whichever operation, and may read no further. It looks at the beginning only.
func MayEnd(raw []byte) bool {
	if bytes.HasPrefix(raw, []byte("event:")) {
		line, _ := cutLine(raw)
		_, name := cutField(line)
		return endsResponse(name) || string(name) == messageStop
	}
	data, ok := bytes.CutPrefix(raw, []byte("data:"))
	return ok && bytes.HasPrefix(bytes.TrimPrefix(data, []byte(" ")), []byte(done))
}

func endsResponse(event []byte) bool {
	switch string(event) {
	case "response.completed", "response.failed", "response.incomplete":
		return true
	}
	return false
}
