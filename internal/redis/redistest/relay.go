package redistest

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
	Faithful = iota
	Silent   // drops them
	Noise    // random bytes in their place
	Foreign  // replies of Redis to other commands
	HTTP     // what a web server says
	Slow     // all of it, after Delay
)

// Delay is how much later a Slow answer comes.
const Delay = 20 * time.Millisecond

// Relay stands between a client and a server.
type Relay struct {
	net.Listener
	mode  atomic.Int32
	mu    sync.Mutex
	conns []net.Conn
}

// RelayTo starts a relay, Faithful at first, that ends with the test.
func RelayTo(t testing.TB, s *Server) *Relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Listener: ln}
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
		r.Cut()
		work.Wait()
	})
	return r
}

// URL is where the relay is.
func (r *Relay) URL() string { return "redis://" + r.Addr().String() }

// Set changes what becomes of answers.
func (r *Relay) Set(mode int32) { r.mode.Store(mode) }

// Cut closes all connections.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// answers writes to the client.
type answers struct {
	net.Conn
	relay *Relay
}

func (a answers) Write(b []byte) (int, error) {
	var err error
	switch a.relay.mode.Load() {
	case Faithful:
		_, err = a.Conn.Write(b)
	case Slow:
		time.Sleep(Delay)
		_, err = a.Conn.Write(b)
	case Noise:
		junk := make([]byte, 200)
		for i := range junk {
			junk[i] = byte(rand.Uint32())
		}
		_, err = a.Conn.Write(junk)
	case Foreign:
		_, err = a.Conn.Write([]byte("*1\r\n:1\r\n*0\r\n:7\r\n$-1\r\n*2\r\n$1\r\nx\r\n:1\r\n"))
	case HTTP:
		_, err = a.Conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
	}
	return len(b), err
}
