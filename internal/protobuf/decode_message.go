package protobuf

import "google.golang.org/protobuf/encoding/protowire"

// seenBits is how many fields and oneofs a straight pass tells apart. Messages
// that have more are gathered.
const seenBits = 256

// seen says which fields and oneofs of a message have a value.
type seen [seenBits / 64]uint64

func (s *seen) has(i int) bool { return s[uint(i)/64%uint(len(s))]>>(uint(i)%64)&1 != 0 }

func (s *seen) add(i int) { s[uint(i)/64%uint(len(s))] |= 1 << (uint(i) % 64) }

// claim notes that a field, and its oneof, has a value. It fails where it had
// one, or where there is no bit for it.
func (s *seen) claim(m *message, f *field) bool {
	if f.index >= seenBits || s.has(f.index) {
		return false
	}
	s.add(f.index)
	if f.oneof >= 0 {
		o := len(m.fields) + f.oneof
		if s.has(o) {
			return false
		}
		s.add(o)
	}
	return true
}

// members writes the members of a message, as message reads it. A straight pass
// is enough as long as no singular field and no member of a oneof comes twice,
// and each list and map comes in one run.
func (d *decoder) members(m *message, b []byte, i int, group protowire.Number) int {
	if m.wide || (d.careful && !d.ordered(m, b, i)) {
		return d.gather(m, b, i)
	}
	var s seen
	var open run
	for {
		if i == len(b) {
			if group != 0 {
				return d.fail(i, "unexpected end inside a group")
			}
			break
		}
		at := i
		var num protowire.Number
		var typ protowire.Type
		if c := b[i]; c >= 1<<3 && c < 0x80 && d.left > 0 { // tag, for most fields
			num, typ = protowire.Number(c>>3), protowire.Type(c&7)
			d.left--
			i++
		} else if num, typ, i = d.tag(b, i); i < 0 {
			return -1
		}
		if typ == protowire.EndGroupType {
			if num != group {
				return d.fail(at, "end of another group")
			}
			break
		}
		f, ok := d.field(m, num, at)
		if !ok {
			return -1
		}
		if f == nil || !f.takes(typ) {
			if i = d.skip(b, i, num, typ); i < 0 {
				return -1
			}
			continue
		}
		if f != open.f {
			d.close(&open)
		}
		switch {
		case f.repeated():
			i = d.repeat(m, f, b, i, typ, &s, &open)
		case s.claim(m, f):
			i = d.singular(f, b, i)
		default:
			i = d.unordered(at)
		}
		if i < 0 || d.fits(i) < 0 {
			return -1
		}
	}
	d.close(&open)
	return d.complete(m, &s, i)
}

// field finds a field; nil is an unknown one.
func (d *decoder) field(m *message, num protowire.Number, at int) (*field, bool) {
	f := m.byNumber(num)
	if f == nil && m.extendable {
		var err error
		if f, err = m.fieldByNumber(num); err != nil {
			d.fail(at, err.Error())
			return nil, false
		}
	}
	return f, true
}

// takes reports whether a value of the field may have this wire type. Others
// make it an unknown field.
func (f *field) takes(t protowire.Type) bool { return t == f.wire || t == f.alt }

// run is the list or map that is being written.
type run struct {
	f    *field
	keys keyRun // of a map
}

// open begins a list or map, unless it is open. A second run of it fails.
func (d *decoder) open(r *run, m *message, f *field, s *seen) bool {
	if r.f != nil {
		return true
	}
	if !s.claim(m, f) {
		return false
	}
	r.f = f
	d.key(f)
	if f.list {
		d.out = append(d.out, '[')
	} else {
		d.out = append(d.out, '{')
		r.keys = d.keys.start()
	}
	return true
}

func (d *decoder) close(r *run) {
	switch {
	case r.f == nil:
		return
	case r.f.list:
		d.out = append(d.out, ']')
	default:
		d.out = append(d.out, '}')
		d.keys.end(r.keys)
	}
	r.f = nil
}

// repeat writes what one record adds to a list or map, which opens with its
// first element.
func (d *decoder) repeat(m *message, f *field, b []byte, i int, typ protowire.Type, s *seen, r *run) int {
	packed, stop := typ != f.wire, 0
	if packed {
		if i, stop = d.length(b, i); i < 0 || i == stop {
			return i
		}
	}
	if !d.open(r, m, f, s) {
		return d.unordered(i)
	}
	switch {
	case f.isMap:
		return d.entry(f, b, i, &r.keys)
	case packed:
		return d.packed(f, b[:stop], i)
	}
	d.comma()
	return d.value(f, b, i)
}

// complete writes the fields that are not set, if they are asked for, and asks
// for required ones.
func (d *decoder) complete(m *message, s *seen, i int) int {
	if d.any == 0 {
		for _, f := range m.required {
			if !s.has(f.index) {
				return d.missing(f, i)
			}
		}
	}
	if d.options.EmitUnpopulated {
		for k := range m.fields {
			if f := &m.fields[k]; f.unset != nil && !s.has(k) {
				if d.writeUnset(f); d.fits(i) < 0 {
					return -1
				}
			}
		}
	}
	return i
}

func (d *decoder) missing(f *field, i int) int {
	return d.fail(i, "required field "+string(f.desc.FullName())+" is not set")
}

func (d *decoder) writeUnset(f *field) {
	d.key(f)
	if d.options.UseEnumNumbers {
		d.out = append(d.out, f.unsetNumber...)
	} else {
		d.out = append(d.out, f.unset...)
	}
}

// ordered looks ahead whether a straight pass will do for the message in b. It
// leaves faults to that pass, and a map of two entries to gather, since their
// keys may be equal.
func (d *decoder) ordered(m *message, b []byte, i int) bool {
	var s seen
	var last *field
	left, depth := d.left, d.depth
	defer func() { d.left, d.depth = left, depth }()
	for i < len(b) {
		num, typ, next := d.tag(b, i)
		if next < 0 {
			return true
		}
		f, ok := d.field(m, num, i)
		if !ok {
			return true
		}
		if i = d.skip(b, next, num, typ); i < 0 {
			return true
		}
		if f == nil || !f.takes(typ) || (f == last && f.list) {
			continue
		}
		if !s.claim(m, f) {
			return false
		}
		last = f
	}
	return true
}
