package cache

import (
	"errors"
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// maxReplyDepth bounds the nesting of a reply that is stored.
const maxReplyDepth = 512

// complete reports whether a reply of status 2xx is what was asked for, by
// whoever asks for it, and whole: some upstreams put an error, or an answer that
// broke off, into one.
//
// Of one that is held whole said is its outline.
func complete(req *llm.Request, h *llm.Head, body []byte, ends []uint32, said *llm.Outline) bool {
	switch {
	case h.Status != 200:
		return false
	case ends != nil:
		return completeStream(req.Op, body, ends)
	default:
		return completeBody(req.Op, body, said)
	}
}

// completeBody looks over the reply once, to see that it is JSON.
func completeBody(op llm.Operation, body []byte, said *llm.Outline) bool {
	switch op {
	case llm.Response:
		if !said.Output || !finished(content(said.Status.Of(body))) {
			return false
		}
	case llm.Chat, llm.Completion:
		if !said.Choices {
			return false
		}
	case llm.Messages:
		if text(body, "type") != "message" || !has(body, "stop_reason") {
			return false
		}
	case llm.GenerateContent:
		if !endsContent(body) {
			return false
		}
	case llm.EmbedContent:
		if !has(body, "embedding") {
			return false
		}
	case llm.BatchEmbedContents:
		if !has(body, "embeddings") {
			return false
		}
	default:
		return false
	}
	return !said.Failed && !said.Twice && sound(op, body)
}

// sound reports whether a reply is JSON, and does not repeat who asked.
func sound(op llm.Operation, body []byte) bool {
	switch op {
	case llm.Response, llm.Messages, llm.GenerateContent, llm.EmbedContent, llm.BatchEmbedContents:
		return jsonscan.Validate(body, maxReplyDepth) == nil // of which all is in the key
	}
	return jsonscan.Members(body, maxReplyDepth, func(key []byte, v llm.Span) error {
		if asker(key) != 0 && !null(body, v) {
			return errRepeats
		}
		return nil
	}) == nil
}

var errRepeats = errors.New("the reply repeats who asked")

// completeStream reports whether events end as they should and tell of no
// error.
func completeStream(op llm.Operation, body []byte, ends []uint32) bool {
	start, whole := uint32(0), false
	for _, end := range ends {
		event := body[start:end]
		start = end
		data, n := sse.DataFields(event)
		switch {
		case n == 0: // comments
		case whole || n > 1:
			return false // after the end, or written as nobody does
		case sse.IsDone(data):
			if op == llm.Messages || op == llm.GenerateContent {
				return false
			}
			whole = op != llm.Response
		case jsonscan.Validate(data, maxReplyDepth) != nil || tells(event) || repeats(op, data):
			return false
		default:
			whole = op == llm.Response && endsResponse(data) || op == llm.Messages && text(data, "type") == "message_stop" || op == llm.GenerateContent && endsContent(data)
		}
	}
	return whole
}

// endsResponse reports whether an event's own word, and not only its name, is that it
// ends a response.
func endsResponse(data []byte) bool {
	kind, ok := strings.CutPrefix(text(data, "type"), "response.")
	return ok && finished(kind)
}

// endsContent reports whether a reply of Google's API, or an event of a streamed one, is
// the end: of several candidates nobody knows which event is the last.
func endsContent(data []byte) bool {
	n, ended := 0, false
	for candidate := range jsonscan.ElementsOf(jsonscan.Member(data, "candidates")) {
		n++
		reason := text(candidate, "finishReason")
		ended = reason == "STOP" || reason == "MAX_TOKENS"
	}
	return n == 1 && ended && has(data, "usageMetadata")
}

// tells reports whether an event tells of an error.
func tells(event []byte) bool {
	_, failed := sse.Failure(event)
	return failed
}

func finished(status string) bool {
	return status == "completed" || status == "incomplete"
}

// has reports whether an object has a member that is not null.
func has(object []byte, name string) bool {
	v, ok := jsonscan.Get(object, name)
	return ok && !null(object, v)
}

// text gives a string member, "" where there is none.
func text(object []byte, name string) string {
	v, ok := jsonscan.Get(object, name)
	if !ok {
		return ""
	}
	return content(object[v.Start:v.End])
}

// content gives what a string says, "" where it is none.
func content(value []byte) string {
	s, err := jsonscan.String(value)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(s)
}
