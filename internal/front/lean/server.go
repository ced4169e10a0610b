//go:build linux

// Package lean is an engine for HTTP/1.0 and 1.1 on sockets of Linux that costs less
// than a library for all purposes can: one goroutine a connection, which holds no
// buffer while it waits; a reply's head and body in one write; no timer, goroutine
// or system call of a request's own for its time-outs and for the watch on its
// client.
//
// It is strict: a head that can be read in two ways is refused (package wire). What
// it does not speak, HTTP/2 and connections that are no sockets, it hands over to
// an engine beside it. TLS is package tls's, which is kept from waiting and from
// buffers of its own.
package lean

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/front/lean/wire"
	"sluice/internal/memory"
	"sluice/internal/monotonic"
	"sluice/internal/perf"
)

// Available says whether the engine is there on this system.
const Available = true

// Server is an engine.Engine.
type Server struct {
	o       engine.Options
	tls     *tls.Config // nil for cleartext
	beside  engine.Engine
	clock   monotonic.Clock
	sweeper sweeper
	dates   atomic.Pointer[dated]

	exchanges sync.Pool // of *exchange
	heads     sync.Pool // of *wire.Head
	chunkEnd  []byte

	closing atomic.Bool // nothing new begins
	closed  atomic.Bool // and what is under way has been ended
	watcher *watcher    // nil before Serve

	mu        sync.Mutex
	listener  net.Listener
	conns     map[uint64]*conn // by a number that none has twice
	lastConn  uint64
	over      *overtaken
	running   sync.WaitGroup
	unrooting func() bool
}

var _ engine.Engine = (*Server)(nil)

// New makes a Server. beside, whose options are the same ones, gets the connections that
// it does not speak on, as they were accepted.
func New(o engine.Options, beside engine.Engine) engine.Engine {
	s := &Server{o: o, beside: beside, clock: monotonic.New(), conns: make(map[uint64]*conn), chunkEnd: []byte(wire.ChunkEnd)}
	if s.o.Buffers == nil {
		s.o.Buffers = new(memory.Buffers)
	}
	if o.TLS != nil {
		s.tls = sealing(o.TLS)
	}
	s.sweeper.init()
	return s
}

// Serve implements engine.Engine. It is called once.
func (s *Server) Serve(l net.Listener) error {
	if err := s.open(l); err != nil {
		return err
	}
	defer s.running.Wait()
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			s.accept(c)
		case s.closing.Load():
			return nil
		default:
			_ = s.Close()
			return fmt.Errorf("accept connections: %w", err)
		}
	}
}

// open starts what goes on as long as connections do.
func (s *Server) open(l net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		_ = l.Close()
		return nil
	}
	w, err := newWatcher()
	if err != nil {
		return fmt.Errorf("watch connections: %w", err)
	}
	s.watcher, s.listener, s.over = w, l, newOvertaken(l.Addr())
	s.running.Go(func() { w.run(s.happened) })
	s.running.Go(func() { s.sweeper.run(s.sweep, s.clock.Now) })
	s.running.Go(func() { _ = s.beside.Serve(s.over) })
	s.unrooting = context.AfterFunc(s.o.Base, s.uproot)
	return nil
}

// accept begins with a connection.
func (s *Server) accept(outer net.Conn) {
	nc := outer
	if around, ok := outer.(interface{ NetConn() net.Conn }); ok {
		nc = around.NetConn()
	}
	var raw syscall.RawConn
	if socket, ok := nc.(syscall.Conn); ok {
		raw, _ = socket.SyscallConn()
	}
	if raw == nil {
		s.over.give(outer)
		return
	}
	c := newConn(s, outer, nc, raw)
	if !s.add(c) {
		_ = outer.Close()
		return
	}
	go c.serve()
}

// add takes a connection in, all of whose deadlines are set.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.lastConn++
	c.number = s.lastConn
	s.conns[c.number] = c
	return true
}

// remove forgets a connection that is closed or somebody else's.
func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.number)
}

// happened is told of what a socket had to tell of its peer. The number says whose it
// was: a descriptor may be another's by now.
func (s *Server) happened(number uint64, peer int32) {
	s.mu.Lock()
	c := s.conns[number]
	s.mu.Unlock()
	if c != nil {
		c.peerIs(peer)
	}
}

// all gives the connections that there are.
func (s *Server) all(visit func(c *conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		visit(c)
	}
}

// sweep interrupts what has gone on for too long, and says when the next deadline is.
func (s *Server) sweep() (next time.Duration) {
	now := s.clock.Now()
	next = never
	s.all(func(c *conn) {
		next = min(next, c.reading.pass(now), c.writing.pass(now))
		if c.seal != nil {
			next = min(next, c.seal.lookout.pass(now))
		}
	})
	return next
}

// Shed implements engine.Engine.
func (s *Server) Shed() bool {
	var oldest *conn
	due := int64(never)
	s.all(func(c *conn) {
		if at := c.reading.at.Load(); at > 0 && at < due && c.asking.Load() {
			oldest, due = c, at
		}
	})
	if oldest == nil {
		return s.beside.Shed()
	}
	return oldest.reading.fire(due) || s.Shed() // it has a request by now
}

// uproot ends all exchanges, as the base has ended.
func (s *Server) uproot() {
	s.all(func(c *conn) { c.cancel(context.Cause(s.o.Base)) })
}

// Shutdown implements engine.Engine.
func (s *Server) Shutdown(ctx context.Context) error {
	s.refuse()
	besides := make(chan error, 1)
	go func() { besides <- s.beside.Shutdown(ctx) }() // neither waits for the other to begin
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		left := 0
		s.all(func(c *conn) {
			if !c.hijacked.Load() {
				c.closeIdle()
				left++
			}
		})
		if left == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), <-besides)
		case <-tick.C:
		}
	}
	err := <-besides
	s.release()
	return err
}

// Close implements engine.Engine.
func (s *Server) Close() error {
	s.refuse()
	s.closed.Store(true) // of which whoever begins now takes note
	s.all(func(c *conn) {
		if !c.hijacked.Load() { // which ends when its exchange does
			_ = c.outer.Close()
			c.cancel(nil) // nobody is told of a socket that is closed here
		}
	})
	err := s.beside.Close()
	s.release()
	return err
}

// refuse has nothing new begin.
func (s *Server) refuse() {
	s.closing.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close()
	}
}

// release ends what open started.
func (s *Server) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watcher == nil || s.unrooting == nil {
		return
	}
	s.unrooting()
	s.unrooting = nil
	s.watcher.close()
	s.sweeper.close()
	_ = s.over.Close()
}

// lend gives a buffer for n bytes, or, where that is refused, one for so few that it
// can do no harm. Somebody has to be told that there is no memory.
func (s *Server) lend(n, least int) *memory.Buffer {
	b, err := s.o.Buffers.Get(n)
	if err != nil {
		b, _ = (*memory.Buffers)(nil).Get(least)
	}
	return b
}

// Figures implements perf.Source: of the connections themselves the engine beside has
// them.
func (s *Server) Figures(r perf.Reporter) { s.beside.Figures(r) }

// dated is a Date field's value and the second that it is for.
type dated struct {
	second int64
	text   []byte
}

// date gives the value of a Date field, which is made once a second.
func (s *Server) date(now time.Time) []byte {
	second := now.Unix()
	if d := s.dates.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &dated{second, wire.AppendDate(nil, now)}
	s.dates.Store(d)
	return d.text
}
