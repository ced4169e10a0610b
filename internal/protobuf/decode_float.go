package protobuf

import (
	"math"
	"strconv"
)

// appendFloat writes a number as protojson does, which is how encoding/json
// does, with strings for what JSON lacks.
func appendFloat(dst []byte, v float64, size int) []byte {
	a := math.Abs(v)
	switch {
	case v != v:
		return append(dst, `"NaN"`...)
	case a > math.MaxFloat64:
		if v > 0 {
			return append(dst, `"Infinity"`...)
		}
		return append(dst, `"-Infinity"`...)
	}
	low, high := 1e-6, 1e21
	if size == 32 {
		low, high = float64(float32(1e-6)), float64(float32(1e21))
	}
	if a == 0 || (a >= low && a < high) {
		return strconv.AppendFloat(dst, v, 'f', -1, size)
	}
	dst = strconv.AppendFloat(dst, v, 'e', -1, size)
	if n := len(dst); dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // e-09 is e-9
		dst = dst[:n-1]
	}
	return dst
}

// appendFloat32 is appendFloat for what embeddings are made of. It finds the
// shortest decimal that reads back as v with a few operations on doubles, which
// hold a float32 and a power of ten exactly, and leaves to strconv what is so
// close that a double could not tell.
func appendFloat32(dst []byte, v float32) []byte {
	d := math.Abs(float64(v))
	if !(d >= 1e-5 && d < 1e9) {
		return appendFloat(dst, float64(v), 32)
	}
	digits, exp, ok := shortest(d, math.Float32bits(v))
	if !ok {
		return strconv.AppendFloat(dst, float64(v), 'f', -1, 32)
	}
	if v < 0 {
		dst = append(dst, '-')
	}
	return appendDecimal(dst, digits, exp)
}

// closer is by how much a scaled double may be wrong, twice over.
const closer = 1e-6

// shortest gives the decimal of fewest digits that lies between the middles to
// v's neighbours, and of these the one closest to v: digits × 10^exp. d is the
// absolute value of v, whose bits are given.
func shortest(d float64, v uint32) (digits uint64, exp int, ok bool) {
	binary := int(v>>23&0xff) - 127
	k := 8 - (binary*1233)>>12 // 1233/4096 is nearly log10(2): d × 10^k has 9 or 10 digits
	half := math.Float64frombits(uint64(binary-24+1023) << 52)
	below := half
	if v&(1<<23-1) == 0 {
		below /= 2 // the next smaller exponent
	}
	x, lo, hi := d*tens[k], (d-below)*tens[k], (d+half)*tens[k]
	from, to := uint64(lo), uint64(hi)
	before, after := lo-float64(from), hi-float64(to)
	if before < closer || before > 1-closer || after < closer || after > 1-closer {
		return 0, 0, false
	}
	from++
	exp = -k
	unit := uint64(1)
	for to/10 >= (from+9)/10 {
		from, to, unit = (from+9)/10, to/10, unit*10
		exp++
	}
	if unit > 1 {
		x /= float64(unit)
	}
	digits = uint64(x)
	rest := x - float64(digits)
	if math.Abs(rest-0.5) < closer {
		return 0, 0, false
	}
	if rest > 0.5 {
		digits++
	}
	return min(max(digits, from), to), exp, true
}

// appendDecimal writes digits × 10^exp without an exponent.
func appendDecimal(dst []byte, digits uint64, exp int) []byte {
	if exp >= 0 {
		dst = strconv.AppendUint(dst, digits, 10)
		for range exp {
			dst = append(dst, '0')
		}
		return dst
	}
	part := digits
	if unit := uint64(tens[-exp]); digits < unit {
		dst = append(dst, '0', '.')
	} else {
		dst = append(strconv.AppendUint(dst, digits/unit, 10), '.')
		part = digits % unit
	}
	const zeros = "000000000000000000000000"
	dst = append(dst, zeros[:-exp]...)
	i := len(dst)
	for part >= 10 {
		rest := part / 100
		pair := 2 * (part - 100*rest)
		i -= 2
		dst[i], dst[i+1] = pairs[pair], pairs[pair+1]
		part = rest
	}
	if part > 0 {
		dst[i-1] = byte('0' + part)
	}
	return dst
}

// pairs are the numbers below 100, with two digits each.
const pairs = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849" +
	"5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"
