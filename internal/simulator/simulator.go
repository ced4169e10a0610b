// Package simulator is a model service that runs inside the binary and is
// reached over a socket like any other upstream. It speaks the OpenAI API over
// HTTP/1.1 and cleartext HTTP/2 (prior knowledge).
//
// It promises determinism: the same request gets the same reply, byte for
// byte, streamed or not, in every process with the same Config. No text is
// meant to make sense. Usage is counted with the package's own tokens (see
// tokenise), so that a reply's usage can be checked against its text.
//
// It also fails on request, so that whatever stands in front of it can be
// tested: see Fault for the keys.
//
// Its models are sim-chat (invented text), sim-echo (repeats the last user
// message), sim-reasoner (sends reasoning before its text), sim-script (does what a user says, step
// by step) and sim-embed.
package simulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/memory"
)

// Config adjusts a Server. The zero Config is good for use.
type Config struct {
	// Seed changes every invented text and embedding.
	Seed uint64

	// Account is what replies that are made as a whole reserve from, and the requests for
	// them; nil is without bound.
	Account *memory.Account
}

// Stats are a Server's counts since it was made.
type Stats struct {
	Requests  int64 // requests begun
	Active    int64 // requests being served now
	Cancelled int64 // requests whose client left before the reply was complete
}

// Server is a simulated model service.
type Server struct {
	seed     uint64
	account  *memory.Account
	routes   map[string]route
	http     *http.Server
	listener net.Listener
	cancel   context.CancelFunc

	failures failures
	crews    crews

	requests, active, cancelled atomic.Int64

	mu       sync.Mutex
	closed   bool
	handlers sync.WaitGroup
}

// New makes a Server that does not listen yet.
func New(cfg Config) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{seed: cfg.Seed, account: cfg.Account, cancel: cancel, failures: failures{left: map[string]int{}}, crews: crews{teams: map[crew]*team{}}}
	s.routes = routes()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler:           s,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	return s
}

// Listen takes a TCP address, "127.0.0.1:0" for any free port, and returns the
// one that it got.
func (s *Server) Listen(addr string) (net.Addr, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the simulator: %w", err)
	}
	s.listener = l
	return l.Addr(), nil
}

// Serve answers requests until Close is called, and then returns nil. Listen
// comes first.
func (s *Server) Serve() error {
	if s.listener == nil {
		return errors.New("serve simulator: Listen was not called")
	}
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve simulator: %w", err)
	}
	return nil
}

// Handler returns the service without its listener.
func (s *Server) Handler() http.Handler { return s }

// Stats returns the counts.
func (s *Server) Stats() Stats {
	return Stats{Requests: s.requests.Load(), Active: s.active.Load(), Cancelled: s.cancelled.Load()}
}

// Close ends every connection and waits for the requests in progress to end.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	err := s.http.Close()
	if s.listener != nil {
		// Serve may never have been called, and then http does not own it.
		if cerr := s.listener.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	s.handlers.Wait()
	if err != nil {
		return fmt.Errorf("close simulator: %w", err)
	}
	return nil
}

// begin counts a request in. It reports false when the server is closed.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.handlers.Add(1)
	s.active.Add(1)
	s.requests.Add(1)
	return true
}

func (s *Server) end() {
	s.active.Add(-1)
	s.handlers.Done()
}
