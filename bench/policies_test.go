package main

import (
	"math/rand/v2"
	"testing"

	"sluice/internal/cache/successor"
)

// of makes a trace of keys, numbered as readers number them.
func of(keys ...uint64) *trace {
	c := newCollector("test")
	for _, key := range keys {
		c.add(key)
	}
	return &c.trace
}

// textbook is the reference string that operating systems are taught with:
// with 3 frames LRU has 12 faults. The best possible is 9 where everything asked
// for has to be loaded, and 8 where a page may be used without being kept.
func textbook() *trace { return of(7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1) }

func TestHits(t *testing.T) {
	for _, c := range []struct {
		name     string
		trace    *trace
		capacity int
		min, lru int
	}{
		{"empty", of(), 3, 0, 0},
		{"all fit", of(1, 2, 3, 1, 2, 3), 3, 3, 3},
		{"loop of one more than fits", of(1, 2, 3, 1, 2, 3, 1, 2, 3), 2, 4, 0},
		{"one place", of(1, 1, 2, 1, 1), 1, 3, 2},
		{"textbook", textbook(), 3, 12, 8},
	} {
		if got := minHits(c.trace, c.capacity); got != c.min {
			t.Errorf("%s: Bélády hits %d times, want %d", c.name, got, c.min)
		}
		if got := lruHits(c.trace, c.capacity); got != c.lru {
			t.Errorf("%s: LRU hits %d times, want %d", c.name, got, c.lru)
		}
	}
}

// best tries every choice of what to keep, as a set of bits.
func best(requests []int32, cached uint, capacity int, known map[[2]int]int) (hits int) {
	if len(requests) == 0 {
		return 0
	}
	state := [2]int{len(requests), int(cached)}
	if n, ok := known[state]; ok {
		return n
	}
	defer func() { known[state] = hits }()
	key, rest := uint(1)<<requests[0], requests[1:]
	if cached&key != 0 {
		return 1 + best(rest, cached, capacity, known)
	}
	hits = best(rest, cached, capacity, known)
	if ones(cached) < capacity {
		hits = max(hits, best(rest, cached|key, capacity, known))
	}
	for old := uint(1); old <= cached; old <<= 1 {
		if cached&old != 0 {
			hits = max(hits, best(rest, cached&^old|key, capacity, known))
		}
	}
	return hits
}

func ones(set uint) (n int) {
	for ; set > 0; set &= set - 1 {
		n++
	}
	return n
}

// plainLRU is LRU as it is defined, on a slice.
func plainLRU(t *trace, capacity int) (hits int) {
	var cached []int32
	for _, key := range t.requests {
		kept := make([]int32, 0, capacity+1)
		for _, c := range cached {
			if c != key {
				kept = append(kept, c)
			}
		}
		hits += len(cached) - len(kept)
		cached = append(kept, key)
		cached = cached[max(len(cached)-capacity, 0):]
	}
	return hits
}

func TestHitsAgainstDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		keys := make([]uint64, r.IntN(25))
		for i := range keys {
			keys[i] = r.Uint64N(8)
		}
		tr, capacity := of(keys...), 1+r.IntN(5)
		if got, want := minHits(tr, capacity), best(tr.requests, 0, capacity, map[[2]int]int{}); got != want {
			t.Fatalf("%v, capacity %d: Bélády hits %d times, the best possible is %d", keys, capacity, got, want)
		}
		if got, want := lruHits(tr, capacity), plainLRU(tr, capacity); got != want {
			t.Fatalf("%v, capacity %d: LRU hits %d times, want %d", keys, capacity, got, want)
		}
	}
}

func TestTinyLFUKeepsWhatIsFrequent(t *testing.T) {
	// Two hot keys among a scan: after the first times they always hit, and
	// nothing else can.
	var keys []uint64
	for i := range uint64(1000) {
		keys = append(keys, 1, 2, 100+2*i, 101+2*i)
	}
	tr := of(keys...)
	hits, ahead := tinyLFUHits(tr, 4, nil)
	if most := minHits(tr, 4); hits > most || hits < most*9/10 {
		t.Errorf("%d hits, where %d are possible", hits, most)
	}
	if ahead != (preloads{}) {
		t.Errorf("preloads without a model: %+v", ahead)
	}
}

func TestPreloads(t *testing.T) {
	const keys, rounds = 1000, 5
	var loop []uint64
	for range rounds {
		for key := range uint64(keys) {
			loop = append(loop, key)
		}
	}
	tr := of(loop...)
	plain, _ := tinyLFUHits(tr, 200, nil)
	hits, ahead := tinyLFUHits(tr, 200, successor.New(keys))
	// What follows a key is known after it has followed twice.
	if most := (rounds - 2) * keys; hits < most*9/10 || hits > most+plain || ahead.used > ahead.loaded || ahead.used < ahead.loaded*9/10 {
		t.Errorf("%d hits, %d without, preloads %+v", hits, plain, ahead)
	}
	if _, ahead := tinyLFUHits(of(1, 2, 1, 2, 1, 2), 10, successor.New(10)); ahead.loaded != 0 {
		t.Errorf("loaded what is cached: %+v", ahead)
	}
}
