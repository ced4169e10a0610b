package successor

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"sluice/internal/testkit"
)

func key(n int) Key { return sha256.Sum256(binary.AppendUvarint(nil, uint64(n))) }

// observe tells m of keys in a context and returns what is predicted after the
// last, by number.
func observe(m *Model, context uint64, keys ...int) (next []int) {
	var predicted []Key
	for _, n := range keys {
		predicted = m.Observe(predicted[:0], context, key(n))
	}
	for _, p := range predicted {
		for n := range 10_000 {
			if key(n) == p {
				next = append(next, n)
				break
			}
		}
	}
	return next
}

func TestPredicts(t *testing.T) {
	for _, c := range []struct {
		name string
		keys []int
		want []int
	}{
		{"once is chance", []int{1, 2, 3, 1}, nil},
		{"twice is not", []int{1, 2, 3, 1, 2, 3, 1}, []int{2}},
		{"half of the times is enough", []int{1, 2, 1, 2, 1, 3, 1, 4, 1}, []int{2}},
		{"less is not", []int{1, 2, 1, 2, 1, 3, 1, 4, 1, 5, 1}, nil},
		{"the newer of two alike first", []int{1, 2, 1, 3, 1, 2, 1, 3, 1}, []int{3, 2}},
		{"two alike, the other way round", []int{1, 3, 1, 2, 1, 3, 1, 2, 1}, []int{2, 3}},
		{"asking again teaches nothing", []int{1, 1, 1, 2, 2, 1, 1, 2, 1}, []int{2}},
		{"a rare one does not stay", []int{1, 3, 1, 4, 1, 5, 1, 6, 1, 2, 1, 2, 1, 2, 1, 2, 1}, []int{2}},
		{"of the rare ones the oldest goes", []int{1, 3, 1, 4, 1, 5, 1, 6, 1, 2, 1, 7, 1, 2, 1, 7, 1, 2, 1, 2, 1, 2, 1, 2, 1}, []int{2}},
		{"to itself after others", []int{1, 2, 1}, nil},
	} {
		if got := observe(New(100), 7, c.keys...); !slices.Equal(got, c.want) {
			t.Errorf("%s: after %v come %v, want %v", c.name, c.keys, got, c.want)
		}
	}
}

// A habit that changes is unlearnt within the times that counts last.
func TestUnlearns(t *testing.T) {
	m := New(100)
	for range 1000 {
		observe(m, 7, 1, 2)
	}
	for range maxFollowed {
		observe(m, 7, 1, 3)
	}
	if got := observe(m, 7, 1); !slices.Equal(got, []int{3}) {
		t.Errorf("after 1 come %v, want 3", got)
	}
}

// Two contexts that take turns are two sequences, and neither learns of the
// other's.
func TestContextsKeepApart(t *testing.T) {
	m := New(100)
	for range 4 {
		for i := range 3 {
			observe(m, 1, 10+i)
			observe(m, 2, 12-i)
		}
	}
	if got := observe(m, 1, 10); !slices.Equal(got, []int{11}) {
		t.Errorf("in context 1 after 10 come %v, want 11", got)
	}
	if got := observe(m, 2, 12); !slices.Equal(got, []int{11}) {
		t.Errorf("in context 2 after 12 come %v, want 11", got)
	}
	if got := observe(m, 3, 10); got != nil {
		t.Errorf("in a new context after 10 come %v", got)
	}
}

// Whatever is asked for in whatever order, a prediction has followed its key at
// least twice in the same context, and the model stays consistent.
func TestPredictsOnlyWhatFollowed(t *testing.T) {
	type pair struct {
		context  uint64
		from, to Key
	}
	predictions := 0
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		m, contexts := New(1+r.IntN(60)), 1+r.Uint64N(8)
		followed := map[pair]int{}
		last := map[uint64]Key{}
		for range 4000 {
			context := r.Uint64N(contexts)
			if r.IntN(50) == 0 { // some of many, so that contexts are forgotten
				context = 100 + r.Uint64N(2*maxContexts)
			}
			k := key(int(r.ExpFloat64() * 5))
			if from, ok := last[context]; ok && from != k {
				followed[pair{context, from, k}]++
			}
			last[context] = k
			got := m.Observe(nil, context, k)
			if predictions += len(got); len(got) > 2 {
				t.Fatalf("%d predictions", len(got))
			}
			for _, p := range got {
				if n := followed[pair{context, k, p}]; n < minCount {
					t.Fatalf("seed %d: predicted what followed %d times", seed, n)
				}
			}
		}
		check(t, m)
	}
	if predictions < 100 {
		t.Errorf("only %d predictions were looked at", predictions)
	}
}

func TestConcurrent(t *testing.T) {
	m := New(50)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				m.Observe(nil, uint64(g%4), key(i%(20+g)))
				m.Stats()
			}
		})
	}
	wg.Wait()
	if s := m.Stats(); s.Observed != 8*500 {
		t.Errorf("stats %+v", s)
	}
	check(t, m)
}

func TestObserveDoesNotAllocate(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	m, keys := New(64), make([]Key, 200)
	for i := range keys {
		keys[i] = key(i)
	}
	i, dst := 0, make([]Key, 0, 2)
	if n := testing.AllocsPerRun(5000, func() {
		dst = m.Observe(dst[:0], uint64(i%3000), keys[i%len(keys)])
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, c := range []struct {
		name     string
		distinct int
	}{{"known", 4000}, {"forgetting", 40_000}} {
		b.Run(c.name, func(b *testing.B) {
			m, keys := New(8000), make([]Key, c.distinct)
			for i := range keys {
				keys[i] = key(i)
			}
			dst := make([]Key, 0, 2)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				dst = m.Observe(dst[:0], 7, keys[i%len(keys)])
			}
		})
	}
}
