package usage

// maxDigits bounds a count of tokens: one of more digits is none.
const maxDigits = 15

// number reads a number of JSON as a count: 10, 10.0, 1e1 and 100e-1 are ten. ok is
// false for one that is negative, or not whole.
func number(b []byte) (n int64, ok bool) {
	negative := b[0] == '-'
	if negative {
		b = b[1:]
	}
	// n is made of the digits up to the last that is not 0; zeros come after it.
	// power is that of ten which n is to be multiplied by.
	digits, zeros, power, point := 0, 0, 0, false
	for i, c := range b {
		if c == 'e' || c == 'E' {
			power += exponent(b[i+1:])
			break
		}
		if c == '.' {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			return 0, false
		}
		if point {
			power--
		}
		if c == '0' {
			if n > 0 {
				zeros++
			}
			continue
		}
		if digits += zeros + 1; digits > maxDigits {
			return 0, false
		}
		for ; zeros > 0; zeros-- {
			n *= 10
		}
		n = 10*n + int64(c-'0')
	}
	power += zeros
	switch {
	case n == 0:
		return 0, len(b) > 0
	case negative, power < 0, digits+power > maxDigits:
		return 0, false
	}
	for ; power > 0; power-- {
		n *= 10
	}
	return n, true
}

// exponent reads what follows the e.
func exponent(b []byte) (n int) {
	const most = 1000 // more than a number has digits
	negative := false
	for _, c := range b {
		switch {
		case c == '-':
			negative = true
		case '0' <= c && c <= '9':
			n = min(10*n+int(c-'0'), most)
		}
	}
	if negative {
		return -n
	}
	return n
}
