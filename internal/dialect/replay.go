package dialect

import (
	"bytes"
	"errors"
	"strconv"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Replay appends the server-sent events that give the content of a reply that came whole,
// as the server could have sent them: the values in them stand as they stood there.
type Replay struct {
	Dst   []byte
	Ends  []uint32 // where in Dst each event ends
	lines bool     // the reply has line ends, which cannot be in an event's data
}

// NewReplay appends to dst and ends what is made of body.
func NewReplay(dst []byte, ends []uint32, body []byte) Replay {
	return Replay{Dst: dst, Ends: ends, lines: bytes.IndexByte(body, '\n') >= 0 || bytes.IndexByte(body, '\r') >= 0}
}

// Text appends s.
func (w *Replay) Text(s string) { w.Dst = append(w.Dst, s...) }

// Number appends n.
func (w *Replay) Number(n int) { w.Dst = strconv.AppendInt(w.Dst, int64(n), 10) }

// JSON appends a part of the reply, without line ends and the indentation that
// follows them: within a string there are none.
func (w *Replay) JSON(raw []byte) {
	for w.lines {
		end := bytes.IndexAny(raw, "\r\n")
		if end < 0 {
			break
		}
		w.Dst = append(w.Dst, raw[:end]...)
		raw = bytes.TrimLeft(raw[end:], "\r\n\t ")
	}
	w.Dst = append(w.Dst, raw...)
}

// JSONOr appends a part of the reply, or what stands for it where it is missing
// or null.
func (w *Replay) JSONOr(raw []byte, instead string) {
	if OrNil(raw) == nil {
		w.Text(instead)
	} else {
		w.JSON(raw)
	}
}

// Field appends a member after others.
func (w *Replay) Field(name string, value []byte) {
	w.Dst = append(append(append(w.Dst, `,"`...), name...), `":`...)
	w.JSON(value)
}

// Member appends a member of the reply after others.
func (w *Replay) Member(key, value []byte) {
	w.Dst = append(jsonscan.AppendString(append(w.Dst, ','), string(key)), ':')
	w.JSON(value)
}

// EndEvent ends an event.
func (w *Replay) EndEvent() {
	w.Text("\n\n")
	w.Ends = append(w.Ends, uint32(len(w.Dst)))
}

var errShape = errors.New("unexpected shape")

// EachMember calls visit with each member of an object. It is false where object
// is none or visit has been false.
func EachMember(object []byte, visit func(key, value []byte) bool) bool {
	return jsonscan.Members(object, 0, func(key []byte, v llm.Span) error {
		if !visit(key, object[v.Start:v.End]) {
			return errShape
		}
		return nil
	}) == nil
}

// EachElement calls visit with each element of an array, which is sound, until it
// is false. It is false then, and where array is none.
func EachElement(array []byte, visit func(n int, value []byte) bool) bool {
	if !IsList(array) {
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

// Find gives the value of a member of an object, nil where there is none.
func Find(object []byte, name string) (value []byte) {
	EachMember(object, func(key, v []byte) bool {
		if string(key) == name {
			value = v
		}
		return true
	})
	return value
}
