package protobuf

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"sluice/internal/testkit"
)

// What is computed without strconv is what strconv computes, to the last bit.
func TestNumberFloat(t *testing.T) {
	testkit.Simulation(t)
	r := rand.New(rand.NewPCG(5, 6))
	for range 100_000 {
		f := math.Float64frombits(r.Uint64())
		switch r.IntN(4) {
		case 0: // half-way between two float32, or close to that
			f = float64(math.Float32frombits(uint32(f))) * (1 + 1/float64(1<<24))
		case 1:
			f = r.NormFloat64()
		case 2:
			f = float64(r.IntN(1 << r.IntN(60)))
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		text := strconv.FormatFloat(f, "efg"[r.IntN(3)], r.IntN(22)-1, 64)
		if len(text) > 400 || text[len(text)-1] == '.' {
			continue
		}
		var num number
		if n := num.scan([]byte(text + ",")); n != len(text) {
			t.Fatalf("%s: read %d bytes", text, n)
		}
		want, err := strconv.ParseFloat(text, 64)
		if got, ok := num.double(); ok != (err == nil) || ok && math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%s: double %v, want %v", text, got, want)
		}
		want, err = strconv.ParseFloat(text, 32)
		if got, ok := num.single(); ok != (err == nil) || ok && math.Float32bits(got) != math.Float32bits(float32(want)) {
			t.Fatalf("%s: single %v, want %v", text, got, want)
		}
	}
}

// The short way to read a Timestamp is the long way's on every day.
func TestParseUTC(t *testing.T) {
	end := time.Date(2401, 1, 1, 0, 0, 0, 0, time.UTC)
	for day := time.Date(1999, 1, 1, 23, 59, 58, 7000, time.UTC); day.Before(end); day = day.AddDate(0, 0, 1) {
		secs, nanos, ok := parseUTC([]byte(day.Format(time.RFC3339Nano)))
		if ok != (day.Day() <= 28) || ok && (secs != day.Unix() || nanos != 7000) {
			t.Fatalf("%v: %d.%09d %v", day, secs, nanos, ok)
		}
	}
}
