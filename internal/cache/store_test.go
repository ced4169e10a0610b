package cache

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A client that never asks twice for the same fills memory up to its bounds
// and no further, of entries as of bytes.
func TestBounds(t *testing.T) {
	for _, test := range []struct {
		entries, bytes, reply int
	}{
		{100, 1 << 20, 10}, {100, 1 << 20, 20 << 10}, {2000, 64 << 10, 10}, {2000, 64 << 10, 600},
	} {
		f := newFixture(t, func(c *Config, _ *Options) {
			c.MaxSize, c.MaxBytes, c.MaxEntryBytes = test.entries, int64(test.bytes), int64(test.bytes/8)
		})
		pad := strings.Repeat("x", test.reply)
		f.up.serve = nil
		for i := range 1500 {
			f.ask(t, chat(fmt.Sprint(i, pad)))
		}
		f.store.entries.CleanUp()
		n, size := f.store.entries.EstimatedSize(), f.store.bytes.Load()
		if n > test.entries || size > int64(test.bytes) || n == 0 || size <= 0 {
			t.Errorf("%+v: %d entries, %d bytes", test, n, size)
		}
		if got := f.store.evicted.Load(); got != uint64(1500-n) {
			t.Errorf("%+v: %d evicted, %d left", test, got, n)
		}
	}
}

// Whoever floods the cache does not drive out what is asked for again and
// again.
func TestFloodKeepsHot(t *testing.T) {
	f := newFixture(t, func(c *Config, _ *Options) { c.MaxSize = 100 })
	hits := 0
	for i := range 5000 {
		f.ask(t, chat(fmt.Sprint(i)))
		if i%10 == 0 && f.ask(t, chat(fmt.Sprint("hot ", i/10%50))).head.Cache.String() == "HIT" {
			hits++
		}
	}
	if hits < 250 { // an LRU cache of 100 has none: 550 others come in between
		t.Errorf("%d of 500 hits", hits)
	}
}

// Maintenance clears out what has expired.
func TestCleanup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		defer f.run()()
		for i := range 50 {
			f.ask(t, chat(fmt.Sprint(i)))
		}
		time.Sleep(299 * time.Second)
		f.ask(t, chat("new"))
		if n := f.store.entries.EstimatedSize(); n != 51 {
			t.Errorf("%d entries before", n)
		}
		time.Sleep(2 * time.Second)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if n, bytes := f.Tidy(over); n != 0 || bytes != 0 {
			t.Errorf("%d entries with %d bytes without time for it", n, bytes)
		}
		if n, bytes := f.Tidy(t.Context()); n != 50 || bytes < 50*overhead {
			t.Errorf("%d entries with %d bytes", n, bytes)
		}
		if n, x := f.store.entries.EstimatedSize(), f.store.expired.Load(); n != 1 || x != 50 {
			t.Errorf("%d entries after, %d expired", n, x)
		}
	})
}

// They go at once when there is no room, before what is of use does.
func TestCleanupUnderPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config, _ *Options) { c.MaxSize = 100 })
		defer f.run()()
		for i := range 90 {
			f.ask(t, chat(fmt.Sprint(i)))
		}
		time.Sleep(121 * time.Second)
		for i := range 20 {
			f.ask(t, chat(fmt.Sprint("more ", i)))
		}
		synctest.Wait()
		if n, x := f.store.entries.EstimatedSize(), f.store.expired.Load(); n > 20 || x < 70 {
			t.Errorf("%d entries, %d expired", n, x)
		}
	})
}
