package main

import (
	"math"
	"strings"
	"testing"
)

func TestReadArrivals(t *testing.T) {
	gaps, tokens, err := readArrivals(strings.NewReader("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n" +
		"2023-11-16 18:17:04.0319600,3180,8\n2023-11-16 18:17:04.0319600,110,27\n"))
	if err != nil || len(gaps) != 1 || math.Abs(gaps[0]-0.052) > 1e-9 || len(tokens) != 3 || tokens[1] != 3180 {
		t.Errorf("%v, %v, %v", gaps, tokens, err)
	}
	for _, text := range []string{"", "T,C\nnow,1\n", "T,C\n2023-11-16 18:17:04,x\n", "a,b\n1\n"} {
		if _, _, err := readArrivals(strings.NewReader(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// What is compared is read rightly: each is about as exact as it was set up to be.
func TestHistograms(t *testing.T) {
	values := make([]float64, 1000)
	for i := range values {
		values[i] = math.Pow(10, float64(i%70)/10-5) // 10 µs to 80 s
	}
	for _, h := range histograms() {
		if e := worst(h.new(), values); !(e > 0 && e < 1.1*accuracy) {
			t.Errorf("%s: off by %v", h.name, e)
		}
		if n := footprintOf(h, values); n < 500 || n > 1<<20 {
			t.Errorf("%s: %d bytes", h.name, n)
		}
	}
}
