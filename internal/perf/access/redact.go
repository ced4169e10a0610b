package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"sluice/internal/jsonscan"
)

const (
	// maxRedacted bounds a redacted body, in bytes.
	maxRedacted = 4 << 10
	// maxShown is the longest string that is ever shown, in bytes.
	maxShown = 64
)

// shown are the members whose strings are names out of a vocabulary, and not what
// somebody said.
func shown(key string) bool {
	switch key {
	case "model", "role", "type", "object", "finish_reason", "id", "encoding_format", "service_tier", "reasoning_effort",
		"effort", "status", "code", "tool_choice", "detail", "system_fingerprint", "verbosity", "modalities", "truncation":
		return true
	}
	return false
}

// Redact appends the shape of a JSON body: its members, numbers and literals, and
// of strings only how long they are, but for those of a short list of members
// such as model and role. Of what is not JSON it gives the length.
func Redact(dst, body []byte) []byte {
	whole := len(dst)
	if jsonscan.Validate(body, 0) != nil {
		return appendLength(dst, len(body))
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	r := redactor{dst: dst, most: whole + maxRedacted, in: d}
	if err := r.value(""); err != nil {
		if errors.Is(err, errFull) {
			return append(r.dst, "…"...)
		}
		return appendLength(dst[:whole], len(body))
	}
	return r.dst
}

// errFull says that the shape is longer than it may be.
var errFull = errors.New("the body is too long")

type redactor struct {
	dst  []byte
	most int
	in   *json.Decoder
}

// value redacts the next value, that of the member called key.
func (r *redactor) value(key string) error {
	t, err := r.in.Token()
	if err != nil {
		return err
	}
	if len(r.dst) > r.most {
		return errFull
	}
	switch v := t.(type) {
	case json.Delim:
		return r.members(v, key)
	case string:
		r.str(key, v)
	case json.Number:
		r.dst = append(r.dst, v...)
	case bool:
		r.dst = strconv.AppendBool(r.dst, v)
	default:
		r.dst = append(r.dst, "null"...)
	}
	return nil
}

// members redacts what is in an object or an array, whose beginning was read.
func (r *redactor) members(open json.Delim, key string) error {
	r.dst = append(r.dst, byte(open))
	for n := 0; r.in.More(); n++ {
		if n > 0 {
			r.dst = append(r.dst, ',')
		}
		if open == '{' {
			t, err := r.in.Token()
			if err != nil {
				return err
			}
			key, _ = t.(string)
			r.name(key)
		}
		if err := r.value(key); err != nil {
			return err
		}
	}
	t, err := r.in.Token()
	if err != nil {
		return err
	}
	end, ok := t.(json.Delim)
	if !ok {
		return io.ErrUnexpectedEOF
	}
	r.dst = append(r.dst, byte(end))
	return nil
}

// name shows a member's name if it looks like one: a client may put anything
// there.
func (r *redactor) name(key string) {
	ok := len(key) > 0 && len(key) <= 32
	for i := range len(key) {
		c := key[i]
		ok = ok && (c == '_' || 'a' <= c && c <= 'z')
	}
	if ok {
		r.dst = append(append(append(r.dst, '"'), key...), `":`...)
		return
	}
	r.dst = append(appendLength(append(r.dst, '"'), len(key)), `":`...)
}

func (r *redactor) str(key, v string) {
	if shown(key) && len(v) <= maxShown {
		r.dst = jsonscan.AppendString(r.dst, v)
		return
	}
	r.dst = append(appendLength(append(r.dst, '"'), len(v)), '"')
}

func appendLength(dst []byte, n int) []byte {
	return append(strconv.AppendInt(append(dst, '<'), int64(n), 10), " bytes>"...)
}
