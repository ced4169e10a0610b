package front

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strconv"

	"sluice/internal/llm"
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

// asideRequest is what a handler of such a request sees of it.
func asideRequest(r *http.Request) *llm.Request {
	q := &llm.Request{Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery}
	for _, name := range [...]string{"Accept", "Accept-Encoding", "If-None-Match"} {
		for _, v := range r.Header[name] {
			q.Header = append(q.Header, llm.Field{Name: name, Value: v})
		}
	}
	return q
}

// asideSink is the Sink of a reply that is written as it is made.
type asideSink struct {
	w      http.ResponseWriter
	status int
	begun  bool
}

// Start implements llm.Sink.
func (a *asideSink) Start(h *llm.Head) error {
	header := a.w.Header()
	for _, f := range h.Header {
		header[f.Name] = append(header[f.Name], f.Value)
	}
	if h.Length > 0 {
		header["Content-Length"] = []string{strconv.FormatInt(h.Length, 10)}
	}
	a.status = h.Status
	return nil
}

// Send implements llm.Sink.
func (a *asideSink) Send(events []llm.Event) error {
	a.begin()
	for i := range events {
		if _, err := a.w.Write(events[i].Raw); err != nil {
			return err
		}
	}
	return nil
}

// begin gives the head.
func (a *asideSink) begin() {
	if !a.begun {
		a.begun = true
		a.w.WriteHeader(a.status)
	}
}

// servePages answers with what Options.Pages has.
func (s *Server) servePages(w http.ResponseWriter, r *http.Request) {
	out := asideSink{w: w}
	err := s.pages.Serve(r.Context(), asideRequest(r), &out)
	switch {
	case out.status != 0:
		out.begin() // a reply without a body
	case err != nil:
		refuse(w, err)
	}
}

// rendered is the Sink of a reply that is made before any of it is written.
type rendered struct {
	asideSink
	body bytes.Buffer
}

// Send implements llm.Sink.
func (m *rendered) Send(events []llm.Event) error {
	for i := range events {
		m.body.Write(events[i].Raw)
	}
	return nil
}

// serveMetrics answers with the figures. They are made one reply at a time, as
// making them takes many times the memory of their text, and a client that takes
// its reply slowly must not hold that.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	m := rendered{asideSink: asideSink{w: w}}
	select {
	case s.rendering <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	err := func() error {
		defer func() { <-s.rendering }()
		return s.metrics.Serve(r.Context(), asideRequest(r), &m)
	}()
	if err != nil {
		clear(w.Header())
		w.Header()["Server"] = s.server
		refuse(w, err)
		return
	}
	if p, ok := w.(*reply); ok {
		s.strangers.leave(p)
		s.readers.enter(p, maxRendered)
		defer s.readers.leave(p)
	}
	w.Header().Set("Content-Length", strconv.Itoa(m.body.Len()))
	m.begin()
	_, _ = w.Write(m.body.Bytes())
}
