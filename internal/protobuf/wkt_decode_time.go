package protobuf

import (
	"strconv"
	"time"
)

// maxNanos is the largest fraction of a second.
const maxNanos = 999999999

// secondsAndNanos reads a Timestamp or a Duration.
func (d *decoder) secondsAndNanos(m *message, b []byte, i int) (secs, nanos int64, ok bool) {
	for {
		f, next := d.next(m, b, i)
		if f == nil {
			return secs, nanos, next >= 0
		}
		var bits uint64
		if bits, i = d.bits(f, b, next); i < 0 {
			return 0, 0, false
		}
		if f.num == 1 {
			secs = int64(bits)
		} else {
			nanos = int64(int32(bits))
		}
	}
}

// timestamp writes a google.protobuf.Timestamp as RFC 3339 has it, in UTC, with
// 0, 3, 6 or 9 digits of a second.
func (d *decoder) timestamp(m *message, b []byte, i int) int {
	secs, nanos, ok := d.secondsAndNanos(m, b, i)
	switch {
	case !ok:
		return -1
	case secs < minTimestamp || secs > maxTimestamp:
		return d.fail(i, "seconds of a google.protobuf.Timestamp out of range")
	case nanos < 0 || nanos > maxNanos:
		return d.fail(i, "nanos of a google.protobuf.Timestamp out of range")
	}
	d.out = append(d.out, '"')
	d.out = time.Unix(secs, 0).UTC().AppendFormat(d.out, "2006-01-02T15:04:05")
	d.fraction(nanos)
	d.out = append(d.out, 'Z', '"')
	return len(b)
}

// duration writes a google.protobuf.Duration as seconds, with 0, 3, 6 or 9
// digits after the point.
func (d *decoder) duration(m *message, b []byte, i int) int {
	secs, nanos, ok := d.secondsAndNanos(m, b, i)
	switch {
	case !ok:
		return -1
	case secs < -maxDuration || secs > maxDuration:
		return d.fail(i, "seconds of a google.protobuf.Duration out of range")
	case nanos < -maxNanos || nanos > maxNanos:
		return d.fail(i, "nanos of a google.protobuf.Duration out of range")
	case (secs > 0 && nanos < 0) || (secs < 0 && nanos > 0):
		return d.fail(i, "seconds and nanos of a google.protobuf.Duration with different signs")
	}
	d.out = append(d.out, '"')
	if secs < 0 || nanos < 0 {
		d.out = append(d.out, '-')
		secs, nanos = -secs, -nanos
	}
	d.out = strconv.AppendInt(d.out, secs, 10)
	d.fraction(nanos)
	d.out = append(d.out, 's', '"')
	return len(b)
}

// fraction writes nanoseconds after a point, in as few groups of three digits
// as hold them.
func (d *decoder) fraction(nanos int64) {
	if nanos == 0 {
		return
	}
	digits := 9
	for nanos%1000 == 0 {
		nanos /= 1000
		digits -= 3
	}
	d.out = append(d.out, '.')
	for unit := pow10[digits-1]; unit > 0; unit /= 10 {
		d.out = append(d.out, byte('0'+nanos/unit%10))
	}
}

var pow10 = [...]int64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// fieldMask writes a google.protobuf.FieldMask: its paths in lowerCamelCase,
// separated by commas.
func (d *decoder) fieldMask(m *message, b []byte, i int) int {
	d.out = append(d.out, '"')
	first := true
	var f *field
	for f, i = d.next(m, b, i); f != nil; f, i = d.next(m, b, i) {
		begin, end := d.length(b, i)
		if begin < 0 {
			return -1
		}
		if !first {
			d.out = append(d.out, ',')
		}
		first = false
		if !d.path(b[begin:end]) {
			return d.fail(begin, "a path of a google.protobuf.FieldMask that JSON cannot give back")
		}
		i = end
	}
	if i < 0 {
		return -1
	}
	d.out = append(d.out, '"')
	return d.fits(len(b))
}

// path writes a path of a mask. An underscore that no small letter follows, and
// a capital letter, would be lost on the way back.
func (d *decoder) path(s []byte) bool {
	start := true // of a name
	for k := 0; k < len(s); k++ {
		c := s[k]
		switch {
		case c == '_':
			if k++; k == len(s) || s[k] < 'a' || s[k] > 'z' {
				return false
			}
			c = s[k] - 'a' + 'A'
		case c == '.':
			if start {
				return false
			}
		case c >= 'a' && c <= 'z':
		case c >= '0' && c <= '9' && !start:
		default:
			return false
		}
		start = c == '.'
		d.out = append(d.out, c)
	}
	return !start
}
