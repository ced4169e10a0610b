package cache

import (
	"errors"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
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
	api := known.StoredOf(req.Op)
	switch {
	case h.Status != 200 || api == nil:
		return false
	case ends != nil:
		return completeStream(api, body, ends)
	default:
		return api.Complete(body, *said) && !said.Failed && !said.Twice && sound(api, body)
	}
}

// sound reports whether a reply, or the payload of an event, is a JSON object and does not
// repeat who asked. It is looked over once.
func sound(api dialect.Storable, body []byte) bool {
	return jsonscan.Members(body, maxReplyDepth, func(key []byte, v llm.Span) error {
		if api.Member(key)&dialect.Asker != 0 && !null(body, v) {
			return errRepeats
		}
		return nil
	}) == nil
}

var errRepeats = errors.New("the reply repeats who asked")

// completeStream reports whether events end as they should and tell of no
// error.
func completeStream(api dialect.Storable, body []byte, ends []uint32) bool {
	start, whole := uint32(0), false
	for _, end := range ends {
		event := body[start:end]
		start = end
		data, n := sse.DataFields(event)
		switch {
		case n == 0: // comments
		case whole || n > 1:
			return false // after the end, or written as nobody does
		case !sse.IsDone(data) && (!sound(api, data) || tells(event)):
			return false
		default:
			if whole = api.Last(data); !whole && sse.IsDone(data) {
				return false
			}
		}
	}
	return whole
}

// tells reports whether an event tells of an error.
func tells(event []byte) bool {
	_, failed := sse.Failure(event)
	return failed
}
