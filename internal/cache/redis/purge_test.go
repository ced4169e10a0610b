package redis

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/cache"
	"sluice/internal/redis"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

func TestPurge(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	heard := make(chan cache.Purge, 10)
	cfg := conf(s.URL())
	cfg.Prefix = `s[1]*?\:`
	a := level(t, cfg, Options{OnPurge: func(p cache.Purge) { t.Errorf("own purge %v was heard", p) }})
	b := level(t, cfg, Options{OnPurge: func(p cache.Purge) { heard <- p }})
	testkit.Until(t, "up", func() bool { return a.Up() && b.Up() })
	subscribed(t, a, 1)
	subscribed(t, b, 1)
	for _, neighbour := range []string{"s1xx:1:0123456789abcdef:x", `s[1]*?\:2:`, `s[1]*?\:1:other`} {
		s.Set(t.Context(), neighbour, "x", 0)
	}
	places := []cache.Place{at("m", "1"), at("m", "2"), at("n", "1"), at("n", "2")}
	for _, c := range []struct {
		purge cache.Purge
		left  string
	}{
		{cache.Purge{Model: "m"}, "- - 2 3"},
		{cache.Purge{Key: at("", "1").Key}, "- 1 - 3"},
		{cache.Purge{Model: "n", Key: at("", "2").Key}, "0 1 2 -"},
		{cache.Purge{Model: "unknown"}, "0 1 2 3"},
		{cache.Purge{}, "- - - -"},
	} {
		for i, p := range places {
			stored(t, a, p, fmt.Sprint(i))
		}
		if err := a.Purge(t.Context(), c.purge); err != nil {
			t.Fatal(err)
		}
		is(t, fmt.Sprint(c.purge), get(t, a, places...), c.left)
		is(t, "heard", <-heard, c.purge)
	}
	is(t, "neighbours and the epoch", s.DBSize(t.Context()).Val(), 4)
}

// An id is forgotten with what is in the places given, and nothing else.
func TestForget(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	heard := make(chan cache.Purge, 10)
	a := ready(t, conf(s.URL()), Options{})
	ready(t, conf(s.URL()), Options{OnPurge: func(p cache.Purge) { heard <- p }})
	id := at("", "id")
	places := []cache.Place{at("m", "1"), at("m", "2"), at("n", "1"), id}
	for i, p := range places {
		stored(t, a, p, fmt.Sprint(i))
	}
	a.Put(at("n", "3"), []byte("x"), time.Hour)
	if err := a.Forget(t.Context(), id.Key, []cache.Place{places[0], at("n", "3")}); err != nil {
		t.Fatal(err)
	}
	is(t, "left", get(t, a, append(places, at("n", "3"))...), "- 1 2 - -")
	is(t, "heard", <-heard, cache.Purge{ID: id.Key})
	// Of what waits to be stored on a machine that hears of it, what leads to the
	// reply is dropped.
	q := queue{wake: make(chan struct{}, 1)}
	q.add(put{place: id})
	q.add(put{place: at("m", "1")})
	q.forget(cache.Purge{ID: id.Key})
	is(t, "waits", fmt.Sprint(len(q.puts), q.puts[0].place == at("m", "1")), "1 true")
}

func TestPurgeWhatIsStillToBeStored(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := ready(t, conf(s.URL()), Options{})
	for i := range maxQueued / 2 {
		l.Put(at("m", fmt.Sprint(i)), make([]byte, 1000), time.Hour)
	}
	if err := l.Purge(t.Context(), cache.Purge{Model: "m"}); err != nil {
		t.Fatal(err)
	}
	stored(t, l, at("n", "after"), "x")
	is(t, "keys", s.DBSize(t.Context()).Val(), 2) // with the epoch
}

// What another machine purged is not stored here afterwards.
func TestHeardPurgeReachesTheQueue(t *testing.T) {
	var heard []cache.Purge
	l := &Level{id: "us"}
	l.purged = func(p cache.Purge) {
		heard = append(heard, p)
		is(t, "known, before it is forgotten", l.epoch.Load(), 1)
	}
	s := listener{Level: l}
	l.queue.add(put{place: at("m", "a")})
	l.queue.add(put{place: at("n", "a")})
	s.hear(encode(message{From: "us", Epoch: 1, Purge: cache.Purge{Model: "n"}}))
	s.hear(encode(message{From: "them", Epoch: 2, Purge: cache.Purge{Model: "m"}}))
	is(t, "queued", len(l.queue.puts), 1)
	is(t, "stays", l.queue.puts[0].place.Model, "n")
	is(t, "heard", len(heard), 1)
	is(t, "counted", s.seen, 2)
}

// A purge that happens while the level is not subscribed is found by the epoch.
func TestMissedPurge(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	heard := make(chan cache.Purge, 10)
	l := ready(t, conf(s.URL()), Options{OnPurge: func(p cache.Purge) { heard <- p }})
	other := ready(t, conf(s.URL()), Options{})
	tell := func(model string) {
		t.Helper()
		if err := other.Purge(t.Context(), cache.Purge{Model: model}); err != nil {
			t.Fatal(err)
		}
	}
	cuts := uint64(1)
	cut := func(extra func(goredis.Pipeliner)) {
		t.Helper()
		_, err := s.TxPipelined(t.Context(), func(p goredis.Pipeliner) error {
			p.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub")
			extra(p)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		cuts++
		subscribed(t, l, cuts)
	}
	s.Publish(t.Context(), l.names.channel, "nonsense")
	tell("1")
	is(t, "heard", <-heard, cache.Purge{Model: "1"})
	cut(func(goredis.Pipeliner) {}) // nothing was missed: nothing is purged
	tell("2")
	is(t, "heard", <-heard, cache.Purge{Model: "2"})
	cut(func(p goredis.Pipeliner) { p.Incr(t.Context(), l.names.epoch) })
	is(t, "missed", <-heard, cache.Purge{})
	cut(func(goredis.Pipeliner) {})
	tell("3")
	is(t, "heard", <-heard, cache.Purge{Model: "3"})
}

// A subscription that hears nothing more is given up, and what was missed found.
func TestDeafSubscription(t *testing.T) {
	t.Parallel()
	testkit.InTime(t, 200*time.Millisecond, func(silence time.Duration) error { // and for as long an answer
		s := redistest.Start(t)
		r := redistest.RelayTo(t, s)
		heard := make(chan cache.Purge, 10)
		pace := fast
		pace.Silence = silence
		servers := &redis.Servers{Patience: max(silence, redis.Patience)} // what is silent is waited for
		l := paced(t, conf(r.URL()), Options{Servers: servers, OnPurge: func(p cache.Purge) { heard <- p }}, pace)
		pings := func() bool {
			return strings.Contains(s.Info(t.Context(), "commandstats").Val(), "cmdstat_ping:calls=4")
		}
		testkit.Until(t, "asked, more than once", pings)
		if n := l.figures.subscriptions.Load(); n != 1 {
			return fmt.Errorf("%d subscriptions", n)
		}
		r.Set(redistest.Silent)
		s.Incr(t.Context(), l.names.epoch)
		testkit.Until(t, "given up", func() bool { return subscribers(t, s, l) == 0 })
		r.Set(redistest.Faithful)
		is(t, "missed", <-heard, cache.Purge{})
		return nil
	})
}

func TestPurgeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := redistest.RelayTo(t, s)
	l := level(t, conf(r.URL()), Options{})
	testkit.Until(t, "up", l.Up)
	r.Set(redistest.Silent)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := l.Purge(ctx, cache.Purge{}); redis.KindOf(err) != redis.Timeout {
		t.Error(err)
	}
}
