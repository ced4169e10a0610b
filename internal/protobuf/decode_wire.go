package protobuf

import "google.golang.org/protobuf/encoding/protowire"

// varint reads a varint of at most ten bytes and 64 bits.
func (d *decoder) varint(b []byte, i int) (uint64, int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	return d.longVarint(b, i)
}

func (d *decoder) longVarint(b []byte, i int) (uint64, int) {
	var v uint64
	for k := 0; ; k++ {
		if i+k >= len(b) {
			return 0, d.fail(i, "unexpected end inside a varint")
		}
		c := b[i+k]
		if k == 9 && c > 1 {
			return 0, d.fail(i, "a varint of more than 64 bits")
		}
		v |= uint64(c&0x7f) << (7 * k)
		if c < 0x80 {
			return v, i + k + 1
		}
	}
}

// tag reads the tag of a field of a message and counts it.
func (d *decoder) tag(b []byte, i int) (protowire.Number, protowire.Type, int) {
	num, typ, next := d.rawTag(b, i)
	if next >= 0 && num > protowire.MaxValidNumber {
		return 0, 0, d.fail(i, "a field number out of range")
	}
	return num, typ, next
}

// rawTag is tag for what is skipped, where numbers may be larger.
func (d *decoder) rawTag(b []byte, i int) (protowire.Number, protowire.Type, int) {
	v, next := d.varint(b, i)
	if next < 0 {
		return 0, 0, -1
	}
	if d.left--; d.left < 0 {
		return 0, 0, d.exceed(i, "more fields than the limit allows")
	}
	num, typ := protowire.DecodeTag(v)
	if num < protowire.MinValidNumber {
		return 0, 0, d.fail(i, "a field number out of range")
	}
	return num, typ, next
}

// length reads the length of what follows and returns where that begins and
// ends.
func (d *decoder) length(b []byte, i int) (begin, end int) {
	n, next := d.varint(b, i)
	if next < 0 {
		return -1, -1
	}
	if n > uint64(len(b)-next) {
		return d.fail(i, "a length that reaches beyond the end"), -1
	}
	return next, next + int(n)
}

// skip passes over the value of a field of any type.
func (d *decoder) skip(b []byte, i int, num protowire.Number, typ protowire.Type) int {
	switch typ {
	case protowire.VarintType:
		_, i = d.varint(b, i)
		return i
	case protowire.Fixed32Type:
		return d.fixed(b, i, 4)
	case protowire.Fixed64Type:
		return d.fixed(b, i, 8)
	case protowire.BytesType:
		_, i = d.length(b, i)
		return i
	case protowire.StartGroupType:
		_, i = d.group(b, i, num)
		return i
	case protowire.EndGroupType:
		return d.fail(i, "an end of no group")
	default:
		return d.fail(i, "a reserved wire type")
	}
}

func (d *decoder) fixed(b []byte, i, n int) int {
	if len(b)-i < n {
		return d.fail(i, "unexpected end inside a number")
	}
	return i + n
}

// group finds the end of the group whose content begins at i: where its end
// tag begins and where what follows begins.
func (d *decoder) group(b []byte, i int, num protowire.Number) (end, next int) {
	if d.depth++; d.depth > d.limits.MaxDepth {
		return -1, d.exceed(i, "groups nest deeper than the limit allows")
	}
	for {
		n, typ, next := d.rawTag(b, i)
		if next < 0 {
			return -1, -1
		}
		if typ == protowire.EndGroupType {
			if n != num {
				return -1, d.fail(i, "end of another group")
			}
			d.depth--
			return i, next
		}
		if i = d.skip(b, next, n, typ); i < 0 {
			return -1, -1
		}
	}
}
