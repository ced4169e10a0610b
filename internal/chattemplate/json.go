package chattemplate

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decode makes a value of JSON, with members in their order.
func (e *exec) decode(raw []byte) value {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v := e.decodeNext(d)
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		e.fail("it is no JSON")
	}
	return v
}

func (e *exec) decodeNext(d *json.Decoder) value {
	t, err := d.Token()
	if err != nil {
		e.fail("it is no JSON: %v", err)
	}
	e.step(1)
	e.spend(perItem)
	switch t := t.(type) {
	case json.Delim:
		e.enter()
		defer e.leave()
		if t == '[' {
			l := &list{}
			for d.More() {
				l.items = append(l.items, e.decodeNext(d))
			}
			_, _ = d.Token()
			return l
		}
		m := &dict{}
		for d.More() {
			key, err := d.Token()
			name, ok := key.(string)
			if err != nil || !ok {
				e.fail("it is no JSON")
			}
			e.spend(perItem + 2*len(name))
			m.set(name, e.decodeNext(d))
		}
		_, _ = d.Token()
		return m
	case json.Number:
		if i, err := strconv.ParseInt(string(t), 10, 64); err == nil {
			return i
		}
		f, _ := t.Float64()
		return f
	case string:
		e.spend(len(t))
		return t
	case bool:
		return t
	}
	return nil
}

// encoder writes JSON as Python's json.dumps does, without escapes for what is not ASCII
// unless it is told so.
type encoder struct {
	e        *exec
	indent   string // one level of it
	lines    bool
	item     string // what separates items,
	member   string // and a key from its value
	sorted   bool
	escapeAs bool // ASCII
}

func (j *encoder) append(dst []byte, v value, level int) []byte {
	j.e.step(1)
	j.e.spend(16 + 4*level*len(j.indent))
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		switch {
		case math.IsNaN(v):
			return append(dst, "NaN"...)
		case math.IsInf(v, 1):
			return append(dst, "Infinity"...)
		case math.IsInf(v, -1):
			return append(dst, "-Infinity"...)
		}
		return appendFloat(dst, v)
	case string:
		j.e.step(len(v) / walked)
		j.e.spend(3 * len(v)) // with what it grows by
		return appendJSONString(dst, v, j.escapeAs)
	case *list:
		if len(v.items) == 0 {
			return append(dst, "[]"...)
		}
		j.e.enter()
		defer j.e.leave()
		dst = append(dst, '[')
		for i, item := range v.items {
			j.e.spend(2 * len(j.item))
			dst = j.append(j.next(dst, i, level+1), item, level+1)
		}
		return append(j.line(dst, level), ']')
	case *dict:
		if len(v.keys) == 0 {
			return append(dst, "{}"...)
		}
		j.e.enter()
		defer j.e.leave()
		dst = append(dst, '{')
		if j.sorted {
			v = j.e.sortedDict(v)
		}
		for i, k := range v.keys {
			j.e.spend(3*len(k) + 2*(len(j.item)+len(j.member)))
			dst = appendJSONString(j.next(dst, i, level+1), k, j.escapeAs)
			dst = j.append(append(dst, j.member...), v.values[i], level+1)
		}
		return append(j.line(dst, level), '}')
	}
	j.e.fail("%s is no JSON", kindOf(v))
	return dst
}

// next begins the item number i.
func (j *encoder) next(dst []byte, i, level int) []byte {
	if i > 0 {
		dst = append(dst, j.item...)
	}
	return j.line(dst, level)
}

func (j *encoder) line(dst []byte, level int) []byte {
	if !j.lines {
		return dst
	}
	return append(append(dst, '\n'), strings.Repeat(j.indent, level)...)
}

func appendJSONString(dst []byte, s string, ascii bool) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\b':
			dst = append(dst, `\b`...)
		case r == '\f':
			dst = append(dst, `\f`...)
		case r < ' ' || ascii && r >= 0x7f && r <= 0xffff && r != 0x7f:
			dst = appendHex(append(dst, `\u`...), r, 4)
		case ascii && r > 0xffff:
			r -= 0x10000
			dst = appendHex(append(dst, `\u`...), 0xd800+r>>10, 4)
			dst = appendHex(append(dst, `\u`...), 0xdc00+r&0x3ff, 4)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
