package chattemplate

import (
	"html"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// globals are the functions that every template has.
func globals(name string) (function, bool) {
	switch name {
	case "raise_exception":
		return func(e *exec, a arguments) value {
			v, _ := a.get(0, "message")
			panic(&Error{Line: e.line, Msg: e.text(v), Raised: true})
		}, true
	case "strftime_now":
		return func(e *exec, a arguments) value {
			v, _ := a.get(0, "format")
			format, ok := v.(string)
			if !ok {
				e.fail("strftime_now takes a format")
			}
			return strftime(e, format)
		}, true
	case "namespace", "dict":
		return func(e *exec, a arguments) value {
			d := &dict{space: name == "namespace"}
			for _, v := range a.list {
				from, ok := v.(*dict)
				if !ok {
					e.fail("%s takes mappings and named values", name)
				}
				for i, k := range from.keys {
					e.spend(48)
					d.set(k, from.values[i])
				}
			}
			for i, k := range a.names {
				e.spend(48)
				d.set(k, a.named[i])
			}
			return d
		}, true
	case "range":
		return ranged, true
	}
	return nil, false
}

func ranged(e *exec, a arguments) value {
	var n [3]int64
	for i, v := range a.list {
		if i == len(n) {
			e.fail("range takes three numbers at most")
		}
		n[i] = e.integer(v, "range takes integers")
	}
	from, to, step := n[0], n[1], n[2]
	switch len(a.list) {
	case 0:
		e.fail("range takes a number")
	case 1:
		from, to, step = 0, from, 1
	case 2:
		step = 1
	}
	if step == 0 {
		e.fail("the step of range is not 0")
	}
	l := &list{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		e.step(1)
		e.spend(perItem)
		l.items = append(l.items, i)
		if step > 0 && i > math.MaxInt64-step || step < 0 && i < math.MinInt64-step {
			break
		}
	}
	return l
}

func (e *exec) integer(v value, what string) int64 {
	i, _, isInt, ok := number(v)
	if !ok || !isInt {
		e.fail("%s, not %s", what, kindOf(v))
	}
	return i
}

// str gives a text argument.
func (e *exec) str(v value, what string) string {
	s, ok := v.(string)
	if !ok {
		e.fail("%s takes a string, not %s", what, kindOf(v))
	}
	return s
}

// layouts are what the letters behind % stand for, as package time writes it.
var layouts = map[byte]string{ //nolint:gochecknoglobals // a table that nobody writes
	'd': "02", 'm': "01", 'y': "06", 'Y': "2006", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'j': "002", 'e': "_2",
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'p': "PM", 'F': "2006-01-02", 'T': "15:04:05", 'Z': "MST", 'z': "-0700",
	'D': "01/02/06", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
}

// strftime writes a time as C's function of that name does, in English.
func strftime(e *exec, format string) string {
	var b strings.Builder
	e.step(len(format) / walked)
	e.spend(2 * len(format)) // with what the text grows by
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		e.step(1)
		e.spend(48) // none is longer
		i++
		bare := format[i] == '-' // no zero before it
		if bare && i+1 < len(format) {
			i++
		}
		layout := layouts[format[i]]
		switch {
		case format[i] == '%':
			b.WriteByte('%')
		case layout == "":
			e.fail("strftime_now does not know %%%c", format[i])
		default:
			s := e.now.Format(layout)
			if bare {
				s = strings.TrimLeft(s, "0 ")
			}
			b.WriteString(s)
		}
	}
	return b.String()
}

type filterFunc func(e *exec, v value, a arguments) value

// filterOf finds a filter, nil for none.
func filterOf(name string) filterFunc {
	switch name {
	case "tojson":
		return toJSON
	case "trim", "strip":
		return func(e *exec, v value, a arguments) value {
			chars, _ := a.get(0, "chars")
			return strip(e, e.text(v), chars, true, true)
		}
	case "length", "count":
		return func(e *exec, v value, _ arguments) value { return e.length(v) }
	case "default", "d":
		return func(_ *exec, v value, a arguments) value {
			other, ok := a.get(0, "default_value")
			if !ok {
				other = ""
			}
			any, _ := a.get(1, "boolean")
			if _, absent := v.(undefined); absent || truth(any) && !truth(v) {
				return other
			}
			return v
		}
	case "upper", "lower", "capitalize", "title":
		return func(e *exec, v value, _ arguments) value { return cased(e, name, e.text(v)) }
	case "first", "last":
		return func(e *exec, v value, _ arguments) value {
			items := e.items(v)
			if len(items) == 0 {
				return undefined{"an element of what is empty"}
			}
			if name == "first" {
				return items[0]
			}
			return items[len(items)-1]
		}
	case "join":
		return join
	case "list":
		return func(e *exec, v value, _ arguments) value {
			items := e.items(v)
			e.spend(16 * len(items))
			return &list{items: slices.Clone(items)}
		}
	case "string":
		return func(e *exec, v value, _ arguments) value { return e.text(v) }
	case "safe":
		return func(_ *exec, v value, _ arguments) value { return v }
	case "escape", "e":
		return func(e *exec, v value, _ arguments) value {
			s := e.text(v)
			e.step(len(s) / walked)
			e.spend(6 * len(s)) // "&#34;", and what it is put together in
			return html.EscapeString(s)
		}
	case "int", "float":
		return func(e *exec, v value, a arguments) value { return toNumber(e, v, a, name == "int") }
	case "abs", "round":
		return func(e *exec, v value, a arguments) value { return rounded(e, v, a, name == "abs") }
	case "items":
		return func(e *exec, v value, _ arguments) value {
			if _, absent := v.(undefined); absent {
				return &list{}
			}
			return dictMethod(e.dict(v, name), name)(e, arguments{})
		}
	case "dictsort":
		return func(e *exec, v value, _ arguments) value {
			d := e.dict(v, name)
			return dictMethod(e.sortedDict(d), "items")(e, arguments{})
		}
	case "replace":
		return func(e *exec, v value, a arguments) value { return stringMethod(e.text(v), "replace")(e, a) }
	case "indent":
		return indent
	case "reverse":
		return func(e *exec, v value, _ arguments) value {
			if s, ok := v.(string); ok {
				return e.slice(s, [3]expr{nil, nil, constant(int64(-1))})
			}
			l := &list{items: slices.Clone(e.items(v))}
			e.spend(16 * len(l.items))
			slices.Reverse(l.items)
			return l
		}
	case "sort", "unique", "min", "max", "sum":
		return func(e *exec, v value, a arguments) value { return ordered(e, name, v, a) }
	case "map", "select", "reject", "selectattr", "rejectattr":
		return func(e *exec, v value, a arguments) value { return each(e, name, v, a) }
	}
	return nil
}

func (e *exec) dict(v value, what string) *dict {
	d, ok := v.(*dict)
	if !ok {
		e.fail("%s takes a mapping, not %s", what, kindOf(v))
	}
	return d
}

// sortedDict has the members of d in the order of their keys.
func (e *exec) sortedDict(d *dict) *dict {
	e.step(2 * len(d.keys))
	e.spend(48 * len(d.keys))
	keys := slices.Sorted(slices.Values(d.keys))
	s := &dict{}
	for _, k := range keys {
		v, _ := d.get(k)
		s.set(k, v)
	}
	return s
}

func (e *exec) length(v value) value {
	switch v := v.(type) {
	case string:
		e.step(len(v) / 64)
		return int64(len([]rune(v)))
	case *list:
		return int64(len(v.items))
	case *dict:
		return int64(len(v.keys))
	case undefined:
		return int64(0)
	}
	e.fail("%s has no length", kindOf(v))
	return nil
}

func toJSON(e *exec, v value, a arguments) value {
	if u, ok := v.(undefined); ok {
		e.fail("%q is undefined, so it is no JSON", u.name)
	}
	j := &encoder{e: e, item: ", ", member: ": "}
	ascii, _ := a.get(0, "ensure_ascii")
	if len(a.list) > 0 { // as the first argument of the transformers library's filter
		ascii = a.list[0]
	}
	j.escapeAs = truth(ascii)
	if in, ok := a.get(1, "indent"); ok && in != nil {
		j.lines, j.item = true, ","
		if s, ok := in.(string); ok {
			j.indent = s
		} else {
			j.indent = strings.Repeat(" ", int(max(0, min(e.integer(in, "indent takes an integer"), 64))))
		}
	}
	if s, ok := a.get(2, "separators"); ok && s != nil {
		pair := e.items(s)
		if len(pair) != 2 {
			e.fail("separators are two strings")
		}
		j.item, j.member = e.str(pair[0], "separators"), e.str(pair[1], "separators")
	}
	sorted, _ := a.get(3, "sort_keys")
	j.sorted = truth(sorted)
	return e.made(string(j.append(nil, v, 0)))
}

func join(e *exec, v value, a arguments) value {
	by, _ := a.get(0, "d")
	sep := ""
	if by != nil {
		sep = e.text(by)
	}
	attribute, named := a.get(1, "attribute")
	var b strings.Builder
	for i, item := range e.items(v) {
		e.step(1)
		if named {
			item = e.path(item, attribute)
		}
		if i > 0 {
			e.spend(2 * len(sep)) // with what the text grows by
			b.WriteString(sep)
		}
		s := e.text(item)
		e.step(len(s) / copied)
		e.spend(2 * len(s))
		b.WriteString(s)
	}
	return b.String()
}

// path gives the member of v that an attribute names, as "a.b".
func (e *exec) path(v, attribute value) value {
	name, ok := attribute.(string)
	if !ok {
		return e.index(v, attribute)
	}
	for part := range strings.SplitSeq(name, ".") {
		if i, err := strconv.ParseInt(part, 10, 64); err == nil {
			v = e.index(v, i)
		} else {
			v = e.index(v, part)
		}
	}
	return v
}

func toNumber(e *exec, v value, a arguments, whole bool) value {
	or, given := a.get(0, "default")
	if !given {
		or = map[bool]value{true: int64(0), false: 0.0}[whole]
	}
	i, f, isInt, ok := number(v)
	if s, text := v.(string); text {
		s = strings.TrimSpace(s)
		var err, err2 error
		if i, err = strconv.ParseInt(s, 10, 64); err == nil {
			f, isInt, ok = float64(i), true, true
		} else if f, err2 = strconv.ParseFloat(s, 64); err2 == nil {
			ok = true
		}
	}
	switch {
	case !ok || whole && !isInt && (math.IsNaN(f) || math.IsInf(f, 0)):
		return or
	case !whole:
		return f
	case isInt:
		return i
	case f < math.MinInt64 || f >= math.MaxInt64: // which as a float is 2^63
		e.beyond()
	}
	return int64(f)
}

func rounded(e *exec, v value, a arguments, abs bool) value {
	i, f, isInt, ok := number(v)
	switch {
	case !ok:
		e.fail("%s is no number", kindOf(v))
	case abs && isInt && i < 0:
		return e.times(i, -1)
	case abs && isInt:
		return i
	case abs:
		return math.Abs(f)
	}
	digits := int64(0)
	if d, ok := a.get(0, "precision"); ok {
		digits = e.integer(d, "round takes an integer")
	}
	unit := math.Pow(10, float64(digits))
	how, _ := a.get(1, "method")
	switch how {
	case "ceil":
		return math.Ceil(f*unit) / unit
	case "floor":
		return math.Floor(f*unit) / unit
	}
	return math.RoundToEven(f*unit) / unit
}

func indent(e *exec, v value, a arguments) value {
	width, pad := value(int64(4)), ""
	if w, ok := a.get(0, "width"); ok {
		width = w
	}
	if s, ok := width.(string); ok {
		pad = s
	} else {
		pad = strings.Repeat(" ", int(max(0, min(e.integer(width, "indent takes an integer"), 1000))))
	}
	first, _ := a.get(1, "first")
	blank, _ := a.get(2, "blank")
	var b strings.Builder
	s := e.text(v)
	e.step(len(s) / scanned)
	e.spend(16 * (strings.Count(s, "\n") + 1))
	for i, line := range strings.Split(s, "\n") {
		e.step(1)
		if i > 0 {
			b.WriteByte('\n')
		}
		if i > 0 && (line != "" || truth(blank)) || i == 0 && truth(first) {
			e.spend(2 * len(pad)) // with what the text grows by
			b.WriteString(pad)
		}
		e.spend(2*len(line) + 2)
		b.WriteString(line)
	}
	return b.String()
}

func cased(e *exec, how, s string) value {
	e.step(len(s) / walked)
	e.spend(3 * len(s)) // a letter may grow
	switch how {
	case "upper":
		s = strings.ToUpper(s)
	case "lower":
		s = strings.ToLower(s)
	case "capitalize":
		e.spend(4 * len(s))
		r := []rune(strings.ToLower(s))
		if len(r) > 0 {
			r[0] = unicode.ToUpper(r[0])
		}
		s = string(r)
	case "title":
		word := false
		s = strings.Map(func(r rune) rune {
			was := word
			if word = unicode.IsLetter(r) || unicode.IsDigit(r) || was && r == '\''; was {
				return unicode.ToLower(r)
			}
			return unicode.ToUpper(r)
		}, s)
	}
	return s
}

// ordered is sort, unique, min, max and sum.
func ordered(e *exec, name string, v value, a arguments) value {
	items := slices.Clone(e.items(v))
	e.spend(16 * len(items))
	at := 0
	if name == "sort" {
		at = 2
	}
	attribute, named := a.get(at, "attribute")
	key := func(v value) value {
		if named && attribute != nil {
			v = e.path(v, attribute)
		}
		if s, ok := v.(string); ok && name != "sum" {
			if exact, _ := a.get(1, "case_sensitive"); !truth(exact) {
				e.step(len(s) / walked)
				return strings.ToLower(s)
			}
		}
		return v
	}
	switch name {
	case "sum":
		total := value(int64(0))
		for _, item := range items {
			e.step(1)
			total = e.arithmetic("+", total, key(item))
		}
		return total
	case "unique":
		l := &list{}
		seen := &list{}
		for _, item := range items {
			if k := key(item); !e.contains(seen, k) {
				seen.items, l.items = append(seen.items, k), append(l.items, item)
			}
		}
		return l
	}
	sort.SliceStable(items, func(i, j int) bool { e.step(1); return e.compare(key(items[i]), key(items[j])) < 0 })
	switch {
	case name == "sort":
		if back, _ := a.get(0, "reverse"); truth(back) {
			slices.Reverse(items)
		}
		return &list{items: items}
	case len(items) == 0:
		return undefined{"an element of what is empty"}
	case name == "min":
		return items[0]
	}
	return items[len(items)-1]
}

// each is map, select, reject, selectattr and rejectattr.
func each(e *exec, name string, v value, a arguments) value {
	l := &list{}
	attr := strings.HasSuffix(name, "attr")
	if name == "map" {
		if attribute, ok := a.get(len(a.list), "attribute"); ok {
			or, hasDefault := a.get(len(a.list), "default")
			for _, item := range e.items(v) {
				e.spend(perItem)
				got := e.path(item, attribute)
				if _, absent := got.(undefined); absent && hasDefault {
					got = or
				}
				l.items = append(l.items, got)
			}
			return l
		}
	}
	if len(a.list) == 0 && (attr || name == "map") {
		e.fail("%s takes a name", name)
	}
	if name == "map" {
		f := filterOf(e.str(a.list[0], name))
		if f == nil {
			e.fail("the filter %q is not supported", a.list[0])
		}
		rest := arguments{a.list[1:], a.names, a.named}
		for _, item := range e.items(v) {
			e.step(1)
			e.spend(perItem)
			l.items = append(l.items, f(e, item, rest))
		}
		return l
	}
	rest := a.list
	if attr {
		rest = rest[1:]
	}
	f := testFunc(func(_ *exec, v value, _ arguments) bool { return truth(v) })
	if len(rest) > 0 {
		if f = testOf(e.str(rest[0], name)); f == nil {
			e.fail("the test %q is not supported", rest[0])
		}
		rest = rest[1:]
	}
	for _, item := range e.items(v) {
		e.step(1)
		of := item
		if attr {
			of = e.path(item, a.list[0])
		}
		if f(e, of, arguments{list: rest}) == strings.HasPrefix(name, "select") {
			e.spend(perItem)
			l.items = append(l.items, item)
		}
	}
	return l
}

type testFunc func(e *exec, v value, a arguments) bool

// testOf finds a test, nil for none.
func testOf(name string) testFunc {
	switch name {
	case "defined", "undefined":
		return func(_ *exec, v value, _ arguments) bool {
			_, absent := v.(undefined)
			return absent == (name == "undefined")
		}
	case "none":
		return func(_ *exec, v value, _ arguments) bool { return v == nil }
	case "true", "false":
		return func(_ *exec, v value, _ arguments) bool { return v == (name == "true") }
	case "boolean":
		return func(_ *exec, v value, _ arguments) bool { _, ok := v.(bool); return ok }
	case "integer":
		return func(_ *exec, v value, _ arguments) bool { _, ok := v.(int64); return ok }
	case "float":
		return func(_ *exec, v value, _ arguments) bool { _, ok := v.(float64); return ok }
	case "number":
		return func(_ *exec, v value, _ arguments) bool { _, _, _, ok := number(v); return ok }
	case "string":
		return func(_ *exec, v value, _ arguments) bool { _, ok := v.(string); return ok }
	case "mapping":
		return func(_ *exec, v value, _ arguments) bool { d, ok := v.(*dict); return ok && !d.space }
	case "sequence", "iterable":
		return func(_ *exec, v value, _ arguments) bool {
			switch v := v.(type) {
			case *list, string:
				return true
			case undefined:
				return true
			case *dict:
				return !v.space
			}
			return false
		}
	case "callable":
		return func(_ *exec, v value, _ arguments) bool { _, ok := v.(function); return ok }
	case "lower", "upper":
		return func(e *exec, v value, _ arguments) bool {
			s := e.text(v)
			return cased(e, name, s) == s && strings.ContainsFunc(s, unicode.IsLetter)
		}
	case "odd", "even":
		return func(e *exec, v value, _ arguments) bool {
			return e.integer(v, "odd and even are integers")&1 == map[string]int64{"odd": 1, "even": 0}[name]
		}
	case "divisibleby":
		return func(e *exec, v value, a arguments) bool {
			by, _ := a.get(0, "num")
			return e.arithmetic("%", v, by) == int64(0)
		}
	}
	op := map[string]string{
		"equalto": "==", "eq": "==", "==": "==", "ne": "!=", "!=": "!=", "lt": "<", "<": "<", "lessthan": "<", "le": "<=", "<=": "<=",
		"gt": ">", ">": ">", "greaterthan": ">", "ge": ">=", ">=": ">=", "in": "in", "sameas": "==",
	}[name]
	if op == "" {
		return nil
	}
	return func(e *exec, v value, a arguments) bool {
		other, ok := a.get(0, "other")
		if !ok {
			e.fail("the test %s takes a value", name)
		}
		return e.holds(op, v, other)
	}
}
