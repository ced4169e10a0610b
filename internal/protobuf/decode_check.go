package protobuf

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// check reads a value that another one replaced: protobuf-go refuses it for its
// encoding, not for what it means.
func (d *decoder) check(f *field, b []byte, i int, typ protowire.Type) int {
	if typ != f.wire { // packed
		i, stop := d.length(b, i)
		for i >= 0 && i < stop {
			_, i = d.bits(f, b[:stop], i)
		}
		return i
	}
	if f.wire != protowire.BytesType && f.wire != protowire.StartGroupType {
		_, i = d.bits(f, b, i)
		return i
	}
	begin, end, next := d.content(f, b, i)
	switch {
	case next < 0:
		return -1
	case f.isMap:
		begin = d.checkEntry(f, b[:end], begin)
	case f.msg != nil:
		begin = d.checkMessage(f.msg, b[:end], begin)
	case f.kind == protoreflect.StringKind:
		begin = d.checkText(f, b[:end], begin)
	}
	if begin < 0 {
		return -1
	}
	return next
}

func (d *decoder) checkMessage(m *message, b []byte, i int) int {
	if d.depth++; d.depth > d.limits.MaxDepth {
		return d.exceed(i, "messages nest deeper than the limit allows")
	}
	if m.fallback != "" {
		return d.fail(i, "no support for a "+m.fallback)
	}
	for i < len(b) {
		num, typ, next := d.tag(b, i)
		if next < 0 {
			return -1
		}
		f, ok := d.field(m, num, i)
		if !ok {
			return -1
		}
		if f != nil && f.takes(typ) {
			i = d.check(f, b, next, typ)
		} else {
			i = d.skip(b, next, num, typ)
		}
		if i < 0 {
			return -1
		}
	}
	d.depth--
	return i
}

func (d *decoder) checkEntry(f *field, b []byte, i int) int {
	if d.depth++; d.depth > d.limits.MaxDepth {
		return d.exceed(i, "messages nest deeper than the limit allows")
	}
	for i < len(b) {
		num, typ, next := d.tag(b, i)
		switch {
		case next < 0:
			return -1
		case num == 1 && typ == f.key.wire:
			i = d.check(f.key, b, next, typ)
		case num == 2 && typ == f.val.wire:
			i = d.check(f.val, b, next, typ)
		default:
			i = d.skip(b, next, num, typ)
		}
		if i < 0 {
			return -1
		}
	}
	d.depth--
	return i
}
