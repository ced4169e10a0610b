package nethttp

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"sluice/internal/front/engine"
)

// quiet is a Server that logs nothing and answers nothing.
func quiet(timeout time.Duration, cfg *tls.Config) *Server {
	return New(engine.Options{TLS: cfg, Log: slog.New(slog.DiscardHandler), WriteTimeout: func() time.Duration { return timeout }})
}

// recorder is a connection that notes what is written to it. After limit bytes
// it fails.
type recorder struct {
	net.Conn
	writes []string
	limit  int
}

var errBroken = errors.New("broken pipe")

func (r *recorder) Write(b []byte) (int, error) {
	n := min(len(b), r.limit)
	r.limit -= n
	r.writes = append(r.writes, string(b[:n]))
	if n < len(b) {
		return n, errBroken
	}
	return n, nil
}

func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// What was to leave with the next write leaves before it, or by itself, once,
// and what is counted is what the caller gave.
func TestJoin(t *testing.T) {
	head, rest, long := []byte("head"), []byte("rest"), bytes.Repeat([]byte("x"), maxWrite+10)
	for _, test := range []struct {
		name   string
		limit  int
		second []byte
		n      int
		fails  bool
		want   []string
	}{
		{"both", 100, rest, 4, false, []string{"head", "rest"}},
		{"no second", 100, nil, 0, false, []string{"head"}},
		{"long", 1 << 20, long, len(long), false, []string{"head", string(long[:maxWrite]), "xxxxxxxxxx"}},
		{"breaks in the first", 2, rest, 0, true, []string{"he"}},
		{"breaks in the second", 6, rest, 2, true, []string{"head", "re"}},
	} {
		r := &recorder{limit: test.limit}
		c := quiet(time.Minute, nil).newConn(r)
		c.join()
		if n, err := c.Write(head); n != len(head) || err != nil || len(r.writes) > 0 {
			t.Errorf("%s: %d, %v, %q", test.name, n, err, r.writes)
		}
		n, err := 0, error(nil)
		if test.second != nil {
			n, err = c.Write(test.second)
		}
		if e := c.settle(); err == nil {
			err = e
		}
		if n != test.n || (err != nil) != test.fails || fmt.Sprint(r.writes) != fmt.Sprint(test.want) {
			t.Errorf("%s: %d, %v, wrote %.40q", test.name, n, err, r.writes)
		}
		if c.joins || c.head != nil {
			t.Errorf("%s: something is still held back", test.name)
		}
		if !test.fails { // and it writes as before
			if n, err := c.Write(rest); n != 4 || err != nil || r.writes[len(r.writes)-1] != "rest" {
				t.Errorf("%s: after that %d, %v", test.name, n, err)
			}
		}
	}
}

// nothing is a connection that can be closed.
type nothing struct{ net.Conn }

func (nothing) Close() error { return nil }

// TestEnded: what is taken makes up for what is left, and time does.
func TestEnded(t *testing.T) {
	c := quiet(time.Minute, nil).newConn(nothing{})
	left := func(n int) {
		for range n {
			c.ended(false)
		}
	}
	cut := func() uint64 { return c.stats.cuts[cutResets].Load() }
	for range 10 {
		left(maxResets - 1)
		for range maxResets {
			c.ended(true)
		}
	}
	left(maxResets - 1)
	c.resets.Add(-int64(maxResets * resetEvery)) // as if that time had gone by
	left(maxResets - 1)
	if cut() != 0 {
		t.Fatal("closed too early")
	}
	left(maxResets / 10)
	if cut() != 1 {
		t.Error("not closed, or counted more than once")
	}
}

// always accepts the same connection.
type always struct {
	net.Listener
	c net.Conn
}

func (l always) Accept() (net.Conn, error) { return l.c, nil }

// TestEncipheredIsNotSearched: over TLS all that is read would be searched for a
// length that cannot be found.
func TestEncipheredIsNotSearched(t *testing.T) {
	for _, cfg := range []*tls.Config{nil, {}} {
		c, err := (&listener{always{c: nothing{}}, quiet(time.Minute, cfg)}).Accept()
		if got, ok := c.(*conn); err != nil || !ok || got.sized.Load() != (cfg != nil) {
			t.Errorf("with TLS %v: %T, %v", cfg != nil, c, err)
		}
	}
}
