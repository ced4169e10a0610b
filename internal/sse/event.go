package sse

import (
	"bytes"

	"sluice/internal/llm"
)

// Data returns the payload of one event: the values of its data fields, joined
// by LF. With one data field it aliases raw; with several it is made in buf. It
// is false where the event has no data field, so that readers would pass over
// it.
func Data(raw, buf []byte) (data []byte, ok bool) {
	data, n := DataFields(raw)
	if n > 1 {
		data = join(buf[:0], raw)
	}
	return data, n > 0
}

// DataFields returns the value of an event's first data field, as a part of raw,
// and how many it has.
func DataFields(raw []byte) (first []byte, n int) {
	for len(raw) > 0 {
		var line []byte
		line, raw = cutLine(raw)
		if name, value := cutField(line); string(name) == "data" {
			if n++; n == 1 {
				first = value
			}
		}
	}
	return first, n
}

// join makes the payload of several data fields.
func join(buf, raw []byte) []byte {
	for len(raw) > 0 {
		var line []byte
		line, raw = cutLine(raw)
		if name, value := cutField(line); string(name) == "data" {
			buf = append(append(buf, value...), '\n')
		}
	}
	return buf[:len(buf)-1]
}

// OneField finds the value of an event that is one data field and nothing else,
// with the space in front of it, which is no part of the payload.
func OneField(raw []byte) (value llm.Span, ok bool) {
	const prefix = "data:"
	text := bytes.TrimRight(raw, "\r\n")
	switch string(raw[len(text):]) {
	case "\n\n", "\r\n\r\n", "\r\n\r", "\r\r":
	default:
		return value, false
	}
	if !bytes.HasPrefix(text, []byte(prefix)) || bytes.ContainsAny(text, "\r\n") {
		return value, false
	}
	return llm.Span{Start: len(prefix), End: len(text)}, true
}

// OneData is OneField for an event that may have its type in the line before.
func OneData(raw []byte) (value llm.Span, ok bool) {
	from := 0
	if bytes.HasPrefix(raw, []byte("event:")) {
		_, rest := cutLine(raw)
		from = len(raw) - len(rest)
	}
	value, ok = OneField(raw[from:])
	return llm.Span{Start: from + value.Start, End: from + value.End}, ok
}

// Name returns the event's type, the value of its last event field, as a part
// of raw. It is empty where there is none, which readers take as "message".
func Name(raw []byte) (name []byte) {
	for len(raw) > 0 {
		var line []byte
		line, raw = cutLine(raw)
		if field, value := cutField(line); string(field) == "event" {
			name = value
		}
	}
	return name
}

// IsComment reports whether raw means nothing to a reader: it has none of the
// fields data, event, id and retry.
func IsComment(raw []byte) bool {
	for len(raw) > 0 {
		var line []byte
		line, raw = cutLine(raw)
		switch field, _ := cutField(line); string(field) {
		case "data", "event", "id", "retry":
			return false
		}
	}
	return true
}

// AppendEvent appends an event to dst. Data may have several lines. No event
// field is written for an empty name; of any other, what follows its first line
// end is left out.
func AppendEvent(dst []byte, name string, data []byte) []byte {
	if name != "" {
		dst = append(dst, "event: "...)
		dst = append(dst, name[:lineEnd([]byte(name))]...)
		dst = append(dst, '\n')
	}
	return append(appendLines(dst, "data: ", data), '\n')
}

// AppendComment appends a comment, which may have several lines, to dst as an
// event of its own.
func AppendComment(dst []byte, text string) []byte {
	return append(appendLines(dst, ": ", []byte(text)), '\n')
}

func appendLines(dst []byte, prefix string, text []byte) []byte {
	for {
		n := lineEnd(text)
		dst = append(dst, prefix...)
		dst = append(dst, text[:n]...)
		dst = append(dst, '\n')
		if n == len(text) {
			return dst
		}
		text = text[n+endLen(text[n:]):]
	}
}

// cutLine returns the first line of raw, without its end, and what follows.
func cutLine(raw []byte) (line, rest []byte) {
	n := lineEnd(raw)
	if n == len(raw) {
		return raw, nil
	}
	return raw[:n], raw[n+endLen(raw[n:]):]
}

// cutField splits a line at its first colon. One space after the colon is no
// part of the value. Comments and blank lines have an empty name.
func cutField(line []byte) (name, value []byte) {
	name, value, _ = bytes.Cut(line, []byte(":"))
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	return name, value
}
