package embeddings

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
)

// Share is what one input takes of the tokens that an upstream counted for several.
type Share struct {
	Tokens uint32 // once divided

	known  bool   // weight is its tokens, and not its bytes
	weight uint64 // at least 1
	rest   uint64 // what is left over, for the order in which the last tokens go
}

// Weigh says how much an input, as JSON, weighs beside others: an array counts as
// many tokens as it has, and of text nobody knows more than its length.
func Weigh(item []byte) Share {
	if item[0] == '[' {
		return Share{known: true, weight: uint64(bytes.Count(item, []byte{','})) + 1}
	}
	return Share{weight: uint64(len(item))}
}

// bytesPerToken is about what a token of text takes.
const bytesPerToken = 4

// Divide shares out the tokens that an upstream counted, to the last one. Arrays
// have what they count; what the upstream adds to that, such as a token before
// each input, all have alike. Of text each has its part by its length, and one
// token at least where there are enough.
func Divide(total uint32, shares []Share) {
	counted, texts := uint64(0), 0
	for i := range shares {
		if shares[i].known {
			counted += shares[i].weight
		} else {
			texts++
		}
	}
	switch {
	case texts == len(shares):
		apportion(total, shares)
	case uint64(total) < counted+uint64(texts): // it counts otherwise than we do
		for i := range shares {
			if s := &shares[i]; !s.known {
				s.weight = max(s.weight/bytesPerToken, 1)
			}
		}
		apportion(total, shares)
	default:
		left := make([]Share, 0, len(shares)) // for texts, or all where there is none
		for i := range shares {
			switch s := &shares[i]; {
			case texts == 0:
				left = append(left, Share{weight: 1})
			case !s.known:
				left = append(left, *s)
			}
		}
		apportion(total-uint32(counted), left)
		for i := range shares {
			s := &shares[i]
			if s.known {
				s.Tokens = uint32(s.weight)
			}
			if texts == 0 || !s.known {
				s.Tokens += left[0].Tokens
				left = left[1:]
			}
		}
	}
}

// apportion divides by weight, by the method of the largest remainder. Where there
// is one for each, each has one first, and who has more than its part with that
// has no more.
func apportion(total uint32, shares []Share) {
	n, sum := uint64(len(shares)), uint64(0)
	for i := range shares {
		sum += shares[i].weight
	}
	first := uint32(0)
	left := uint64(total)
	if left >= n {
		first, left = 1, left-n
		above := uint64(0)
		for i := range shares {
			s := &shares[i]
			s.weight = max(uint64(total)*s.weight, sum) - sum
			above += s.weight
		}
		sum = max(above, 1)
	}
	given := uint64(0)
	for i := range shares {
		s := &shares[i]
		hi, lo := bits.Mul64(left, s.weight)
		var part uint64
		part, s.rest = bits.Div64(hi, lo, sum)
		s.Tokens = first + uint32(part)
		given += part
	}
	byRest := make([]*Share, len(shares))
	for i := range shares {
		byRest[i] = &shares[i]
	}
	slices.SortStableFunc(byRest, func(a, b *Share) int { return cmp.Compare(b.rest, a.rest) })
	for _, s := range byRest[:left-given] {
		s.Tokens++
	}
}
