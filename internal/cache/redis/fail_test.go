package redis

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/cache"
	"sluice/internal/perf"
	"sluice/internal/redis"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

// fails asks until the level is down, and checks that it then fails at once.
func fails(t *testing.T, l *Level) {
	t.Helper()
	found := make([]cache.Found, 1)
	for n := 0; l.Up(); n++ {
		if err := l.Get(t.Context(), []cache.Place{at("m", "a")}, found); err == nil || found[0].Value != nil {
			t.Fatalf("found %v, %v", found, err)
		}
		if n >= redis.Failures { // the last may be counted a moment after it was given up
			testkit.Until(t, "down", func() bool { return !l.Up() })
		}
	}
	// That it is not asked is what ErrDown says: those that were may be counted later.
	if err := l.Get(t.Context(), []cache.Place{at("m", "a")}, found); !errors.Is(err, redis.ErrDown) {
		t.Errorf("down: %v", err)
	}
	dropped := l.figures.dropped.Load()
	l.Put(at("m", "a"), []byte("new"), time.Hour)
	is(t, "dropped", l.figures.dropped.Load(), dropped+1)
}

func TestFrozen(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cfg := conf(s.URL())
	cfg.Timeout = 200 * time.Millisecond
	l := ready(t, cfg, Options{})
	stored(t, l, at("m", "a"), "old")
	s.Signal(syscall.SIGSTOP)
	fails(t, l)
	is(t, "errors", l.client.Failed(redis.Timeout) >= redis.Failures, true)
	l.Examine(func(c perf.Condition) {
		is(t, "state", c.State, perf.Degraded)
		is(t, "says what is wrong", c.Error != "" && c.Advice != "", true)
	})
	other := level(t, cfg, Options{}) // and one that is closed without having been up
	other.Close()
	s.Signal(syscall.SIGCONT)
	testkit.Until(t, "up", l.Up)
	l.Examine(func(c perf.Condition) { is(t, "condition", c, perf.Condition{Component: "cache/redis"}) })
	testkit.Until(t, "found", func() bool { return get(t, l, at("m", "a")) == "old" })
}

func TestCloseWhileFrozen(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := ready(t, conf(s.URL()), Options{})
	s.Signal(syscall.SIGSTOP)
	l.Put(at("m", "a"), []byte("x"), time.Hour)
	done := make(chan error, 1)
	go func() { done <- l.Get(t.Context(), []cache.Place{at("m", "a")}, make([]cache.Found, 1)) }()
	l.Close()
	if err := <-done; err == nil {
		t.Error("found something")
	}
	is(t, "errors", l.client.Failed(redis.Connection), 0)
}

func TestRestart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	purges := make(chan cache.Purge, 10)
	l := ready(t, conf(s.URL()), Options{OnPurge: func(p cache.Purge) { purges <- p }})
	if err := l.Purge(t.Context(), cache.Purge{Model: "m"}); err != nil {
		t.Fatal(err)
	}
	stored(t, l, at("m", "a"), "old")
	s.Kill()
	fails(t, l)
	if err := l.Purge(t.Context(), cache.Purge{Model: "m"}); err == nil {
		t.Error("purged without a server")
	}
	s.Run(t)
	testkit.Until(t, "up", l.Up)
	is(t, "lost", get(t, l, at("m", "a")), "-")
	stored(t, l, at("m", "a"), "new")
	is(t, "purged, since the count is lost", <-purges, cache.Purge{})
}

// A level that has to wait for its server may have missed purges.
func TestLateServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	purges := make(chan cache.Purge, 10)
	l := level(t, conf(s.URL()), Options{OnPurge: func(p cache.Purge) { purges <- p }})
	is(t, "up", l.Up(), false)
	s.Run(t)
	testkit.Until(t, "up", l.Up)
	is(t, "purge", <-purges, cache.Purge{})
}

// A server that is full, or a replica, is still read.
func TestRefusedWrites(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string][]any{
		"full":    {"CONFIG", "SET", "maxmemory", "1"},
		"replica": {"REPLICAOF", "127.0.0.1", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			l := ready(t, conf(s.URL()), Options{})
			stored(t, l, at("m", "a"), "old")
			if err := s.Do(t.Context(), refuse...).Err(); err != nil {
				t.Fatal(err)
			}
			for n := range uint64(2 * redis.Failures) {
				l.Put(at("m", "b"), []byte("new"), time.Hour)
				testkit.Until(t, "refused", func() bool { return l.client.Failed(redis.Reply) == n+1 })
			}
			is(t, "up", l.Up(), true)
			is(t, "found", get(t, l, at("m", "a"), at("m", "b")), "old -")
			is(t, "dropped", l.figures.dropped.Load(), 2*redis.Failures)
		})
	}
}

// A server that answers a patient probe, but no request, is not up.
func TestSlow(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := redistest.RelayTo(t, s)
	r.Set(redistest.Slow)
	cfg := conf(r.URL())
	cfg.Timeout = redistest.Delay / 4
	l := level(t, cfg, Options{})
	testkit.Until(t, "probes", func() bool {
		is(t, "up", l.Up(), false)
		return strings.Contains(s.Info(t.Context(), "commandstats").Val(), "cmdstat_get:calls=6")
	})
}

// Whatever comes in place of replies is an error, and the level comes back.
func TestNonsense(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]int32{"noise": redistest.Noise, "foreign": redistest.Foreign, "http": redistest.HTTP, "silent": redistest.Silent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			r := redistest.RelayTo(t, s)
			r.Set(mode)
			cfg := conf(r.URL())
			cfg.Timeout = 300 * time.Millisecond
			l := level(t, cfg, Options{Servers: new(redis.Servers)}) // half a reply is waited for
			is(t, "up", l.Up(), false)
			r.Set(redistest.Faithful)
			testkit.Until(t, "up", l.Up)
			stored(t, l, at("m", "a"), "old")
			r.Set(mode)
			s.Publish(t.Context(), l.names.channel, "comes as something else")
			fails(t, l)
			r.Cut()
			r.Set(redistest.Faithful)
			testkit.Until(t, "found", func() bool { return get(t, l, at("m", "a")) == "old" })
			testkit.Until(t, "subscribed", func() bool { return subscribers(t, s, l) == 1 })
		})
	}
}
