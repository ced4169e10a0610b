package protobuf

import (
	"bytes"
	"time"
)

// The ranges that timestamp.proto and duration.proto give, in seconds: from
// the year 1 to 9999, and about 10,000 years to either side.
const (
	minTimestamp = -62135596800
	maxTimestamp = 253402300799
	maxDuration  = 315576000000
)

// parseDuration reads a Duration as protojson does: a decimal number with an
// optional sign, at most nine digits after the point and an "s" behind it.
// Either side of the point may be empty, even both.
func parseDuration(b []byte) (secs int64, nanos int32, ok bool) {
	b, ok = bytes.CutSuffix(b, []byte("s"))
	if !ok || len(b) == 0 {
		return 0, 0, false
	}
	neg := b[0] == '-'
	if neg || b[0] == '+' {
		b = b[1:]
	}
	whole, frac, point := bytes.Cut(b, []byte("."))
	if len(whole) == 0 && !point || len(whole) > 1 && whole[0] == '0' || len(whole) > 12 || len(frac) > 9 {
		return 0, 0, false
	}
	for _, c := range whole {
		if c-'0' > 9 {
			return 0, 0, false
		}
		secs = secs*10 + int64(c-'0')
	}
	nanos, ok = parseFraction(frac)
	if neg {
		secs, nanos = -secs, -nanos
	}
	return secs, nanos, ok && -maxDuration <= secs && secs <= maxDuration
}

// parseFraction reads up to nine digits after a decimal point as nanoseconds.
func parseFraction(frac []byte) (nanos int32, ok bool) {
	for i := range 9 {
		nanos *= 10
		if i < len(frac) {
			if frac[i]-'0' > 9 {
				return 0, false
			}
			nanos += int32(frac[i] - '0')
		}
	}
	return nanos, len(frac) <= 9
}

// parseTimestamp reads a Timestamp as protojson does: RFC 3339 as package time
// understands it, with at most nine digits after the point.
func parseTimestamp(b []byte) (secs int64, nanos int32, ok bool) {
	if secs, nanos, ok = parseUTC(b); ok {
		return secs, nanos, true
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return 0, 0, false
	}
	// The digits that package time drops count as well. It takes a comma for
	// a point, behind which protojson does not count them.
	point, zone := bytes.LastIndexByte(b, '.'), bytes.LastIndexAny(b, "Z-+")
	if point >= 0 && zone-point > len(".999999999") {
		return 0, 0, false
	}
	secs = t.Unix()
	return secs, int32(t.Nanosecond()), minTimestamp <= secs && secs <= maxTimestamp
}

// parseUTC reads the form that nearly every Timestamp has,
// "2006-01-02T15:04:05.999999999Z", where the fraction may be left out. It is
// the fast half of parseTimestamp and refuses what it is not sure of.
func parseUTC(b []byte) (secs int64, nanos int32, ok bool) {
	const form = "0000-00-00T00:00:00"
	if len(b) <= len(form) || b[len(b)-1] != 'Z' {
		return 0, 0, false
	}
	for i := range len(form) {
		if form[i] == '0' && b[i]-'0' > 9 || form[i] != '0' && b[i] != form[i] {
			return 0, 0, false
		}
	}
	if frac := b[len(form) : len(b)-1]; len(frac) > 0 {
		if frac[0] != '.' || len(frac) == 1 {
			return 0, 0, false
		}
		if nanos, ok = parseFraction(frac[1:]); !ok {
			return 0, 0, false
		}
	}
	two := func(i int) int64 { return int64(b[i]-'0')*10 + int64(b[i+1]-'0') }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	// No month is shorter than 28 days; package time looks at the rest.
	if year == 0 || month < 1 || month > 12 || day < 1 || day > 28 || hour > 23 || minute > 59 || second > 59 {
		return 0, 0, false
	}
	return days(year, month, day)*86400 + hour*3600 + minute*60 + second, nanos, true
}

// days counts the days from 1970-01-01 to a day of the Gregorian calendar.
// Years begin in March here, so that a leap day ends one.
func days(year, month, day int64) int64 {
	if month < 3 {
		year, month = year-1, month+12
	}
	return year*365 + year/4 - year/100 + year/400 + (month*153-457)/5 + day - 719469
}

// appendMask appends the paths of a FieldMask, which s holds in lowerCamelCase
// and separated by commas, as the wire has them: field 1, in snake_case.
func appendMask(dst, s []byte) ([]byte, bool) {
	if s = bytes.TrimSpace(s); len(s) == 0 {
		return dst, true
	}
	for path := range bytes.SplitSeq(s, []byte(",")) {
		upper := 0
		start := true
		for _, c := range path {
			switch {
			case 'A' <= c && c <= 'Z':
				upper++
				start = false
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9' && !start:
				start = false
			case c == '.' && !start:
				start = true
			default:
				return dst, false
			}
		}
		if start {
			return dst, false
		}
		dst = appendVarint(append(dst, 1<<3|2), uint64(len(path)+upper))
		for _, c := range path {
			if 'A' <= c && c <= 'Z' {
				dst = append(dst, '_')
				c |= 0x20
			}
			dst = append(dst, c)
		}
	}
	return dst, true
}
