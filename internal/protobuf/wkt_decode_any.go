package protobuf

import "unicode/utf8"

// anyMessage writes a google.protobuf.Any: the message inside, with its type
// among its members, or beside it where the message has a form of its own.
func (d *decoder) anyMessage(m *message, b []byte, i int) int {
	begin := i
	url, value, at := b[:0], b[:i], i
	var f *field
	for f, i = d.next(m, b, i); f != nil; f, i = d.next(m, b, i) {
		s, end := d.length(b, i)
		if s < 0 {
			return -1
		}
		if i = end; f.num == 1 {
			url = b[s:end]
			if !utf8.Valid(url) {
				return d.fail(s, "invalid UTF-8 in a string")
			}
		} else {
			value, at = b[:end], s
		}
	}
	if i < 0 {
		return -1
	}
	if len(url) == 0 {
		if at < len(value) {
			return d.fail(begin, "a google.protobuf.Any that has a value and no type")
		}
		d.out = append(d.out, "{}"...)
		return len(b)
	}
	inner, err := m.plan.typeByURL(url)
	if err != nil {
		return d.fail(begin, "unable to resolve the type of a google.protobuf.Any: "+err.Error())
	}
	d.out = append(d.out, `{"@type":`...)
	d.out, _ = appendText(d.out, url)
	d.any++
	if inner.wkt != notWellKnown {
		d.out = append(d.out, `,"value":`...)
		at = d.message(inner, value, at, 0)
	} else {
		at = d.anyMembers(inner, value, at)
	}
	if d.any--; at < 0 {
		return -1
	}
	d.out = append(d.out, '}')
	return len(b)
}

func (d *decoder) anyMembers(m *message, b []byte, i int) int {
	if m.fallback != "" {
		return d.fail(i, "no support for a "+m.fallback)
	}
	if d.depth++; d.depth > d.limits.MaxDepth {
		return d.exceed(i, "messages nest deeper than the limit allows")
	}
	i = d.members(m, b, i, 0)
	d.depth--
	return i
}
