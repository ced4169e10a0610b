package chattemplate

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// dictMethod gives a method of a mapping, nil for none. None changes it.
func dictMethod(d *dict, name string) function {
	switch name {
	case "items", "keys", "values":
		return func(e *exec, _ arguments) value {
			e.step(len(d.keys))
			e.spend(64 * len(d.keys))
			l := &list{items: make([]value, len(d.keys))}
			for i, k := range d.keys {
				switch name {
				case "items":
					l.items[i] = &list{items: []value{k, d.values[i]}, tuple: true}
				case "keys":
					l.items[i] = k
				default:
					l.items[i] = d.values[i]
				}
			}
			return l
		}
	case "get":
		return func(e *exec, a arguments) value {
			key, _ := a.get(0, "key")
			or, _ := a.get(1, "default")
			if s, ok := key.(string); ok {
				if v, ok := d.get(s); ok {
					return v
				}
			}
			return or
		}
	case "copy":
		return func(e *exec, _ arguments) value {
			c := &dict{}
			e.spend(48 * len(d.keys))
			for i, k := range d.keys {
				c.set(k, d.values[i])
			}
			return c
		}
	}
	return nil
}

// listMethod gives a method of a list, nil for none. None changes it.
func listMethod(l *list, name string) function {
	switch name {
	case "count", "index":
		return func(e *exec, a arguments) value {
			v, _ := a.get(0, "value")
			n := int64(0)
			for i, item := range l.items {
				if e.equal(item, v) {
					if n++; name == "index" {
						return int64(i)
					}
				}
			}
			if name == "index" {
				e.fail("the list has no such element")
			}
			return n
		}
	}
	return nil
}

// strip takes characters off the ends of a text, white space where chars is none.
func strip(e *exec, s string, chars value, left, right bool) value {
	e.step(len(s) / scanned)
	is := unicode.IsSpace
	if set, ok := chars.(string); ok {
		e.step(len(s) / scanned * (len(set) / walked))
		is = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if left {
		s = strings.TrimLeftFunc(s, is)
	}
	if right {
		s = strings.TrimRightFunc(s, is)
	}
	return s
}

// stringMethod gives a method of a string, nil for none.
func stringMethod(s, name string) function {
	switch name {
	case "strip", "lstrip", "rstrip":
		return func(e *exec, a arguments) value {
			chars, _ := a.get(0, "chars")
			return strip(e, s, chars, name != "rstrip", name != "lstrip")
		}
	case "startswith", "endswith":
		return func(e *exec, a arguments) value {
			v, _ := a.get(0, "prefix")
			has := strings.HasPrefix
			if name == "endswith" {
				has = strings.HasSuffix
			}
			if l, ok := v.(*list); ok {
				for _, item := range l.items {
					e.step(1)
					if has(s, e.str(item, name)) {
						return true
					}
				}
				return false
			}
			part := e.str(v, name)
			e.step(len(part) / copied)
			return has(s, part)
		}
	case "split", "rsplit":
		return func(e *exec, a arguments) value { return split(e, s, a, name == "rsplit") }
	case "splitlines":
		return func(e *exec, _ arguments) value {
			l := &list{}
			e.step(len(s) / scanned)
			for line := range strings.Lines(strings.ReplaceAll(e.made(s), "\r\n", "\n")) {
				e.step(1)
				e.spend(perItem + 16)
				l.items = append(l.items, strings.TrimRight(line, "\n"))
			}
			return l
		}
	case "replace":
		return func(e *exec, a arguments) value {
			old, _ := a.get(0, "old")
			by, _ := a.get(1, "new")
			n := int64(-1)
			if c, ok := a.get(2, "count"); ok && c != nil {
				n = e.integer(c, "replace takes an integer")
			}
			from, to := e.str(old, "replace"), e.str(by, "replace")
			e.step(len(s) / walked)
			e.spend(len(s))
			if len(to) > len(from) {
				e.spend((strings.Count(s, from) + 1) * (len(to) - len(from)))
			}
			return strings.Replace(s, from, to, int(max(n, -1)))
		}
	case "upper", "lower", "capitalize", "title":
		return func(e *exec, _ arguments) value { return cased(e, name, s) }
	case "find", "rfind", "count", "index":
		return func(e *exec, a arguments) value {
			v, _ := a.get(0, "sub")
			sub := e.str(v, name)
			e.step(len(s) / walked)
			var at int
			switch name {
			case "count":
				return int64(strings.Count(s, sub))
			case "rfind":
				at = strings.LastIndex(s, sub)
			default:
				at = strings.Index(s, sub)
			}
			if at < 0 {
				if name == "index" {
					e.fail("the string has no such part")
				}
				return int64(-1)
			}
			return int64(utf8.RuneCountInString(s[:at]))
		}
	case "join":
		return func(e *exec, a arguments) value {
			v, _ := a.get(0, "iterable")
			for _, item := range e.items(v) {
				e.str(item, name)
			}
			return join(e, v, arguments{list: []value{s}})
		}
	case "removeprefix", "removesuffix":
		return func(e *exec, a arguments) value {
			v, _ := a.get(0, "part")
			if name == "removeprefix" {
				return strings.TrimPrefix(s, e.str(v, name))
			}
			return strings.TrimSuffix(s, e.str(v, name))
		}
	case "isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower":
		return func(e *exec, _ arguments) value {
			e.step(len(s) / walked)
			switch name {
			case "isupper":
				return strings.ToUpper(s) == s && strings.ToLower(s) != s
			case "islower":
				return strings.ToLower(s) == s && strings.ToUpper(s) != s
			}
			is := map[string]func(rune) bool{
				"isdigit": unicode.IsDigit, "isalpha": unicode.IsLetter, "isspace": unicode.IsSpace,
				"isalnum": func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) },
			}[name]
			return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !is(r) })
		}
	}
	return nil
}

// split cuts a text at a separator, or at white space where there is none.
func split(e *exec, s string, a arguments, fromEnd bool) value {
	most := int64(-1)
	if m, ok := a.get(1, "maxsplit"); ok {
		most = e.integer(m, "split takes an integer")
	}
	by, given := a.get(0, "sep")
	l := &list{}
	add := func(part string) {
		e.step(1)
		e.spend(perItem + 16)
		l.items = append(l.items, part)
	}
	e.step(len(s) / scanned)
	if !given || by == nil {
		rest := strings.TrimSpace(s)
		for rest != "" {
			at := strings.IndexFunc(rest, unicode.IsSpace)
			if fromEnd {
				at = strings.LastIndexFunc(rest, unicode.IsSpace)
			}
			if at < 0 || most == 0 {
				add(rest)
				break
			}
			if fromEnd {
				_, width := utf8.DecodeRuneInString(rest[at:])
				add(rest[at+width:])
				rest = strings.TrimRightFunc(rest[:at], unicode.IsSpace)
			} else {
				add(rest[:at])
				rest = strings.TrimLeftFunc(rest[at:], unicode.IsSpace)
			}
			most--
		}
	} else {
		sep := e.str(by, "split")
		if sep == "" {
			e.fail("split takes a separator that is not empty")
		}
		rest := s
		for {
			at := strings.Index(rest, sep)
			if fromEnd {
				at = strings.LastIndex(rest, sep)
			}
			if at < 0 || most == 0 {
				add(rest)
				break
			}
			if fromEnd {
				add(rest[at+len(sep):])
				rest = rest[:at]
			} else {
				add(rest[:at])
				rest = rest[at+len(sep):]
			}
			most--
		}
	}
	if fromEnd {
		for i, j := 0, len(l.items)-1; i < j; i, j = i+1, j-1 {
			l.items[i], l.items[j] = l.items[j], l.items[i]
		}
	}
	return l
}
