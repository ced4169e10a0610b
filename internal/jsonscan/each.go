package jsonscan

import (
	"bytes"
	"iter"
)

// What follows walks JSON that was found sound (Validate) without checking it again: each
// level is passed over once, with ValueEnd. On bytes that are no JSON it ends early.

// MembersOf gives the names and values of the object b in their order. Names have their
// escapes decoded. Of members that share a name the last one counts, as most parsers have it,
// and stands for all. Any other value has none.
func MembersOf(b []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) { members(b, yield) }
}

// usualMembers is how many members nearly every object has at most: those of a larger one take
// memory from the heap.
const usualMembers = 24

// named is a member: its name, which is bytes of the document unless it has escapes, and its
// value. One that does not count has none.
type named struct{ name, value []byte }

// members is not to become part of each loop.
//
//go:noinline
func members(b []byte, yield func(name, value []byte) bool) {
	var room [usualMembers]named
	list := room[:0]
	var maybe uint64          // a bit for each kind of name that there was
	var places map[string]int // of the names, where there are many
	for i := enter(b, '{'); i >= 0; {
		name, value, end := memberAt(b, i)
		if value == nil {
			break
		}
		i = after(b, end)
		kind := uint64(1) << (nameKind(name) % 64)
		if places != nil {
			if k, ok := places[string(name)]; ok {
				list[k].value = nil
			}
			places[string(name)] = len(list)
		} else if maybe&kind != 0 {
			forget(list, name)
		}
		maybe |= kind
		if list = append(list, named{name, value}); len(list) == usualMembers {
			places = placesOf(list)
		}
	}
	for k := range list {
		if m := &list[k]; m.value != nil && !yield(m.name, m.value) {
			return
		}
	}
}

// nameKind tells most names apart.
func nameKind(name []byte) int {
	if len(name) == 0 {
		return 0
	}
	return len(name) + 5*int(name[0]) + 11*int(name[len(name)-1]) + 17*int(name[len(name)/2])
}

// forget has a member of a name not count, if there is one.
func forget(list []named, name []byte) {
	for k := range list {
		if bytes.Equal(list[k].name, name) {
			list[k].value = nil
		}
	}
}

func placesOf(list []named) map[string]int {
	places := make(map[string]int, 2*len(list))
	for k := range list {
		places[string(list[k].name)] = k
	}
	return places
}

// ElementsOf gives the elements of the array b in their order. Any other value has none.
func ElementsOf(b []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		for i := enter(b, '['); i >= 0; {
			var value []byte
			if value, i = elementAt(b, i); value == nil || !yield(value) {
				return
			}
		}
	}
}

// memberAt reads the member that begins at i, and gives where its value ends. The value is nil
// where there is none.
func memberAt(b []byte, i int) (name, value []byte, end int) {
	name, i = nameAt(b, i)
	if i < 0 {
		return nil, nil, -1
	}
	if i = spaceFrom(b, i); i >= len(b) || b[i] != ':' {
		return nil, nil, -1
	}
	i = spaceFrom(b, i+1)
	if end = ValueEnd(b, i); end < 0 {
		return nil, nil, -1
	}
	return name, b[i:end], end
}

// nameAt reads the name that begins at i, and gives where it ends, -1 where there is none.
func nameAt(b []byte, i int) (name []byte, end int) {
	if i >= len(b) || b[i] != '"' {
		return nil, -1
	}
	if end = TextEnd(b, i+1); end < 0 {
		return nil, -1
	}
	name = b[i+1 : end-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		text, err := String(b[i:end])
		if err != nil {
			return nil, -1
		}
		name = []byte(text)
	}
	return name, end
}

// elementAt reads the element that begins at i as memberAt reads a member.
//
//go:noinline
func elementAt(b []byte, i int) (value []byte, next int) {
	end := ValueEnd(b, i)
	if end < 0 {
		return nil, -1
	}
	return b[i:end], after(b, end)
}

// Member gives the value of the last member of a name, nil for none and for null.
func Member(b []byte, name string) (value []byte) {
	for i := enter(b, '{'); i >= 0; {
		n, v, end := memberAt(b, i)
		if v == nil {
			break
		}
		if string(n) == name {
			value = v
		}
		i = after(b, end)
	}
	if string(value) == "null" {
		return nil
	}
	return value
}

// enter gives where the first member or element of b begins, -1 for none.
//
//go:noinline
func enter(b []byte, bracket byte) int {
	i := spaceFrom(b, 0)
	if i >= len(b) || b[i] != bracket {
		return -1
	}
	return spaceFrom(b, i+1)
}

// after gives where what follows a value begins, -1 for none.
func after(b []byte, end int) int {
	i := spaceFrom(b, end)
	if i >= len(b) || b[i] != ',' {
		return -1
	}
	return spaceFrom(b, i+1)
}

func spaceFrom(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}
