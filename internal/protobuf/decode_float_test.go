package protobuf

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"sluice/internal/testkit"
)

// appendFloat32 writes what strconv does. All from 1e-5 to 1e9 were compared once; a
// test takes those near powers of two and of ten, and some by chance.
func TestAppendFloat32(t *testing.T) {
	testkit.Simulation(t)
	var got, want []byte
	compare := func(bits uint32) {
		v := math.Float32frombits(bits)
		got, want = appendFloat32(got[:0], v), appendFloat(want[:0], float64(v), 32)
		if string(got) != string(want) {
			t.Fatalf("%x: %s, want %s", bits, got, want)
		}
	}
	around := func(bits uint32) {
		for i := range uint32(200) {
			compare(bits + i - 100)
			compare((bits + i - 100) ^ 1<<31)
		}
	}
	for exp := range uint32(256) {
		around(exp << 23)
	}
	for exp := -44; exp < 39; exp++ {
		for m := 1; m < 20; m++ {
			v, err := strconv.ParseFloat(strconv.Itoa(m)+"e"+strconv.Itoa(exp), 32)
			if err == nil {
				around(math.Float32bits(float32(v)))
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300_000 {
		compare(r.Uint32())
		compare(math.Float32bits(float32(r.NormFloat64() * math.Pow10(r.IntN(16)-6))))
	}
}

func BenchmarkAppendFloat32(b *testing.B) {
	r := rand.New(rand.NewPCG(3, 4))
	var values [1024]float32
	for i := range values {
		values[i] = float32(r.NormFloat64() * 0.05)
	}
	var dst []byte
	for i := 0; b.Loop(); i++ {
		dst = appendFloat32(dst[:0], values[i%len(values)])
	}
}

func BenchmarkAppendFloat32Strconv(b *testing.B) {
	r := rand.New(rand.NewPCG(3, 4))
	var values [1024]float32
	for i := range values {
		values[i] = float32(r.NormFloat64() * 0.05)
	}
	var dst []byte
	for i := 0; b.Loop(); i++ {
		dst = appendFloat(dst[:0], float64(values[i%len(values)]), 32)
	}
}
