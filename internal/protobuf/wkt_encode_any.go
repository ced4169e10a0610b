package protobuf

import (
	"slices"
	"sort"
)

// anyMember says what a member "@type" is in an object.
type anyMember uint8

const (
	typeUnknown  anyMember = iota // a member like others
	typeExpected                  // the type of the Any, which is read already
	typeSeen                      // the same, and it must not come again
)

// any reads an Any. Its type may stand anywhere among the members. Where it
// does not come first, the object is read once to find it.
func (e *encoder) any() bool {
	start, nest, maxNest, partial := e.i, e.nest, e.maxNest, e.partial
	left := e.maxDepth - e.depth
	// The type is looked for first, in arrays and objects that nest as deep as
	// messages may in lists, whatever they are.
	e.maxNest = min(maxNest, nest+2+2*left)
	found, members, ok := e.findType()
	if !ok {
		return false
	}
	if !found {
		e.maxNest = maxNest
		if members == 0 {
			return true
		}
		if !e.discard {
			return e.fail(start, `an Any needs a member "@type"`)
		}
		e.i, e.nest = start, nest
		return e.skip(nest + left)
	}
	at := e.i
	t, ok := e.text()
	if !ok || t.size == 0 {
		return e.fail(at, `"@type" is empty`)
	}
	e.out = appendVarint(append(e.out, tagURL), uint64(t.size))
	from := len(e.out)
	e.out = t.appendTo(e.out)
	m, err := e.root.typeByURL(e.out[from:])
	if err != nil {
		return e.fail(at, "type of an Any: "+err.Error())
	}
	e.i, e.nest, e.partial = start, nest, true
	if !e.embedded(m, !partial) {
		return false
	}
	e.maxNest, e.partial = maxNest, partial
	return true
}

// typePlace says where an object has its "@type". Both are offsets.
type typePlace struct{ object, value int }

// findType leaves the encoder at the value of "@type". Where there is none, it
// has passed over the object, or over its first bracket.
//
// An Any that holds others would have each byte looked at once for each of
// them. So what the search of the outermost finds inside is noted.
func (e *encoder) findType() (found bool, members int, ok bool) {
	start := e.i
	if start < e.searched {
		at, known := slices.BinarySearchFunc(e.types, start, func(p typePlace, at int) int { return p.object - at })
		if known {
			e.i = e.types[at].value
			return true, 1, e.peek() == '"' || e.fail(e.i, `"@type" is not a string`)
		}
		more, ok := e.enter('{', '}')
		return false, btoi(more), ok
	}
	e.types, e.searching = e.types[:0], true
	defer func() { e.searching = false }()
	more, ok := e.enter('{', '}')
	at := 0
	for ; more && ok; more, ok = e.more('}') {
		members++
		name := e.i
		key, ok := e.key()
		if !ok {
			return false, 0, false
		}
		if string(key) == "@type" {
			if at > 0 {
				return false, 0, e.fail(name, `"@type" is there twice`)
			}
			if at = e.i; e.peek() != '"' {
				return false, 0, e.fail(at, `"@type" is not a string`)
			}
			if members == 1 {
				// What follows is read once more, and a second type found then.
				return true, 1, true
			}
		}
		if !e.count() || !e.skip(e.maxNest) {
			return false, 0, false
		}
	}
	sort.Slice(e.types, func(i, j int) bool { return e.types[i].object < e.types[j].object })
	e.searched = e.i
	if at > 0 {
		e.i = at
	}
	return at > 0, members, ok
}

// embedded reads the object of an Any that holds an m and writes the field for
// it. The outermost Any sees to the order of all fields inside it.
func (e *encoder) embedded(m *message, outermost bool) bool {
	start := len(e.out)
	e.out = append(e.out, tagInAny)
	g := e.open()
	if !e.deeper() {
		return false
	}
	if m.wkt != notWellKnown || m.name == emptyName {
		if !e.valueMember(m) {
			return false
		}
	} else {
		if !e.object(m, typeExpected) {
			return false
		}
	}
	e.depth--
	if outermost {
		if !e.settle(g + 1) {
			return false
		}
		e.inOrder(m, e.out[e.gaps[g].at+1:])
	}
	if e.close(g) == 0 {
		e.out = e.out[:start]
	}
	return true
}

// valueMember reads the object of an Any whose message has a JSON form of its own,
// which stands under "value".
func (e *encoder) valueMember(m *message) bool {
	more, ok := e.enter('{', '}')
	typed, found := false, false
	for ; more && ok; more, ok = e.more('}') {
		at := e.i
		key, good := e.key()
		if !good || !e.count() {
			return false
		}
		switch {
		case string(key) == "@type" && !typed:
			typed = true
			good = e.skip(e.maxNest)
		case string(key) == "@type", string(key) == "value" && found:
			good = e.failAt(at, key, "the field is there twice")
		case string(key) == "value":
			found = true
			if m.wkt == notWellKnown {
				good = e.object(m, typeUnknown)
			} else {
				good = e.wellKnown(m)
			}
			if !good {
				e.within(step{name: "value"})
			}
		case e.discard:
			good = e.skip(e.nest + e.maxDepth - e.depth)
		default:
			good = e.failAt(at, key, "unknown field")
		}
		if !good {
			return false
		}
	}
	if ok && !found && m.name != emptyName {
		return e.fail(e.i-1, `"value" is missing`)
	}
	return ok
}
