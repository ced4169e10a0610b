package redis

import (
	"testing"

	"sluice/internal/cache"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

// A machine that comes back with replies from before purges them if there was
// a purge while it was away, or if it had not known all of them even then.
func TestPurgeWhileAway(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	heard := make(chan cache.Purge, 10)
	listens := Options{OnPurge: func(p cache.Purge) { heard <- p }}
	other := ready(t, conf(s.URL()), Options{})
	purge := func() {
		t.Helper()
		if err := other.Purge(t.Context(), cache.Purge{Model: "m"}); err != nil {
			t.Fatal(err)
		}
	}
	back := func(epoch string) *Level {
		t.Helper()
		listens.Epoch = epoch
		return ready(t, conf(s.URL()), listens)
	}
	first := back("")
	purge()
	is(t, "heard", <-heard, cache.Purge{Model: "m"})
	epoch := first.Epoch()
	first.Close()
	back(epoch).Close()
	is(t, "purged for nothing", len(heard), 0)
	purge()
	second := back(epoch)
	is(t, "missed", <-heard, cache.Purge{})
	if second.Epoch() == epoch {
		t.Error("the epoch is the old one")
	}

	// One that had no server at all knows of none.
	deaf := level(t, conf("unix:///nonexistent/redis.sock"), Options{})
	is(t, "before it asked, or after", deaf.Epoch() == "" || deaf.Epoch() == "-1", true)
	testkit.Until(t, "asked", func() bool { return deaf.Epoch() == "-1" })
	back(deaf.Epoch())
	is(t, "missed", <-heard, cache.Purge{})
}
