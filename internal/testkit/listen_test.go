package testkit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestListen(t *testing.T) {
	var ended atomic.Int32
	t.Run("server", func(t *testing.T) {
		address := Listen(t, func(n int, c net.Conn) {
			defer ended.Add(1)
			_, _ = fmt.Fprint(c, n)
			if n == 1 {
				_, _ = io.Copy(io.Discard, c) // until the test ends
			}
		})
		for want := range 2 {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			b := make([]byte, 1)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != fmt.Sprint(want) {
				t.Fatalf("read %q, %v", b, err)
			}
			if want == 0 {
				if n, err := c.Read(b); err != io.EOF {
					t.Errorf("the connection is not closed: %d, %v", n, err)
				}
			}
		}
	})
	if n := ended.Load(); n != 2 {
		t.Errorf("%d connections have ended", n)
	}
	if c, err := net.Dial("tcp", Vacant(t)); err == nil {
		_ = c.Close()
		t.Error("somebody listens")
	}
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		Until(t, "asked often", func() bool { asked++; return asked == 100 })
		f := &failing{TB: t}
		func() {
			defer func() { _ = recover() }()
			Until(f, "never", func() bool { return false })
		}()
		if f.text != "waited in vain: never" {
			t.Errorf("failed with %q", f.text)
		}
	})
}

// What fails with a short time-out and not with a long one is as it should be.
func TestInTime(t *testing.T) {
	late := errors.New("late")
	for need, want := range map[time.Duration]string{time.Second: "[50ms 200ms 800ms 3.2s] ", time.Hour: "[50ms 200ms 800ms 3.2s 12.8s] late"} {
		var tried []time.Duration
		f := &failing{TB: t}
		func() {
			defer func() { _ = recover() }()
			InTime(f, 50*time.Millisecond, func(timeout time.Duration) error {
				if tried = append(tried, timeout); timeout < need {
					return late
				}
				return nil
			})
		}()
		if got := fmt.Sprint(tried, " ", f.text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// failing takes note of what ended it.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Helper() {}

func (f *failing) Logf(string, ...any) {}

func (f *failing) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f.text)
}

func TestBuffer(t *testing.T) {
	var b Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			_, _ = io.WriteString(&b, "x")
		}
	}()
	for b.String() == "" {
	}
	<-done
	if len(b.String()) != 1000 {
		t.Errorf("%d bytes", len(b.String()))
	}
}
