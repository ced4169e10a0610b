package batch

import (
	"bytes"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// What a number of a usage counts.
type counted uint8

const (
	input counted = iota
	output
	both
)

// sharing writes the part that one caller has of what was counted for several: of
// every number that stands in the usage, whatever its name. Over all callers each adds
// up to what the upstream said.
type sharing struct {
	parts []part
	path  []string
}

// value appends a caller's part of a value, which is raw in the first reply.
func (s *sharing) value(dst, raw []byte, of counted) []byte {
	switch c := raw[0]; {
	case c == '{':
		return s.object(dst, raw, of)
	case c == '-' || c >= '0' && c <= '9':
		return s.number(dst, raw, of)
	default:
		return append(dst, raw...)
	}
}

// object appends an object with its numbers shared.
func (s *sharing) object(dst, raw []byte, of counted) []byte {
	from := 0
	_ = jsonscan.Members(raw, maxDepth, func(key []byte, v llm.Span) error {
		dst = append(dst, raw[from:v.Start]...)
		s.path = append(s.path, string(key))
		dst = s.value(dst, raw[v.Start:v.End], kindOfCount(key, of))
		s.path = s.path[:len(s.path)-1]
		from = v.End
		return nil
	})
	return append(dst, raw[from:]...)
}

// kindOfCount tells by a member's name what it counts.
func kindOfCount(name []byte, around counted) counted {
	n := string(name)
	switch {
	case strings.Contains(n, "total"), strings.Contains(n, "cost"):
		return both
	case strings.Contains(n, "completion"), strings.Contains(n, "output"), strings.Contains(n, "reasoning"), strings.Contains(n, "generated"):
		return output
	case strings.Contains(n, "prompt"), strings.Contains(n, "input"):
		return input
	default:
		return around
	}
}

// number appends the caller's part of a number: the sum over the replies that it has
// parts of. One that cannot be shared the first caller has.
func (s *sharing) number(dst, raw []byte, of counted) []byte {
	var sum, fractions uint64
	fractional := false
	for i := 0; i < len(s.parts); {
		r, own := s.parts[i].reply, i
		for i < len(s.parts) && s.parts[i].reply == r {
			i++
		}
		here := raw
		if own > 0 {
			v, ok := jsonscan.Get(r.body[r.usage.Start:r.usage.End], s.path...)
			if !ok {
				continue
			}
			here = r.body[r.usage.Start+v.Start : r.usage.Start+v.End]
		}
		n, fraction, ok := parseNumber(here)
		if !ok {
			if s.parts[0].item == 0 {
				return append(dst, raw...)
			}
			return append(dst, '0')
		}
		part := uint64(0)
		shares := r.apportion(n, of)
		for _, p := range s.parts[own:i] {
			part += shares[p.item]
		}
		if fraction {
			fractional = true
			fractions += part
		} else {
			sum += part
		}
	}
	if !fractional {
		return strconv.AppendUint(dst, sum, 10)
	}
	return appendFraction(dst, sum, fractions)
}

// apportion divides what was counted among the items.
func (r *reply) apportion(total uint64, of counted) []uint64 {
	switch {
	case of == input || r.out == nil:
		return apportion(total, r.in)
	case of == output:
		return apportion(total, r.out)
	}
	// A total is the sum of both for each caller, where it is for all.
	usage := r.body[r.usage.Start:r.usage.End]
	in, _ := count(usage, "prompt_tokens")
	out, _ := count(usage, "completion_tokens")
	ins, outs := apportion(in, r.in), apportion(out, r.out)
	for i := range ins {
		ins[i] += outs[i]
	}
	if in+out == total {
		return ins
	}
	return apportion(total, ins)
}

// apportion divides by weight, by the method of the largest remainder, to the last
// one. Where nobody weighs anything all are alike.
func apportion(total uint64, weights []uint64) []uint64 {
	sum := uint64(0)
	for _, w := range weights {
		sum += w
	}
	if sum == 0 {
		weights = slices.Repeat([]uint64{1}, len(weights))
		sum = uint64(len(weights))
	}
	shares, rests := make([]uint64, len(weights)), make([]uint64, len(weights))
	left := total
	for i, w := range weights {
		hi, lo := bits.Mul64(total, w)
		shares[i], rests[i] = bits.Div64(hi, lo, sum)
		left -= shares[i]
	}
	for ; left > 0; left-- {
		most := 0
		for i, rest := range rests {
			if rest > rests[most] {
				most = i
			}
		}
		shares[most]++
		rests[most] = 0
	}
	return shares
}

// unit is what one is in the last place of fractions that are shared out.
const unit = 1_000_000_000_000_000

// parseNumber reads a number of JSON: a whole one, or a fraction in units of its last
// place. ok is false for one that is negative, or too large.
func parseNumber(raw []byte) (n uint64, fraction, ok bool) {
	if n, err := strconv.ParseUint(string(raw), 10, 62); err == nil {
		return n, false, true
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 || f >= 1000 {
		return 0, true, false
	}
	return uint64(math.Round(f * unit)), true, true
}

// appendFraction appends whole + fraction / unit.
func appendFraction(dst []byte, whole, fraction uint64) []byte {
	dst = strconv.AppendUint(dst, whole+fraction/unit, 10)
	text := strconv.AppendUint(nil, fraction%unit+unit, 10)[1:] // with its leading zeros
	text = bytes.TrimRight(text, "0")
	if len(text) == 0 {
		return append(dst, ".0"...)
	}
	return append(append(dst, '.'), text...)
}
