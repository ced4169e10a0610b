package protobuf

import (
	"encoding/binary"
	"math"
	"strconv"
)

// number is a JSON number taken apart: (-1)^neg × mant × 10^exp.
type number struct {
	raw   []byte
	mant  uint64
	exp   int
	neg   bool
	exact bool // mant and exp say all that raw says
}

// scan reads the number that b begins with, as RFC 8259, section 6, has it, and
// returns the bytes it takes, 0 where b does not begin with one. protojson lets
// "1e" pass where a delimiter follows; this does not, as the JSON test suite
// wants it.
func (num *number) scan(b []byte) int {
	i := 0
	neg := len(b) > 0 && b[0] == '-'
	if neg {
		i++
	}
	first := i
	mant := uint64(0)
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		mant = mant*10 + uint64(b[i]-'0')
	}
	digits, exp := i-first, 0
	if digits == 0 || (digits > 1 && b[first] == '0') {
		return 0
	}
	if i < len(b) && b[i] == '.' {
		point := i
		i++
		for i+8 <= len(b) {
			v, ok := eightDigits(binary.LittleEndian.Uint64(b[i:]))
			if !ok {
				break
			}
			mant = mant*1e8 + v
			i += 8
		}
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
			mant = mant*10 + uint64(b[i]-'0')
		}
		exp = point + 1 - i
		if exp == 0 {
			return 0
		}
		digits -= exp
	}
	for n := first; digits > 19 && (b[n] == '0' || b[n] == '.'); n++ {
		digits -= btoi(b[n] == '0')
	}
	// Any 19 digits are less than 1<<64.
	num.mant, num.exp, num.neg, num.exact = mant, exp, neg, digits <= 19
	if i < len(b) && b[i]|0x20 == 'e' {
		if i = num.power(b, i+1); i == 0 {
			return 0
		}
	}
	num.raw = b[:i]
	return i
}

// eightDigits gives the number that eight characters are, the first of which is
// the lowest byte of x, where all of them are digits. Neighbours are put together
// to numbers of two digits, of four and of eight.
func eightDigits(x uint64) (v uint64, ok bool) {
	const high = 0xf * ones << 4
	if x&high != '0'*ones || (x+6*ones)&high != '0'*ones {
		return 0, false
	}
	x = x&^high*10 + x&^high>>8
	x = x&0x00ff00ff00ff00ff*100 + x>>16&0x00ff00ff00ff00ff
	return x&0x0000ffff0000ffff*10000&0xffffffff + x>>32&0xffff, true
}

// power reads the exponent that begins at i and returns where it ends, or 0.
func (num *number) power(b []byte, i int) int {
	neg := false
	if i < len(b) && (b[i] == '+' || b[i] == '-') {
		neg = b[i] == '-'
		i++
	}
	start, exp := i, 0
	for i < len(b) && b[i]-'0' <= 9 {
		if exp = exp*10 + int(b[i]-'0'); exp > 1e6 {
			num.exact, exp = false, 1e6
		}
		i++
	}
	if i == start {
		return 0
	}
	if neg {
		exp = -exp
	}
	num.exp += exp
	return i
}

// integer gives the number as an integer: its magnitude and sign. ok is false
// where it is none or has more digits than any 64-bit integer.
func (num *number) integer() (mag uint64, neg, ok bool) {
	if num.exact && (num.mant == 0 || num.exp == 0 && len(num.raw) <= 20) {
		return num.mant, num.neg && num.mant != 0, true
	}
	return num.integerSlow()
}

// integerSlow follows protojson step by step, its bounds on the number of
// digits included: what is an integer and what is none depends on them.
func (num *number) integerSlow() (mag uint64, neg, ok bool) {
	whole, frac, exp, ok := num.parts()
	if len(whole)+len(frac) == 0 {
		return 0, false, true
	}
	if !ok {
		return 0, false, false
	}
	switch {
	case exp >= 0:
		if len(frac) > exp || len(whole)+exp > 20 {
			return 0, false, false
		}
	case len(frac) > 0 || len(whole)+exp < 0:
		return 0, false, false
	default:
		cut := len(whole) + exp
		for _, c := range whole[cut:] {
			if c != '0' {
				return 0, false, false
			}
		}
		whole = whole[:cut]
	}
	var digits [32]byte
	if len(whole)+max(exp, 0) > len(digits) {
		return 0, false, false
	}
	d := append(append(digits[:0], whole...), frac...)
	for range exp - len(frac) {
		d = append(d, '0')
	}
	mag, err := strconv.ParseUint(string(d), 10, 64)
	return mag, num.neg && mag != 0, err == nil
}

// parts gives the digits before the point without a leading zero, those after
// it without trailing zeros, and the exponent; ok is false where that is no
// 32-bit integer.
func (num *number) parts() (whole, frac []byte, exp int, ok bool) {
	b := num.raw
	if num.neg {
		b = b[1:]
	}
	digits := func() []byte {
		n := 0
		for n < len(b) && b[n]-'0' <= 9 {
			n++
		}
		d := b[:n]
		b = b[n:]
		return d
	}
	if whole = digits(); whole[0] == '0' {
		whole = nil
	}
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
		for frac = digits(); len(frac) > 0 && frac[len(frac)-1] == '0'; {
			frac = frac[:len(frac)-1]
		}
	}
	if len(b) == 0 {
		return whole, frac, 0, true
	}
	n, err := strconv.ParseInt(string(b[1:]), 10, 32)
	return whole, frac, int(n), err == nil
}

// signed gives the number as a signed integer of so many bits.
func (num *number) signed(bits int) (int64, bool) {
	mag, neg, ok := num.integer()
	limit := uint64(1) << (bits - 1)
	switch {
	case !ok:
		return 0, false
	case neg:
		return -int64(mag), mag <= limit
	default:
		return int64(mag), mag < limit
	}
}

// unsigned gives the number as an unsigned integer of so many bits.
func (num *number) unsigned(bits int) (uint64, bool) {
	mag, neg, ok := num.integer()
	return mag, ok && !neg && mag <= math.MaxUint64>>(64-bits)
}

// tens are the powers of ten that a float64 holds exactly.
var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// double gives the nearest float64; ok is false where the number is too large.
func (num *number) double() (float64, bool) {
	// Both numbers are exact, so the one rounding of the division or the
	// multiplication is the right one (Clinger, 1990).
	if num.exact && num.mant < 1<<53 && -22 <= num.exp && num.exp <= 22 {
		f := float64(num.mant)
		if num.exp < 0 {
			f /= tens[-num.exp]
		} else {
			f *= tens[num.exp]
		}
		if num.neg {
			f = -f
		}
		return f, true
	}
	f, err := strconv.ParseFloat(string(num.raw), 64)
	return f, err == nil
}

// single gives the nearest float32; ok is false where the number is too large.
func (num *number) single() (float32, bool) {
	if f, ok := num.double(); ok {
		// Rounding twice is only wrong where the first result stands exactly
		// half-way between two float32, or where those are not as dense.
		const half, rest = 1 << 28, 1<<29 - 1
		if a := math.Abs(f); f == 0 && num.mant == 0 && num.exact || a > 1e-37 && a < 1e38 && math.Float64bits(f)&rest != half {
			return float32(f), true
		}
	}
	f, err := strconv.ParseFloat(string(num.raw), 32)
	return float32(f), err == nil
}
