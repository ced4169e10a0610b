package protobuf

// space passes over white space.
func (e *encoder) space() {
	for e.i < len(e.in) {
		if c := e.in[e.i]; c > ' ' || (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
			return
		}
		e.i++
	}
}

// peek gives the next byte, 0 at the end: NUL begins nothing in JSON.
func (e *encoder) peek() byte {
	if e.i < len(e.in) {
		return e.in[e.i]
	}
	return 0
}

// enter reads the bracket that an object or array begins with. more is false
// where it has ended already.
func (e *encoder) enter(first, last byte) (more, ok bool) {
	if e.peek() != first {
		return false, e.fail(e.i, "expected '"+string(rune(first))+"'")
	}
	if e.nest++; e.nest > e.maxNest {
		return false, e.exceed("nested too deeply")
	}
	e.i++
	e.space()
	if e.peek() != last {
		return true, true
	}
	e.i++
	e.nest--
	return false, true
}

// more reads what follows a member or an element: a comma, where more is true,
// or the closing bracket.
func (e *encoder) more(last byte) (more, ok bool) {
	e.space()
	switch c := e.peek(); c {
	case ',':
		e.i++
		e.space()
		return true, true
	case last:
		e.i++
		e.nest--
		return false, true
	default:
		return false, e.fail(e.i, "expected ',' or '"+string(rune(last))+"'")
	}
}

// key reads the key of a member, the colon and the space around it. The key is
// good until the next string is read.
func (e *encoder) key() ([]byte, bool) {
	if e.peek() != '"' {
		return nil, e.fail(e.i, "expected a key in double quotes")
	}
	t, ok := e.text()
	if !ok {
		return nil, false
	}
	if e.space(); e.peek() != ':' {
		return nil, e.fail(e.i, "expected ':' after a key")
	}
	e.i++
	e.space()
	return e.unescaped(t), true
}

// unescaped resolves the escapes of t. The result is good until the next call.
func (e *encoder) unescaped(t text) []byte {
	if !t.escaped() {
		return t.raw
	}
	buf, ok := extended(&e.asker, e.buf[:0], t.size, 0)
	if !ok {
		e.lacks()
		return nil
	}
	e.buf = t.appendTo(buf)
	return e.buf
}

func (e *encoder) literal(word string) bool {
	if end := e.i + len(word); end <= len(e.in) && string(e.in[e.i:end]) == word {
		e.i = end
		return true
	}
	return e.fail(e.i, "expected "+word)
}

// skip passes over a value whose arrays and objects are inside at most maxNest
// others, those around the value included.
func (e *encoder) skip(maxNest int) bool {
	var more, ok bool
	switch c := e.peek(); c {
	case '"':
		_, ok = e.text()
		return ok
	case 'n':
		return e.literal("null")
	case 't':
		return e.literal("true")
	case 'f':
		return e.literal("false")
	case '{', '[':
		if e.nest >= maxNest {
			return e.exceed("nested too deeply")
		}
		start, last := e.i, c+2 // ASCII has the brackets so
		for more, ok = e.enter(c, last); more && ok; more, ok = e.more(last) {
			if c == '{' {
				var key []byte
				if key, ok = e.key(); !ok {
					return false
				}
				if e.searching && string(key) == "@type" {
					e.types = pushed(e, e.types, typePlace{start, e.i}, 0)
				}
			}
			if !e.count() || !e.skip(maxNest) {
				return false
			}
		}
		return ok
	default:
		n := e.num.scan(e.in[e.i:])
		e.i += n
		return n > 0 || e.fail(e.i, "expected a value")
	}
}
