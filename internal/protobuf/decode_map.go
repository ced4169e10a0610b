package protobuf

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// entry is an entry of a map that was taken apart.
type entry struct {
	key  mapKey
	bits uint64 // of a value that is a number, bool or enum
	// buf[at:] is a value that is a text, bytes or a message; buf is nil where
	// there is none.
	buf   []byte
	at    int
	parts int // that a message value came in
}

// entry writes the entry of the map f that begins with its length.
func (d *decoder) entry(f *field, b []byte, i int, r *keyRun) int {
	i, stop := d.length(b, i)
	if i < 0 {
		return -1
	}
	b = b[:stop]
	base := len(d.merged)
	e, ok := d.split(f, b, i)
	if !ok {
		return -1
	}
	if !d.keyRoom() {
		return -1
	}
	if d.keys.add(r, b, &e.key) != nil {
		return d.unordered(i)
	}
	ok = d.write(f, b, i, &e)
	d.merged = d.merged[:base]
	if !ok {
		return -1
	}
	return stop
}

// keyRoom has room for one more key, and for its slots: eight at most where there are
// many.
func (d *decoder) keyRoom() (ok bool) {
	d.keys.all, ok = extended(&d.asker, d.keys.all, 1, 8*4)
	return ok
}

// split reads an entry. Of a key or a value that comes twice the last counts;
// messages are merged, in scratch that the caller takes away.
func (d *decoder) split(f *field, b []byte, i int) (e entry, ok bool) {
	base := len(d.merged)
	if d.depth++; d.depth > d.limits.MaxDepth {
		d.exceed(i, "messages nest deeper than the limit allows")
		return e, false
	}
	for i < len(b) {
		num, typ, next := d.tag(b, i)
		if next < 0 {
			return e, false
		}
		switch {
		case num == 1 && typ == f.key.wire:
			i = d.entryKey(f.key, b, next, &e)
		case num == 2 && typ == f.val.wire:
			i = d.entryValue(f.val, b, next, base, &e)
		default:
			i = d.skip(b, next, num, typ)
		}
		if i < 0 {
			return e, false
		}
	}
	d.depth--
	e.key.sum(b)
	return e, true
}

func (d *decoder) entryKey(f *field, b []byte, i int, e *entry) int {
	if f.kind != protoreflect.StringKind {
		e.key.bits, i = d.bits(f, b, i)
		return i
	}
	i, stop := d.length(b, i)
	if i < 0 {
		return -1
	}
	e.key.at, e.key.size = i, stop-i
	return d.checkText(f, b[:stop], i)
}

func (d *decoder) entryValue(f *field, b []byte, i, base int, e *entry) int {
	if f.wire != protowire.BytesType && f.wire != protowire.StartGroupType {
		e.bits, i = d.bits(f, b, i)
		return i
	}
	begin, stop, next := d.content(f, b, i)
	if next < 0 || (f.kind == protoreflect.StringKind && d.checkText(f, b[:stop], begin) < 0) {
		return -1
	}
	e.parts++
	if f.msg == nil || e.parts == 1 {
		e.buf, e.at = b[:stop], begin
		return next
	}
	if e.parts == 2 && !d.merge(e.buf, e.at) || !d.merge(b[:stop], begin) {
		return -1
	}
	e.buf, e.at = d.merged[base:], 0
	return next
}

// content finds where a text, bytes or message begins and ends, and what
// follows it.
func (d *decoder) content(f *field, b []byte, i int) (begin, end, next int) {
	if f.wire == protowire.StartGroupType {
		end, next = d.span(b, i, f.num)
		return i, end, next
	}
	begin, end = d.length(b, i)
	return begin, end, end
}

// checkText refuses wrong UTF-8 in a string that may not be used, where
// protobuf-go does.
func (d *decoder) checkText(f *field, b []byte, i int) int {
	if f.utf8 && !utf8.Valid(b[i:]) {
		return d.fail(i, "invalid UTF-8 in a string")
	}
	return len(b)
}

// merge pushes a part of a message: messages merge as their encodings are put
// one after another. Each part has to be sound by itself, or the next one could
// end what this one began. Each level that merges copies nearly the whole input,
// so the scratch is bounded.
func (d *decoder) merge(b []byte, i int) bool {
	begin, left := i, d.left
	for i < len(b) {
		num, typ, next := d.tag(b, i)
		if next < 0 {
			return false
		}
		if i = d.skip(b, next, num, typ); i < 0 {
			return false
		}
	}
	d.left = left
	var ok bool
	if d.merged, ok = extended(&d.asker, d.merged, len(b)-begin, 0); !ok {
		return false
	}
	d.merged = append(d.merged, b[begin:]...)
	if len(d.merged) > 4*d.size+maxScratch {
		d.tooLarge = true
		d.fail(begin, "too much to merge")
		return false
	}
	return true
}

// write writes an entry of the map f, which begins at i.
func (d *decoder) write(f *field, b []byte, i int, e *entry) bool {
	d.comma()
	switch f.key.kind {
	case protoreflect.StringKind:
		if d.text(b[:e.key.at+e.key.size], e.key.at) < 0 {
			return false
		}
	case protoreflect.BoolKind:
		d.out = append(d.out, '"')
		d.scalar(f.key, e.key.bits)
		d.out = append(d.out, '"')
	default:
		d.out = append(d.out, '"')
		d.integer(f.key.kind, e.key.bits)
		d.out = append(d.out, '"')
	}
	d.out = append(d.out, ':')
	d.depth++ // a map counts as one more, see Limits
	switch v := f.val; {
	case v.msg != nil:
		if !d.part(v.msg, e.buf, e.at, i, e.parts > 1) {
			return false
		}
	case v.wire != protowire.BytesType:
		d.scalar(v, e.bits)
	case d.chunk(v, e.buf, e.at) < 0:
		return false
	}
	d.depth--
	return d.fits(i) >= 0
}

// part writes the message buf[at:]. If it was merged, faults are reported for
// offset.
func (d *decoder) part(m *message, buf []byte, at, offset int, merged bool) bool {
	moved := d.moved
	if merged && moved < 0 {
		d.moved = offset
	}
	ok := d.message(m, buf, at, 0) >= 0
	d.moved = moved
	return ok
}
