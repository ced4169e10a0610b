package redis

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What a relay makes of the server's answers.
const (
	faithful = iota
	silent   // drops them
	noise    // random bytes in their place
	foreign  // replies of Redis to other commands
	http     // what a web server says
	slow     // all of it, after a delay
)

const delay = 20 * time.Millisecond

// relay stands between a level and a server.
type relay struct {
	net.Listener
	mode  atomic.Int32
	mu    sync.Mutex
	conns []net.Conn
}

func relayTo(t testing.TB, s *server) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: ln}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", s.Options().Addr)
			if err != nil {
				near.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, near, far)
			r.mu.Unlock()
			work.Go(func() { io.Copy(far, near); far.Close() })
			work.Go(func() { io.Copy(answers{near, r}, far); near.Close() })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		r.cut()
		work.Wait()
	})
	return r
}

func (r *relay) url() string    { return "redis://" + r.Addr().String() }
func (r *relay) set(mode int32) { r.mode.Store(mode) }

// cut closes all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// answers writes to the level.
type answers struct {
	net.Conn
	*relay
}

func (a answers) Write(b []byte) (int, error) {
	var err error
	switch a.mode.Load() {
	case faithful:
		_, err = a.Conn.Write(b)
	case slow:
		time.Sleep(delay)
		_, err = a.Conn.Write(b)
	case noise:
		junk := make([]byte, 200)
		for i := range junk {
			junk[i] = byte(rand.Uint32())
		}
		_, err = a.Conn.Write(junk)
	case foreign:
		_, err = a.Conn.Write([]byte("*1\r\n:1\r\n*0\r\n:7\r\n$-1\r\n*2\r\n$1\r\nx\r\n:1\r\n"))
	case http:
		_, err = a.Conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
	}
	return len(b), err
}

func (a answers) Close() error { return a.Conn.Close() }
