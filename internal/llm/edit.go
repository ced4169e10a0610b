package llm

import (
	"errors"
	"fmt"
)

// Replacement puts other bytes into the place of a span of a request's body. One
// of an empty span inserts them, one without bytes removes the span.
type Replacement struct {
	Span
	With []byte
}

// Edit gives a copy of the request with spans of its body replaced. The
// replacements are in the order of their spans, none of which overlaps another;
// those of empty spans at one place go in as they are listed. Body and BodyLen of
// the copy are those of the edited body, and ModelSpan is where the model's name
// stands in it. All else is the request's: whoever edits what another field speaks
// of changes that field too. It takes time linear in the body and in the
// replacements.
//
// The edited body is appended to dst, which is made larger at most once. dst and
// the room behind it have no part of the request's body or of the replacements in
// them. The copy owns nothing: its body is whoever's dst is, and is valid until
// that memory is used for something else, which may be as soon as the handler has
// returned that the copy was passed to. Where dst was empty, Body[:0] is the next
// one. Everything else of the copy is valid as long as the request is.
//
// The model's name is not edited, since routing and figures go by what the client
// said: an upstream that knows the model by another name is told that by
// UpstreamModel. A replacement that has a byte in common with the name, or that
// is put inside of it, is refused, as are one that is out of order or reaches
// beyond the body, and a request whose body is not held. Such an error is a
// fault of the caller and not meant for clients.
func (r *Request) Edit(dst []byte, replacements []Replacement) (Request, error) {
	if r.BodyReader != nil {
		return Request{}, errNotHeld
	}
	model, named := r.model()
	length, shift, end := len(r.Body), 0, 0
	for i := range replacements {
		s := &replacements[i]
		if s.Start < end || s.End < s.Start || s.End > len(r.Body) {
			return Request{}, fmt.Errorf("edit request: replacement %d is of the bytes from %d to %d of %d, after one to %d", i, s.Start, s.End, len(r.Body), end)
		}
		if named && s.Start < model.End && model.Start < s.End {
			return Request{}, fmt.Errorf("edit request: replacement %d is of the bytes from %d to %d, where the model's name stands", i, s.Start, s.End)
		}
		grown := len(s.With) - (s.End - s.Start)
		if s.End <= model.Start {
			shift += grown
		}
		length, end = length+grown, s.End
	}
	edited := *r
	edited.ModelSpan = Span{}
	if named {
		edited.ModelSpan = Span{model.Start + shift, model.End + shift}
	}
	edited.Body = splice(dst, r.Body, replacements, length)[len(dst):]
	edited.BodyLen = int64(length)
	return edited, nil
}

var errNotHeld = errors.New("edit request: its body is not held in memory")

// splice appends body with its replacements to dst, length bytes in all.
func splice(dst, body []byte, replacements []Replacement, length int) []byte {
	if cap(dst)-len(dst) < length {
		dst = append(make([]byte, 0, len(dst)+length), dst...)
	}
	from := 0
	for i := range replacements {
		s := &replacements[i]
		dst = append(append(dst, body[from:s.Start]...), s.With...)
		from = s.End
	}
	return append(dst, body[from:]...)
}

// CutModel gives what stands in Body before the model's name and after it, so
// that another name can go out between them without a copy. ok is false where the
// model does not stand there; before is then all of Body.
func (r *Request) CutModel() (before, after []byte, ok bool) {
	s, ok := r.model()
	if !ok {
		return r.Body, nil, false
	}
	return r.Body[:s.Start], r.Body[s.End:], true
}

// model gives ModelSpan, if it is one in Body.
func (r *Request) model() (s Span, ok bool) {
	if s = r.ModelSpan; s.Start < 0 || s.End <= s.Start || s.End > len(r.Body) {
		return Span{}, false
	}
	return s, true
}
