package chattemplate

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// value is a value of a template: undefined, nil (none), bool, int64, float64, string,
// *list, *dict, or a function.
type value any

// undefined is what a name stands for that has no value.
type undefined struct{ name string }

// list is a list, or a tuple, which differ in nothing but how they are printed.
type list struct {
	items []value
	tuple bool
}

// dict keeps the order of its members, as Python does. Its keys are strings.
type dict struct {
	keys   []string
	values []value
	at     map[string]int // nil while there are few members
	space  bool           // a namespace, of which members may be set
}

// fewMembers is how many members are looked through one by one.
const fewMembers = 8

func (d *dict) find(key string) int {
	if d.at == nil {
		return slices.Index(d.keys, key)
	}
	if i, ok := d.at[key]; ok {
		return i
	}
	return -1
}

func (d *dict) get(key string) (value, bool) {
	if i := d.find(key); i >= 0 {
		return d.values[i], true
	}
	return nil, false
}

func (d *dict) set(key string, v value) {
	if i := d.find(key); i >= 0 {
		d.values[i] = v
		return
	}
	d.keys, d.values = append(d.keys, key), append(d.values, v)
	if d.at == nil && len(d.keys) > fewMembers {
		d.at = make(map[string]int, 2*len(d.keys))
		for i, k := range d.keys {
			d.at[k] = i
		}
	} else if d.at != nil {
		d.at[key] = len(d.keys) - 1
	}
}

// function is a macro, a method or a function of the environment.
type function func(e *exec, args arguments) value

// arguments are those of a call. What is given by name comes after the others.
type arguments struct {
	list  []value
	names []string // of those given by name
	named []value
}

// get gives the argument number i, which may be given by name too.
func (a *arguments) get(i int, name string) (value, bool) {
	if i < len(a.list) {
		return a.list[i], true
	}
	if k := slices.Index(a.names, name); k >= 0 {
		return a.named[k], true
	}
	return nil, false
}

func kindOf(v value) string {
	switch v := v.(type) {
	case undefined:
		return "undefined"
	case nil:
		return "none"
	case bool:
		return "a boolean"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case string:
		return "a string"
	case *list:
		return "a list"
	case *dict:
		if v.space {
			return "a namespace"
		}
		return "a mapping"
	}
	return "a function"
}

func truth(v value) bool {
	switch v := v.(type) {
	case undefined, nil:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *list:
		return len(v.items) > 0
	case *dict:
		return v.space || len(v.keys) > 0
	}
	return true
}

// number gives a number, and whether v is one; a boolean is 0 or 1, as in Python.
func number(v value) (i int64, f float64, isInt, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, 1, true, true
		}
		return 0, 0, true, true
	case int64:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	}
	return 0, 0, false, false
}

func (e *exec) equal(a, b value) bool {
	e.step(1)
	if i, f, isInt, ok := number(a); ok {
		j, g, isInt2, ok := number(b)
		if isInt && isInt2 {
			return ok && i == j
		}
		return ok && f == g
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case string:
		b, ok := b.(string)
		e.step(min(len(a), len(b)) / copied)
		return ok && a == b
	case *list:
		b, ok := b.(*list)
		return ok && a.tuple == b.tuple && len(a.items) == len(b.items) && e.deeper(func() bool {
			for i := range a.items {
				if !e.equal(a.items[i], b.items[i]) {
					return false
				}
			}
			return true
		})
	case *dict:
		b, ok := b.(*dict)
		return ok && len(a.keys) == len(b.keys) && e.deeper(func() bool {
			for i, k := range a.keys {
				if v, ok := b.get(k); !ok || !e.equal(a.values[i], v) {
					return false
				}
			}
			return true
		})
	}
	return false
}

// deeper calls f one level deeper.
func (e *exec) deeper(f func() bool) bool {
	e.enter()
	defer e.leave()
	return f()
}

// compare orders two values: -1, 0 or 1.
func (e *exec) compare(a, b value) int {
	if i, f, isInt, ok := number(a); ok {
		if j, g, isInt2, ok := number(b); ok {
			switch {
			case isInt && isInt2:
				return compareOf(i < j, i > j)
			default:
				return compareOf(f < g, f > g)
			}
		}
	}
	if s, ok := a.(string); ok {
		if t, ok := b.(string); ok {
			e.step(min(len(s), len(t)) / copied)
			return strings.Compare(s, t)
		}
	}
	if l, ok := a.(*list); ok {
		if m, ok := b.(*list); ok {
			e.enter()
			defer e.leave()
			for i := range min(len(l.items), len(m.items)) {
				e.step(1)
				if c := e.compare(l.items[i], m.items[i]); c != 0 {
					return c
				}
			}
			return compareOf(len(l.items) < len(m.items), len(l.items) > len(m.items))
		}
	}
	e.fail("%s and %s have no order", kindOf(a), kindOf(b))
	return 0
}

func compareOf(less, more bool) int {
	switch {
	case less:
		return -1
	case more:
		return 1
	}
	return 0
}

// text is how v is printed.
func (e *exec) text(v value) string {
	switch v := v.(type) {
	case string:
		return v
	case undefined:
		return ""
	case *list, *dict:
		return string(e.appendRepr(nil, v))
	}
	return string(e.appendRepr(nil, v))
}

// appendRepr appends v as Python's repr has it.
func (e *exec) appendRepr(dst []byte, v value) []byte {
	e.step(1)
	e.spend(perItem) // with what the text grows by
	switch v := v.(type) {
	case nil:
		return append(dst, "None"...)
	case bool:
		if v {
			return append(dst, "True"...)
		}
		return append(dst, "False"...)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		return appendFloat(dst, v)
	case string:
		e.step(len(v) / walked)
		e.spend(4 * len(v))
		return appendQuoted(dst, v)
	case *list:
		e.enter()
		defer e.leave()
		open, end := byte('['), "]"
		if v.tuple {
			if open, end = '(', ")"; len(v.items) == 1 {
				end = ",)"
			}
		}
		dst = append(dst, open)
		for i, item := range v.items {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = e.appendRepr(dst, item)
		}
		return append(dst, end...)
	case *dict:
		e.enter()
		defer e.leave()
		dst = append(dst, '{')
		for i, k := range v.keys {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			e.spend(4 * len(k))
			dst = append(appendQuoted(dst, k), ": "...)
			dst = e.appendRepr(dst, v.values[i])
		}
		return append(dst, '}')
	case undefined:
		return append(dst, "Undefined"...)
	}
	e.fail("a function cannot be printed")
	return dst
}

// appendFloat appends a float as Python prints it.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if !slices.Contains(dst[start:], '.') {
		dst = append(dst, ".0"...)
	}
	return dst
}

// appendQuoted appends a string in the quotes that Python would choose.
func appendQuoted(dst []byte, s string) []byte {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	dst = append(dst, quote)
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < ' ' || r == 0x7f || r > 0x7f && r < 0xa1 || r == 0xad:
			dst = appendHex(append(dst, `\x`...), r, 2)
		case r > 0x7f && !unicode.IsPrint(r) && r <= 0xffff:
			dst = appendHex(append(dst, `\u`...), r, 4)
		case r > 0xffff && !unicode.IsPrint(r):
			dst = appendHex(append(dst, `\U`...), r, 8)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, quote)
}

func appendHex(dst []byte, r rune, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[r>>shift&15])
	}
	return dst
}

// items gives what a loop runs over.
func (e *exec) items(v value) []value {
	switch v := v.(type) {
	case *list:
		return v.items
	case *dict:
		items := make([]value, len(v.keys))
		for i, k := range v.keys {
			items[i] = k
		}
		e.spend(16 * len(items))
		return items
	case string:
		n := utf8.RuneCountInString(v)
		e.step(len(v) / walked)
		e.spend(36 * n)
		items := make([]value, 0, n)
		for _, r := range v {
			items = append(items, string(r))
		}
		return items
	case undefined:
		return nil
	}
	e.fail("%s cannot be looped over", kindOf(v))
	return nil
}
