package redis

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/perf"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

// connections counts the server's, but for the test's own.
func connections(t testing.TB, s *redistest.Server) int {
	t.Helper()
	list, err := s.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(list, "\n") - strings.Count(list, "cmd=client|list")
}

// Users of one URL have one set of connections, which the last one closes; each
// has its own breaker.
func TestShared(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	all := Servers{Patience: patient}
	a := up(t, &all, s.URL())
	is(t, "set", do(t, a, "SET", "k", "v"), "OK")
	is(t, "connections", connections(t, s), 1)
	b := up(t, &all, s.URL())
	is(t, "get", do(t, b, "GET", "k"), "v")
	is(t, "connections of both", connections(t, s), 1)
	is(t, "servers", len(all.all), 1)
	other := up(t, &all, s.URL()+"?db=1")
	for range 2 * Failures { // what is not there is no failure
		is(t, "in another database", do(t, other, "GET", "k"), "reply: redis: nil")
	}
	is(t, "servers", len(all.all), 2)
	other.Close()
	is(t, "servers", len(all.all), 1)

	for range Failures {
		_ = a.Do(t.Context(), func(context.Context, Server) error { return errors.New("of a's alone") })
	}
	is(t, "b stays up", b.Up(), true)
	is(t, "b's failures", b.Failed(Protocol), 0)
	testkit.Until(t, "a is up again", a.Up)

	a.Close()
	a.Close()
	is(t, "b goes on", do(t, b, "GET", "k"), "v")
	is(t, "a does not", do(t, a, "GET", "k"), "protocol: "+ErrDown.Error())
	b.Close()
	is(t, "servers", len(all.all), 0)
	testkit.Until(t, "closed", func() bool { return connections(t, s) == 0 })
	is(t, "a new one", do(t, up(t, &all, s.URL()), "GET", "k"), "v")
}

// A user that leaves takes its subscription along, and waits for no other one.
func TestListenerLeaves(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	all := Servers{Patience: patient}
	stays, leaves := up(t, &all, s.URL()), up(t, &all, s.URL())
	heard, broke := make(chan string, 10), make(chan error, 10)
	subscribed := make(chan bool, 10)
	listen := func(c *Client, heard chan<- string) {
		c.Listen(Listener{
			Channel: "c",
			Subscribed: func(ctx context.Context, r Server) error {
				subscribed <- true
				return r.(*goredis.Client).Ping(ctx).Err()
			},
			Heard:  func(text string) { heard <- text },
			Failed: func(err error) { broke <- err },
		})
		<-subscribed
	}
	listen(stays, heard)
	listen(leaves, make(chan string, 10))
	leaves.Close()
	leaves.Listen(Listener{})
	s.Publish(t.Context(), "c", "1")
	is(t, "heard", <-heard, "1")
	is(t, "subscribers", s.PubSubNumSub(t.Context(), "c").Val()["c"], 1)
	is(t, "none was told of a failure", len(broke), 0)
	s.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub")
	is(t, "a break is told", <-broke != nil, true)
	<-subscribed
	s.Publish(t.Context(), "c", "2")
	is(t, "heard again", <-heard, "2")
}

// A call waits no longer than it may, and is not asked for while the server is
// left alone; Try is.
func TestFrozen(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := client(t, nil, s.URL(), Options{Timeout: 200 * time.Millisecond})
	is(t, "before the first probe", do(t, c, "PING") == "protocol: "+ErrDown.Error() || c.Up(), true)
	testkit.Until(t, "up", c.Up)
	is(t, "condition", c.Condition("x", "Look."), perf.Condition{Component: "x"})
	s.Signal(syscall.SIGSTOP)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var reply string
	if err := c.Do(gone, send(&reply, "PING")); !errors.Is(err, context.Canceled) {
		t.Errorf("of a caller who left: %v", err)
	}
	for n := 0; c.Up(); n++ {
		if n > Failures {
			testkit.Until(t, "down", func() bool { return !c.Up() })
			break
		}
		do(t, c, "PING")
	}
	testkit.Until(t, "counted", func() bool { return c.Failed(Timeout) >= Failures })
	unasked := func(context.Context, Server) error {
		t.Error("asked while it is left alone")
		return nil
	}
	is(t, "Do", c.Do(t.Context(), unasked), ErrDown)
	is(t, "Work", c.Work(unasked), ErrDown)
	is(t, "state", c.Condition("x", "Look.").State, perf.Degraded)
	is(t, "says why, and what to do", c.Condition("x", "Look.").Error != "" && c.Condition("x", "Look.").Advice == "Look.", true)
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	is(t, "Try", KindOf(c.Try(short, send(&reply, "PING"))), Timeout)
	s.Signal(syscall.SIGCONT)
	testkit.Until(t, "up", c.Up)
	if err := c.Work(send(&reply, "ECHO", "hello")); err != nil || reply != "hello" {
		t.Errorf("%q, %v", reply, err)
	}
	if err := c.Try(t.Context(), send(&reply, "ECHO", "you")); err != nil || reply != "you" {
		t.Errorf("%q, %v", reply, err)
	}
}

// Nobody waits for a frozen server when all close.
func TestCloseWhileFrozen(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	testkit.InTime(t, Patience, func(patience time.Duration) error {
		all := Servers{Patience: patience}
		a, b := up(t, &all, s.URL()), up(t, &all, s.URL())
		s.Signal(syscall.SIGSTOP)
		defer s.Signal(syscall.SIGCONT)
		done := make(chan error, 4)
		var replies [4]string
		begun := time.Now()
		for i, f := range []func(Commands) error{
			func(f Commands) error { return a.Do(t.Context(), f) }, a.Work, b.Work,
			func(f Commands) error { return a.Try(t.Context(), f) },
		} {
			go func() { done <- f(send(&replies[i], "PING")) }()
		}
		testkit.Until(t, "under way", func() bool { return all.inUse() >= 4 || time.Since(begun) > patience })
		late := all.inUse() < 4
		a.Close() // b's use keeps the connections: as long as a command may take
		b.Close()
		for range 4 {
			if err := <-done; err == nil {
				t.Error("an answer of a server that is frozen")
			}
		}
		if late {
			return errors.New("not all were under way at the same time")
		}
		is(t, "counted", a.Failed(Connection)+b.Failed(Connection), 0)
		is(t, "Try", a.Try(t.Context(), send(&replies[0], "PING")), ErrClosed)
		is(t, "Work", a.Work(send(&replies[0], "PING")), ErrDown)
		return nil
	})
}

// inUse counts the connections under way of all servers.
func (s *Servers) inUse() (n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sv := range s.all {
		st := sv.redis.PoolStats()
		n += st.TotalConns - st.IdleConns
	}
	return n
}

// What go-redis panics at is an error, as what it understands wrongly is.
func TestNonsense(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]int32{"noise": redistest.Noise, "foreign": redistest.Foreign, "http": redistest.HTTP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := redistest.RelayTo(t, redistest.Start(t))
			c := up(t, new(Servers), r.URL()) // half a reply is waited for
			r.Set(mode)
			for n := 0; c.Up() && n < 20; n++ {
				do(t, c, "GET", "k")
			}
			testkit.Until(t, "down", func() bool { return !c.Up() })
			r.Cut()
			r.Set(redistest.Faithful)
			testkit.Until(t, "up", c.Up)
		})
	}
	c := up(t, nil, redistest.Start(t).URL())
	err := c.Do(t.Context(), func(context.Context, Server) error { panic("at the disco") })
	if err == nil || !strings.Contains(err.Error(), "at the disco") {
		t.Error(err)
	}
}

// Certificates that were renewed under their names are not those before.
func TestIdentity(t *testing.T) {
	t.Parallel()
	first, second := certificates(t), certificates(t)
	id := func(url string) identity {
		t.Helper()
		p, err := parse(url)
		if err != nil {
			t.Fatal(err)
		}
		return p.id
	}
	url := "rediss://h?ca_file=" + first + "/cert&cert_file=" + first + "/cert&key_file=" + first + "/key"
	before := id(url)
	is(t, "the same", id(url), before)
	if id("redis://h") == id("redis://h2") {
		t.Error("two hosts are one")
	}
	move(t, second, first)
	if id(url) == before {
		t.Error("renewed certificates are the ones before")
	}
}
