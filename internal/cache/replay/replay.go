// Package replay makes a stream of a reply that came whole.
//
// It promises the bytes that an OpenAI server could have sent for the same
// answer with "stream": true: every event is sound, the values in it stand as
// they stood in the reply, and reading the stream to its end gives the reply.
// A reply that it does not fully understand is not replayed.
package replay

import (
	"bytes"
	"errors"
	"math"
	"strconv"

	"sluice/internal/dialect/known"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Append appends to dst the server-sent events that give the content of body,
// a complete reply to an operation, and to ends where in dst each of them ends.
// usage says that the client of a chat or a completion asked to include usage
// (stream_options.include_usage).
//
// It is false, and dst and ends are as they were, where body is no such reply:
// not an object, an error, not finished, or of another shape; and where dst
// would exceed 4 GiB.
func Append(dst []byte, ends []uint32, op llm.Operation, body []byte, usage bool) ([]byte, []uint32, bool) {
	w := writer{dst: dst, ends: ends, lines: bytes.IndexByte(body, '\n') >= 0 || bytes.IndexByte(body, '\r') >= 0}
	var ok bool
	switch op {
	case llm.Chat, llm.Completion:
		c := chunks{writer: w, chat: op == llm.Chat, usage: usage}
		ok = c.reply(body)
		w = c.writer
	case llm.Response:
		r := response{writer: w}
		ok = r.reply(bytes.TrimSpace(body))
		w = r.writer
	case llm.Messages:
		w, ok = said(w, known.Of(op), body)
	case llm.GenerateContent:
		// Of which an event is what a whole reply is.
		if ok = jsonscan.Member(body, "candidates") != nil && jsonscan.Member(body, "error") == nil; ok {
			w.text("data: ")
			w.json(bytes.TrimSpace(body))
			w.endEvent()
		}
	}
	if !ok || len(w.dst) > math.MaxUint32 {
		return dst, ends, false
	}
	return w.dst, w.ends, true
}

// writer appends events.
type writer struct {
	dst   []byte
	ends  []uint32
	lines bool // the reply has line ends, which cannot be in an event's data
}

func (w *writer) text(s string) { w.dst = append(w.dst, s...) }

func (w *writer) number(n int) { w.dst = strconv.AppendInt(w.dst, int64(n), 10) }

// json appends a part of the reply, without line ends and the indentation that
// follows them: within a string there are none.
func (w *writer) json(raw []byte) {
	for w.lines {
		end := bytes.IndexAny(raw, "\r\n")
		if end < 0 {
			break
		}
		w.dst = append(w.dst, raw[:end]...)
		raw = bytes.TrimLeft(raw[end:], "\r\n\t ")
	}
	w.dst = append(w.dst, raw...)
}

// jsonOr appends a part of the reply, or what stands for it where it is missing
// or null.
func (w *writer) jsonOr(raw []byte, instead string) {
	if null(raw) {
		w.text(instead)
	} else {
		w.json(raw)
	}
}

// field appends a member after others.
func (w *writer) field(name string, value []byte) {
	w.dst = append(append(append(w.dst, `,"`...), name...), `":`...)
	w.json(value)
}

// member appends a member of the reply after others.
func (w *writer) member(key, value []byte) {
	w.dst = append(jsonscan.AppendString(append(w.dst, ','), string(key)), ':')
	w.json(value)
}

// endEvent ends an event.
func (w *writer) endEvent() {
	w.text("\n\n")
	w.ends = append(w.ends, uint32(len(w.dst)))
}

var errShape = errors.New("unexpected shape")

// members calls visit with each member of an object. It is false where object
// is none or visit has been false.
func members(object []byte, visit func(key, value []byte) bool) bool {
	return jsonscan.Members(object, 0, func(key []byte, v llm.Span) error {
		if !visit(key, object[v.Start:v.End]) {
			return errShape
		}
		return nil
	}) == nil
}

// elements calls visit with each element of an array, which is sound, until it
// is false. It is false then, and where array is none.
func elements(array []byte, visit func(n int, value []byte) bool) bool {
	if len(array) == 0 || array[0] != '[' {
		return false
	}
	ok, n := true, 0
	jsonscan.Elements(array, func(v llm.Span) bool {
		ok = visit(n, array[v.Start:v.End])
		n++
		return ok
	})
	return ok
}

// find gives the value of a member of an object, nil where there is none.
func find(object []byte, name string) (value []byte) {
	members(object, func(key, v []byte) bool {
		if string(key) == name {
			value = v
		}
		return true
	})
	return value
}

// null reports whether a member is missing or null.
func null(value []byte) bool { return value == nil || string(value) == "null" }

func isString(value []byte) bool { return len(value) > 0 && value[0] == '"' }

func isNumber(value []byte) bool { return len(value) > 0 && value[0]-'0' <= 9 }
