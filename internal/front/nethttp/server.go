// Package nethttp is the engine that net/http is. It is the only package of the
// listening side that imports it.
//
// What net/http leaves to its user stands here: a client that takes nothing is
// given up, on a connection and on a stream of HTTP/2; the head of a large reply
// leaves together with its body; one who resets streams without end loses its
// connection; and what net/http hides of a request's framing is found out.
package nethttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/memory"
	"sluice/internal/perf"
)

// Server is an engine.Engine that speaks HTTP/1.1 and HTTP/2. It is an
// http.Handler as well.
type Server struct {
	o         engine.Options
	http      *http.Server
	exchanges sync.Pool // of *exchange
	stats     stats
	waiting   waiting
}

var _ engine.Engine = (*Server)(nil)

// New makes a Server.
func New(o engine.Options) *Server {
	s := &Server{o: o}
	if s.o.Buffers == nil {
		s.o.Buffers = new(memory.Buffers)
	}
	s.http = &http.Server{
		Handler:           s,
		MaxHeaderBytes:    o.MaxHeaderBytes,
		ReadHeaderTimeout: o.ReadHeaderTimeout,
		IdleTimeout:       o.IdleTimeout,
		BaseContext:       func(net.Listener) context.Context { return o.Base },
		ConnContext:       withConn,
		ConnState:         s.changed,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 250,
			// Of a body that nobody reads yet, because it waits for memory, so much may have
			// come, and of all of a connection so much. What one stream may have is little
			// beside that: a body that waits would otherwise keep those of all other streams
			// of its connection from coming.
			MaxReceiveBufferPerStream:     64 << 10,
			MaxReceiveBufferPerConnection: 1 << 20,
			// A dead peer of an idle connection is found within 45 s.
			SendPingTimeout: 30 * time.Second,
			PingTimeout:     15 * time.Second,
		},
	}
	s.http.Protocols.SetHTTP1(true)
	if o.TLS == nil {
		s.http.Protocols.SetUnencryptedHTTP2(true)
		return s
	}
	s.http.Protocols.SetHTTP2(true)
	s.http.TLSConfig = o.TLS
	return s
}

// Serve implements engine.Engine.
func (s *Server) Serve(l net.Listener) (err error) {
	l = &listener{l, s}
	if s.o.TLS != nil {
		err = s.http.ServeTLS(l, "", "")
	} else {
		err = s.http.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("accept connections: %w", err)
}

// Shutdown implements engine.Engine.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// Close implements engine.Engine.
func (s *Server) Close() error { return s.http.Close() }

// listener wraps what it accepts.
type listener struct {
	net.Listener
	server *Server
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.server.o.Room == nil || l.server.o.Room(libraryBytes) {
			return l.server.newConn(c), nil
		}
		_ = c.Close()
	}
}

// libraryBytes is what net/http takes for a connection beyond what the socket and TLS do:
// goroutines, frames, tables of HTTP/2. TestMemoryOfConnections of e2e bounds it.
const libraryBytes = 32 << 10

// The causes for which an HTTP/2 connection is closed.
const (
	cutResets  = iota // the client reset too many streams
	cutStalled        // not even the reset of a stream that stands still leaves
	cutCauses
)

var cutNames = [cutCauses]string{"resets", "stalled"}

// stats are the figures of a Server.
type stats struct {
	cuts [cutCauses]atomic.Uint64
}

// Figures reports what the Server has counted.
func (s *Server) Figures(r perf.Reporter) {
	for cause := range s.stats.cuts {
		r.Counter("client_connections_cut_total", "HTTP/2 connections closed for what their clients did, by cause.",
			float64(s.stats.cuts[cause].Load()), "cause", cutNames[cause])
	}
}
