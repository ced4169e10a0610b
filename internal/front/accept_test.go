package front

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/perf"
)

// scriptedListener fails as it is told to, and then has a connection.
type scriptedListener struct {
	net.Listener
	fails []error
	calls int
}

func (l *scriptedListener) Accept() (net.Conn, error) {
	l.calls++
	if l.calls <= len(l.fails) {
		return nil, l.fails[l.calls-1]
	}
	c, _ := net.Pipe()
	return c, nil
}

// TestAcceptShortage: a want of descriptors or memory ends nothing and does not
// spin, and health says what it was.
func TestAcceptShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := &Server{log: slog.New(slog.NewTextHandler(&log, nil))}
		s.state.Store(&state{cfg: Default()})
		var fails []error
		for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
			for range 5 {
				fails = append(fails, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)})
			}
		}
		inner := &scriptedListener{fails: fails}
		l := &listener{Listener: inner, server: s}
		begun := time.Now()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); inner.calls != 21 || d < 14*maxAcceptPause || d > 20*maxAcceptPause {
			t.Errorf("%d calls in %v", inner.calls, d)
		}
		_ = c.Close()
		if n := strings.Count(log.String(), "cannot be accepted"); n != 1 || s.stats.notAccepted.Load() != 20 {
			t.Errorf("%d failures, logged %d times", s.stats.notAccepted.Load(), n)
		}
		examine := func() (c perf.Condition) {
			s.Examine(func(got perf.Condition) { c = got })
			return c
		}
		if c := examine(); c.State != perf.Degraded || !strings.Contains(c.Error, syscall.ENOMEM.Error()) || c.Advice == "" {
			t.Errorf("got %+v", c)
		}
		time.Sleep(acceptToldFor)
		if c := examine(); c.State != perf.Healthy {
			t.Errorf("got %+v", c)
		}
		// One that lasts is logged again and again.
		log.Reset()
		inner.calls, inner.fails = 0, slices.Repeat([]error{syscall.EMFILE}, 240)
		begun = time.Now()
		if c, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if n, want := strings.Count(log.String(), "cannot be accepted"), int(time.Since(begun)/acceptToldEvery); n < want || n > want+1 {
			t.Errorf("logged %d times in %v", n, time.Since(begun))
		}
		// Whatever else is wrong ends it.
		l.Listener = &scriptedListener{fails: []error{net.ErrClosed}}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
