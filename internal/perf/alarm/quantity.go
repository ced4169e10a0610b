package alarm

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// unit is what a figure or a quantity counts.
type unit uint8

const (
	number unit = iota
	inSeconds
	inBytes
	share // a part of a whole, from 0 to 1
)

// Quantity is a number in the configuration: "0.5", "250ms", "5%" or "1GiB". It is
// kept in base units (seconds, bytes, parts of 1), with the text it was given as.
// The zero Quantity is one that was not given.
type Quantity struct {
	text  string
	value float64
	unit  unit
}

// ParseQuantity reads a quantity. An empty text is one that is not given.
func ParseQuantity(text string) (Quantity, error) {
	if text == "" {
		return Quantity{}, nil
	}
	digits, factor, u := text, 1.0, number
	for i, suffix := range [...]string{"KiB", "MiB", "GiB", "TiB"} {
		if s, ok := strings.CutSuffix(text, suffix); ok {
			digits, factor, u = s, math.Exp2(float64(10*(i+1))), inBytes
		}
	}
	if s, ok := strings.CutSuffix(text, "%"); ok {
		digits, u = s, share
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil && u == number {
		if d, err := time.ParseDuration(text); err == nil {
			return Quantity{text, d.Seconds(), inSeconds}, nil
		}
	}
	if v *= factor; err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return Quantity{}, fmt.Errorf("%q is neither a number nor as 250ms, 5%% or 1GiB", text)
	}
	if u == share {
		v /= 100 // nearer than times 0.01
	}
	return Quantity{text, v, u}, nil
}

// given reports whether there is one.
func (q Quantity) given() bool { return q.text != "" }

// or is the value, or another where none is given.
func (q Quantity) or(other float64) float64 {
	if q.given() {
		return q.value
	}
	return other
}

// String is the text it was read from.
func (q Quantity) String() string { return q.text }

// MarshalText is String.
func (q Quantity) MarshalText() ([]byte, error) { return []byte(q.text), nil }

// UnmarshalText reads a quantity.
func (q *Quantity) UnmarshalText(b []byte) (err error) {
	*q, err = ParseQuantity(string(b))
	return err
}

// unitOf is what a statistic of a figure counts, by the name's suffix.
func unitOf(figure, stat string) unit {
	switch {
	case stat == statRate || stat == statCount:
		return number
	case strings.HasSuffix(figure, "_seconds"):
		return inSeconds
	case strings.HasSuffix(figure, "_bytes"):
		return inBytes
	case strings.HasSuffix(figure, "_ratio"):
		return share
	}
	return number
}

// String names the unit, "" for none.
func (u unit) String() string { return [...]string{"", "seconds", "bytes", "ratio"}[u] }

// format writes a value for a person, with three digits.
func (u unit) format(v float64) string {
	switch size := math.Abs(v); {
	case u == share:
		return write(v*100, " %")
	case u == inSeconds && size >= 1 || u == inSeconds && size == 0:
		return write(v, " s")
	case u == inSeconds && size >= 1e-3:
		return write(v*1e3, " ms")
	case u == inSeconds:
		return write(v*1e6, " µs")
	case u == inBytes && size >= 1<<30:
		return write(v/(1<<30), " GiB")
	case u == inBytes && size >= 1<<20:
		return write(v/(1<<20), " MiB")
	case u == inBytes && size >= 1<<10:
		return write(v/(1<<10), " KiB")
	case u == inBytes:
		return write(v, " B")
	default:
		return write(v, "")
	}
}

// write keeps three digits of a number, and all those before its point.
func write(v float64, suffix string) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64) + suffix
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + suffix
}
