package protobuf

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// found is a field that was found in a message whose fields are gathered.
type found struct {
	f    *field
	at   int // of its value
	typ  protowire.Type
	dead bool // of a map: a later entry has the same key
}

// group is equal for fields of which one value, or one list, is left in the
// end: those with one number, and those of one oneof, which come first.
func (x *found) group() int {
	if x.f.oneof >= 0 {
		return -1 - x.f.oneof
	}
	return x.f.index
}

func byGroup(x, y found) int {
	return cmp.Or(cmp.Compare(x.group(), y.group()), cmp.Compare(x.at, y.at))
}

// gather writes the members of the message b[i:] whatever their order is: it
// finds all fields, brings those together that belong together, and writes
// these.
func (d *decoder) gather(m *message, b []byte, i int) int {
	base := len(d.found)
	if !d.find(m, b, i) {
		return -1
	}
	slices.SortFunc(d.found[base:], byGroup)
	declared := 0 // fields of m that were dealt with
	for first := base; first < len(d.found); {
		group := d.found[first].group()
		last := first + 1
		for last < len(d.found) && d.found[last].group() == group {
			last++
		}
		if index := min(group, len(m.fields)); index >= 0 {
			if !d.absent(m, declared, index, i) {
				return -1
			}
			declared = min(index+1, len(m.fields))
		}
		if !d.gathered(b, first, last) || d.fits(i) < 0 {
			return -1
		}
		first = last
	}
	d.found = d.found[:base]
	if !d.absent(m, declared, len(m.fields), i) || d.fits(i) < 0 {
		return -1
	}
	return len(b)
}

// find pushes the fields of the message b[i:].
func (d *decoder) find(m *message, b []byte, i int) bool {
	for i < len(b) {
		num, typ, next := d.tag(b, i)
		if next < 0 {
			return false
		}
		f, ok := d.field(m, num, i)
		if !ok {
			return false
		}
		left := d.left
		if i = d.skip(b, next, num, typ); i < 0 {
			return false
		}
		if f != nil && f.takes(typ) {
			d.left = left // the fields of a group count when it is read
			if d.found, ok = extended(&d.asker, d.found, 1, 0); !ok {
				return false
			}
			d.found = append(d.found, found{f: f, at: next, typ: typ})
		}
	}
	return true
}

// absent deals with the fields of m from index i on, to before end: none of
// them is in the message, which begins at offset.
func (d *decoder) absent(m *message, i, end, offset int) bool {
	for ; i < end; i++ {
		f := &m.fields[i]
		if f.required && d.any == 0 {
			d.missing(f, offset)
			return false
		}
		if d.options.EmitUnpopulated && f.unset != nil {
			if d.writeUnset(f); d.fits(offset) < 0 {
				return false
			}
		}
	}
	return true
}

// gathered writes the member that is made of d.found[first:last].
func (d *decoder) gathered(b []byte, first, last int) bool {
	f := d.found[last-1].f
	switch {
	case f.isMap:
		d.key(f)
		return d.entries(f, b, first, last)
	case f.list:
		return d.elements(f, b, first, last)
	}
	from := d.lasting(b, first, last)
	if from < 0 {
		return false
	}
	if from == last-1 {
		return d.singular(f, b, d.found[from].at) >= 0
	}
	d.key(f)
	return d.mergedParts(f, b, from, last)
}

// lasting tells which of d.found[first:last], which are in one group and no list,
// are left in the end: those from the index that it returns on. It reads those that
// they replaced; -1 is a fault in one.
func (d *decoder) lasting(b []byte, first, last int) (from int) {
	// A message counts from where its oneof last held another member.
	f, from := d.found[last-1].f, last-1
	for f.msg != nil && from > first && d.found[from-1].f == f {
		from--
	}
	for ; first < from; first++ {
		if d.check(d.found[first].f, b, d.found[first].at, d.found[first].typ) < 0 {
			return -1
		}
	}
	return from
}

// mergedParts writes the message that came in the parts d.found[first:last].
func (d *decoder) mergedParts(f *field, b []byte, first, last int) bool {
	base := len(d.merged)
	for k := first; k < last; k++ {
		begin, end, next := d.content(f, b, d.found[k].at)
		if next < 0 || !d.merge(b[:end], begin) {
			return false
		}
	}
	ok := d.part(f.msg, d.merged[base:], 0, d.found[first].at, true)
	d.merged = d.merged[:base]
	return ok
}

// elements writes a list.
func (d *decoder) elements(f *field, b []byte, first, last int) bool {
	begin := len(d.out)
	d.key(f)
	d.out = append(d.out, '[')
	empty := len(d.out)
	for k := first; k < last; k++ {
		i := d.found[k].at
		if d.found[k].typ != f.wire {
			var stop int
			if i, stop = d.length(b, i); i < 0 || d.packed(f, b[:stop], i) < 0 {
				return false
			}
			continue
		}
		d.comma()
		if i = d.value(f, b, i); i < 0 || d.fits(i) < 0 {
			return false
		}
	}
	if len(d.out) == empty && !(d.options.EmitUnpopulated && f.unset != nil) {
		d.out = d.out[:begin]
		return true
	}
	d.out = append(d.out, ']')
	return true
}

// entries writes a map. Of entries with equal keys the last one counts.
func (d *decoder) entries(f *field, b []byte, first, last int) bool {
	run, left := d.keys.start(), d.left
	for k := first; k < last; k++ {
		base := len(d.merged)
		i, stop := d.length(b, d.found[k].at)
		e, ok := d.split(f, b[:stop], i)
		d.merged = d.merged[:base]
		if !ok {
			return false
		}
		e.key.record = k
		if !d.keyRoom() {
			return false
		}
		if same := d.keys.add(&run, b, &e.key); same != nil {
			d.found[same.record].dead = true
			same.record = k
		}
	}
	d.keys.end(run)
	d.left = left
	d.out = append(d.out, '{')
	for k := first; k < last; k++ {
		at := d.found[k].at
		if d.found[k].dead {
			if d.check(f, b, at, protowire.BytesType) < 0 {
				return false
			}
			continue
		}
		run := d.keys.start()
		if d.entry(f, b, at, &run) < 0 {
			return false
		}
		d.keys.end(run)
	}
	d.out = append(d.out, '}')
	return true
}
