package redis

import (
	"context"
	"testing"
	"time"

	"sluice/internal/cache"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

// asked is a level with one of two places filled, and the places.
func asked(t testing.TB) (*Level, []cache.Place) {
	t.Helper()
	l := ready(t, conf(redistest.Start(t).URL()), Options{})
	places := []cache.Place{at("m", "a"), at("m", "b")}
	stored(t, l, places[0], string(make([]byte, 4<<10)))
	return l, places
}

func BenchmarkGet(b *testing.B) {
	l, places := asked(b)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	found := make([]cache.Found, len(places))
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Get(ctx, places, found); err != nil || found[0].Value == nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	l, places := asked(b)
	value := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		l.Put(places[0], value, time.Hour)
	}
}

// What a Get costs: about 21 allocations, and 7 for each place, most of them in
// go-redis.
func TestGetAllocs(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	l, places := asked(t)
	found := make([]cache.Found, len(places))
	for n, most := range []float64{1: 29, 2: 36} {
		if n == 0 {
			continue
		}
		got := testing.AllocsPerRun(500, func() {
			if err := l.Get(t.Context(), places[:n], found[:n]); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%d places: %v", n, got)
		if got > most {
			t.Errorf("%d places: %v allocations, at most %v", n, got, most)
		}
	}
}
