package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Listen plays a server on a bare socket of loopback and gives its address. serve
// has each connection, numbered from 0, which is closed when it returns. When the
// test ends they all are, and serve must return then.
func Listen(t testing.TB, serve func(n int, c net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	open := map[net.Conn]bool{}
	all.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			all.Go(func() {
				defer func() {
					_ = c.Close()
					mu.Lock()
					delete(open, c)
					mu.Unlock()
				}()
				serve(n, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// Vacant gives an address of loopback where nobody listens: somebody did just now. Its
// port is none of those that are given to connections and to whoever asks for any, of
// which tests that run at the same time take hundreds a second.
func Vacant(t testing.TB) (address string) {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(22_000)))
		if err == nil {
			defer func() { _ = l.Close() }()
			return l.Addr().String()
		}
	}
	t.Fatal("no port of a hundred is vacant")
	return ""
}

// Server is what serves on a listener until it is closed, as an engine.
type Server interface {
	Serve(l net.Listener) error
	Close() error
}

// Serve has s serve on loopback and gives the address. It is closed when the test ends,
// and neither that nor the serving may fail.
func Serve(t testing.TB, s Server) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}
