//go:build !race

package embeddings

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestDivide(t *testing.T) {
	text := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	for _, test := range []struct {
		total uint32
		items []string
		want  string
	}{
		{51, []string{text(4), text(252)}, "1 50"},
		{10, []string{`[1,2]`, `[1, 2, 3,4,5,6,7,8]`}, "2 8"},
		{12, []string{`[1,2]`, `[1,2,3,4,5,6,7,8]`}, "3 9"}, // one before each
		{13, []string{`[1,2]`, `[1,2,3,4,5,6,7,8]`}, "4 9"}, // to the first where they are alike
		{5, []string{`[1,2]`, `[1,2,3,4,5,6,7,8]`}, "1 4"},  // it counts otherwise
		{9, []string{`[1,2]`, text(10), text(4)}, "2 5 2"},  // the rest is the texts'
		{3, []string{`[1,2]`, text(10), text(4)}, "1 1 1"},  // too few for that
		{100, []string{text(10)}, "100"},
		{0, []string{text(10), `[1]`}, "0 0"},
		{2, []string{text(4), text(10), text(8)}, "0 1 1"}, // not one for each
		{3, []string{text(2), text(1000), text(2)}, "1 1 1"},
		{math.MaxUint32, []string{text(2), `[1]`, `[2]`}, fmt.Sprint(uint32(math.MaxUint32)-2, " 1 1")},
	} {
		var shares []Share
		for _, item := range test.items {
			shares = append(shares, Weigh([]byte(item)))
		}
		Divide(test.total, shares)
		var got []string
		for _, s := range shares {
			got = append(got, fmt.Sprint(s.Tokens))
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%d of %.60q: %s, want %s", test.total, test.items, s, test.want)
		}
	}
}

// Whatever is divided adds up, and nobody has none where there is one for each.
func TestDivideAddsUp(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 20_000 {
		n := 1 + rnd.IntN(12)
		shares := make([]Share, n)
		for i := range shares {
			shares[i] = Share{known: rnd.IntN(3) == 0, weight: 1 + rnd.Uint64N(1<<rnd.IntN(28))}
		}
		total := uint32(rnd.Uint64N(1 << (1 + rnd.IntN(32))))
		Divide(total, shares)
		sum := uint64(0)
		for _, s := range shares {
			sum += uint64(s.Tokens)
			if s.Tokens == 0 && total >= uint32(n) {
				t.Fatalf("none of %d: %+v", total, shares)
			}
		}
		if sum != uint64(total) {
			t.Fatalf("%d of %d: %+v", sum, total, shares)
		}
	}
}
