package front

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strconv"
)

// maxRendered bounds how many replies with figures are on their way at once: each
// holds all of its text.
const maxRendered = 32

// watchAside answers a request that is none of the API's. Most take no key, so
// there are no more of them on their way than there may be connections.
func (s *Server) watchAside(w http.ResponseWriter, r *http.Request) {
	s.aside.Add(1)
	defer s.aside.Add(-1)
	cfg := s.state.Load()
	var p reply
	p.open(w, r, cfg.stream.WriteTimeout)
	s.strangers.enter(&p, cfg.cfg.MaxConnections)
	defer s.strangers.leave(&p)
	boundUnread(w, r, cfg.cfg.BodyTimeout)
	if lastOn(r) {
		w.Header().Set("Connection", "close")
	}
	s.serveAside(&p, r)
	if p.many {
		p.conn.ended(r.Context().Err() == nil)
	}
	switch {
	case p.err == nil:
	case p.stalled.Load() || errors.Is(p.err, os.ErrDeadlineExceeded):
		s.stats.aborts[abortSlow].Add(1)
	default:
		s.stats.aborts[abortClient].Add(1)
	}
}

// rendered takes a reply that is made before any of it is written.
type rendered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *rendered) Header() http.Header         { return m.header }
func (m *rendered) WriteHeader(status int)      { m.status = status }
func (m *rendered) Write(b []byte) (int, error) { return m.body.Write(b) }

// serveMetrics answers with the figures. They are made one reply at a time, as
// making them takes many times the memory of their text, and a client that takes
// its reply slowly must not hold that.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	m := rendered{header: w.Header(), status: http.StatusOK}
	select {
	case s.rendering <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	func() {
		defer func() { <-s.rendering }()
		s.metrics.ServeHTTP(&m, r)
	}()
	if p, ok := w.(*reply); ok {
		s.strangers.leave(p)
		s.readers.enter(p, maxRendered)
		defer s.readers.leave(p)
	}
	m.header.Set("Content-Length", strconv.Itoa(m.body.Len()))
	w.WriteHeader(m.status)
	_, _ = w.Write(m.body.Bytes())
}
