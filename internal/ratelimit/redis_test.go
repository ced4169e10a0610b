package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/perf"
	"sluice/internal/redis"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Until(t, what, ok)
}

// patient is more than any command takes, on a busy machine too.
const patient = time.Minute

// machine makes the Limits of one key on a machine of its own.
func machine(t *testing.T, url string, cfg Config, requests, tokens int64, timeout time.Duration) (*Limits, *Key) {
	t.Helper()
	l, k := one(t, cfg, requests, tokens, Options{Redis: &redis.Use{URL: url, Timeout: timeout, Prefix: "test:", Servers: &redis.Servers{Patience: patient}}})
	l.TakeOver()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		l.Close()
	})
	return l, k
}

func isUp(l *Limits) func() bool { return l.store.(*redisStore).client.Up }

// TestShared: two machines with one server have one limit, and each knows what the
// other has used.
func TestShared(t *testing.T) {
	server := redistest.Start(t)
	la, a := machine(t, server.URL(), Default(), 20, 10_000, patient)
	lb, b := machine(t, server.URL(), Default(), 20, 10_000, patient)
	until(t, "both up", func() bool { return isUp(la)() && isUp(lb)() })
	n, begun := 0, time.Now()
	for range 40 {
		for _, k := range []*Key{a, b} {
			if shared, err := k.take(amounts{1, 100}); err == nil {
				n++
				if !shared {
					t.Fatal("the server did not answer")
				}
			}
		}
	}
	if most := 20 + int(time.Since(begun).Seconds()/3) + 1; n < 20 || n > most {
		t.Errorf("%d were admitted, of %d", n, most)
	}
	if r, _ := b.Left(); r.Left > 1 {
		t.Errorf("%d left on the other machine", r.Left)
	}
	// What calls really took comes to the other machine.
	a.correct(20_000, true)
	until(t, "what was used elsewhere", func() bool {
		_, err := b.take(amounts{tokens: 1})
		return refusal(err) != nil
	})
	if keys := server.Keys(t.Context(), "*").Val(); len(keys) != 1 {
		t.Errorf("the server has %v", keys)
	}
}

// TestServerDies: while the server is dead, frozen or starting each machine counts by
// itself, or refuses, after its time-out and then at once; when it is back the
// machines share again. It has forgotten all, and each machine knows its own.
func TestServerDies(t *testing.T) {
	testkit.InTime(t, 100*time.Millisecond, func(timeout time.Duration) error { return serverDies(t, timeout) })
}

// serverDies fails where the server is there and did not answer in time.
func serverDies(t *testing.T, timeout time.Duration) error {
	server := redistest.Start(t)
	open, a := machine(t, server.URL(), Default(), 60, 0, timeout)
	closed, b := machine(t, server.URL(), config(func(c *Config) { c.RedisFailure = FailClosed }), 60, 0, timeout)
	up := func() bool { return isUp(open)() && isUp(closed)() }
	until(t, "both up", up)
	take := func(k *Key) (bool, error) { return k.take(amounts{requests: 1}) }
	for _, k := range []*Key{a, b} {
		if shared, err := take(k); !shared || err != nil {
			return fmt.Errorf("at first: %v, %w", shared, err)
		}
	}
	away := func() {
		t.Helper()
		for range redis.Failures + 1 {
			if shared, err := take(a); err != nil || shared {
				t.Errorf("open: shared %v, %v", shared, err)
			}
			if _, err := take(b); refusal(err) == nil || refusal(err).Status != 503 {
				t.Errorf("closed: %v", err)
			}
		}
		until(t, "the server is asked no more", func() bool { return !isUp(open)() && !isUp(closed)() })
		var told perf.Condition
		open.Examine(func(c perf.Condition) { told = c })
		if told.State != perf.Degraded || told.Component != "rate_limit/redis" || told.Advice == "" {
			t.Errorf("health: %+v", told)
		}
	}
	server.Signal(syscall.SIGSTOP)
	away()
	server.Signal(syscall.SIGCONT)
	until(t, "up after the freeze", up)
	server.Kill()
	away()
	for refused := false; !refused; {
		_, err := take(a)
		refused = err != nil
	}
	begun := time.Now()
	server.Run(t)
	until(t, "up after the crash", up)
	n := 0
	for range 30 {
		if shared, err := take(a); err == nil {
			if n++; !shared {
				return errors.New("back, and not shared")
			}
		}
	}
	if most := int(time.Since(begun).Seconds()) + 1; n > most {
		t.Errorf("%d were admitted, of %d: what this machine has used is forgotten", n, most)
	}
	if shared, err := take(b); !shared || err != nil {
		return fmt.Errorf("back: %v, %w", shared, err)
	}
	return nil
}

// TestNotRedis: a server that talks nonsense, and one that never answers, are left
// alone.
func TestNotRedis(t *testing.T) {
	for what, serve := range map[string]func(net.Conn){
		"nonsense": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n") },
		"silence":  func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
	} {
		address := testkit.Listen(t, func(_ int, c net.Conn) { serve(c) })
		l, k := machine(t, "redis://"+address+"/0", Default(), 5, 0, time.Second)
		for i := range 7 {
			if shared, err := k.take(amounts{requests: 1}); shared || (err == nil) != (i < 5) {
				t.Errorf("%s: call %d: %v", what, i, err)
			}
		}
		if isUp(l)() {
			t.Errorf("%s is taken for Redis", what)
		}
	}
}

// TestPermissions: a user of the server needs the commands that docs/caching.md lists,
// and one that lacks them counts by itself and is told so.
func TestPermissions(t *testing.T) {
	server := redistest.Start(t)
	for rules, want := range map[string]bool{"+get +eval +evalsha +time +hmget +hset +pexpire +del": true, "+get": false} {
		if err := server.ACLSetUser(t.Context(), "sluice", append(strings.Fields("reset ~test:* "+rules), "on", ">secret")...).Err(); err != nil {
			t.Fatal(err)
		}
		l, k := machine(t, "unix://sluice:secret@"+server.Options().Addr, Default(), 10, 10, patient)
		until(t, "up", isUp(l))
		shared, err := k.take(amounts{1, 1})
		if err != nil || shared != want {
			t.Errorf("%s: shared %v, %v", rules, shared, err)
		}
		k.correct(1, true)
		l.settleAll()
		failed := l.store.(*redisStore).client.Failed(redis.Reply)
		if (failed == 0) != want {
			t.Errorf("%s: %d failures", rules, failed)
		}
	}
}

// TestSharedAllocations bounds what a call costs that asks Redis, most of it in
// go-redis.
func TestSharedAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	l, k := machine(t, redistest.Start(t).URL(), Default(), maxPerMinute, maxPerMinute, patient)
	until(t, "up", isUp(l))
	n := testing.AllocsPerRun(500, func() {
		if _, err := k.take(amounts{1, 100}); err != nil {
			t.Fatal(err)
		}
	})
	if t.Logf("%v allocations", n); n > 38 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkShared(b *testing.B) {
	l, k := one(b, Default(), maxPerMinute, maxPerMinute, Options{Redis: &redis.Use{URL: redistest.Start(b).URL(), Timeout: time.Second, Prefix: "test:", Servers: new(redis.Servers)}})
	l.TakeOver()
	defer l.Close()
	until(b, "up", isUp(l))
	b.ReportAllocs()
	for b.Loop() {
		if shared, err := k.take(amounts{1, 100}); err != nil || !shared {
			b.Fatal(shared, err)
		}
	}
}
