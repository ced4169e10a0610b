package cache

import (
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
func complete(req *llm.Request, h *llm.Head, body []byte, ends []uint32) bool {
	if h.Status != 200 || ends == nil && jsonscan.Validate(body, maxReplyDepth) != nil {
		return false
	}
	if ends != nil {
		return completeStream(req.Op, body, ends)
	}
	return completeBody(req.Op, body) && !repeats(req.Op, body)
}

func completeBody(op llm.Operation, body []byte) bool {
	if failed, _ := sse.FailedReply(body); failed {
		return false
	}
	switch op {
	case llm.Response:
		return has(body, "output") && finished(text(body, "status"))
	case llm.Chat, llm.Completion:
		some := false
		if v, ok := jsonscan.Get(body, "choices"); ok {
			jsonscan.Elements(body[v.Start:v.End], func(llm.Span) bool { some = true; return false })
		}
		return some
	default:
		return false
	}
}

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
			whole = op != llm.Response
		case jsonscan.Validate(data, maxReplyDepth) != nil || tells(event) || repeats(op, data):
			return false
		default:
			whole = op == llm.Response && endsResponse(data)
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
	s, err := jsonscan.String(object[v.Start:v.End])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(s)
}
