package front

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"sluice/internal/front/engine"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// isAside reports whether a request is none of the API's.
func (s *Server) isAside(q *engine.Request) bool {
	switch q.Path {
	case "/healthz", "/readyz", "/metrics":
		return true
	default:
		return s.pages != nil && isPage(q.Path) || isPreflight(q)
	}
}

// maxRendered bounds how many replies with figures are on their way at once: each
// holds all of its text.
const maxRendered = 32

// aside answers a request that is no API request: what a browser asks first, and
// probes, which have no key; the figures, for which Prometheus has one; and the
// pages, for which a browser has no key to send with an address that was typed
// in, and which hold no data.
type aside struct {
	s     *Server
	e     engine.Exchange
	q     *engine.Request
	head  engine.Head
	place place
	err   error // of a write
	end   engine.Ending
}

// watchAside answers a request that is none of the API's. Most take no key, so
// there are no more of them on their way than there may be connections.
//
// Those of HTTP/2 may be many more than connections: so are the rest bounded by what
// they take of memory.
func (s *Server) watchAside(e engine.Exchange, q *engine.Request) engine.Ending {
	s.aside.Add(1)
	defer s.aside.Add(-1)
	st := s.state.Load()
	a := aside{s: s, e: e, q: q}
	a.place.enter(e, &s.strangers, s.mostStrangers(&st.cfg))
	defer a.place.leave()
	boundUnread(e, st.cfg.BodyTimeout)
	a.head.Close = q.Last
	a.head.Fields.Set("Server", s.server)
	a.serve(st)
	switch {
	case a.err == nil:
	case e.GivenUp() || errors.Is(a.err, os.ErrDeadlineExceeded):
		s.stats.aborts[abortSlow].Add(1)
	default:
		s.stats.aborts[abortClient].Add(1)
	}
	return a.end
}

func (a *aside) serve(st *state) {
	err, asks := st.admit(a.q), isPreflight(a.q)
	if a.q.Many() {
		a.lighten()
	}
	switch {
	case err != nil:
		a.refuse(err)
		return
	case asks:
		a.servePreflight(st)
		return
	case !reads(a.q.Method):
		a.head.Fields.Set("Allow", "GET, HEAD")
		a.plain(405, "method not allowed")
		return
	}
	switch a.q.Path {
	case "/healthz":
		a.plain(200, "ok")
	case "/readyz":
		switch err := a.s.readiness(); {
		case a.s.draining.Load():
			a.plain(503, "draining")
		case err != nil:
			a.plain(503, llm.AsError(err).Message)
		default:
			a.plain(200, "ok")
		}
	case "/metrics":
		a.serveMetrics(st)
	default:
		a.servePages()
	}
}

func (s *Server) readiness() error {
	if s.ready == nil {
		return nil
	}
	return s.ready()
}

// plain answers with a text.
func (a *aside) plain(status int, text string) {
	a.head.Fields.Set("Content-Type", "text/plain; charset=utf-8")
	a.head.Fields.Set("Cache-Control", "no-store")
	a.whole(status, []byte(text+"\n"))
}

// refuse answers with an error.
func (a *aside) refuse(err error) {
	e := llm.AsError(err)
	a.head.Fields.Set("Content-Type", "application/json")
	a.head.Fields.Set("Cache-Control", "no-store")
	if e.Status == 401 {
		a.head.Fields.Set("Www-Authenticate", "Bearer")
	}
	a.whole(e.Status, append(jsonscan.AppendError(nil, e), '\n'))
}

// fail answers with the error of a handler, which may have given a head. nil is for
// one that gave none.
func (a *aside) fail(err error) {
	if err == nil {
		err = errors.New("the handler returned without a reply")
	}
	a.head.Fields.Clear()
	a.head.Fields.Set("Server", a.s.server)
	a.refuse(err)
}

// bare answers without a body.
func (a *aside) bare(status int) {
	a.head.Status, a.head.Length = status, -1
	a.e.Begin(&a.head)
}

func (a *aside) whole(status int, body []byte) {
	a.head.Status = status
	_, a.err = a.e.Whole(&a.head, body)
}

// maxAside bounds the target, and each of the fields, of a request that is no API
// request, in bytes.
const maxAside = 1 << 10

// lighten lets go of what such a request is not answered by: one connection may have
// hundreds of them, each with a head of max_header_bytes, and take the replies as
// slowly as it can.
func (a *aside) lighten() {
	q := a.q
	a.e.Forget(func(name string, values []string) bool {
		most := 0
		switch name {
		case "Authorization", "Accept", "Accept-Encoding", "If-None-Match", "Origin", "Access-Control-Request-Method", "Access-Control-Request-Private-Network":
			most = maxAside
		case "Access-Control-Request-Headers":
			most = maxAskedHeaders
		}
		for _, v := range values {
			most -= len(v) + 1
		}
		return most >= 0
	})
	q.Host = ""
	if max(len(q.Path), len(q.RawPath))+len(q.RawQuery) > maxAside {
		q.Path, q.RawPath, q.RawQuery = strings.Clone(q.Path[:min(len(q.Path), maxAside)]), "", ""
	}
}

// request is what a handler sees of it.
func (a *aside) request() *llm.Request {
	q := &llm.Request{Method: a.q.Method, Path: a.q.EscapedPath(), RawQuery: a.q.RawQuery}
	for _, name := range [...]string{"Accept", "Accept-Encoding", "If-None-Match"} {
		for _, v := range a.q.Header.Values(name) {
			q.Header = append(q.Header, llm.Field{Name: name, Value: v})
		}
	}
	return q
}

// servePages answers with what Options.Pages has.
func (a *aside) servePages() {
	p := asideSink{aside: a}
	err := a.s.pages.Serve(a.e.Context(), a.request(), &p)
	switch {
	case p.begun && err != nil && a.err == nil: // else the client takes no more
		a.end = engine.Cut
	case p.begun:
	case err != nil || !p.started:
		a.fail(err)
	default: // to HEAD, or there is no body
		if a.head.Length == 0 {
			a.head.Length = -1
		}
		a.e.Begin(&a.head)
	}
}

// serveMetrics answers with the figures. They are made one reply at a time, as
// making them takes many times the memory of their text, and a client that takes
// its reply slowly must not hold that.
func (a *aside) serveMetrics(st *state) {
	s := a.s
	if s.metrics == nil {
		a.plain(404, "no metrics")
		return
	}
	if err := st.mayReadFigures(a.q.Header); err != nil {
		a.refuse(err)
		return
	}
	s.endings.wait()
	m := rendered{asideSink: asideSink{aside: a}}
	select {
	case s.rendering <- struct{}{}:
	case <-a.e.Context().Done():
		a.end = engine.Cut
		return
	}
	err := func() error {
		defer func() { <-s.rendering }()
		return s.metrics.Serve(a.e.Context(), a.request(), &m)
	}()
	if err != nil || !m.started {
		a.fail(err)
		return
	}
	a.place.move(&s.readers, maxRendered)
	a.whole(a.head.Status, m.body.Bytes())
}

// asideSink is the Sink of a reply that is written as it is made.
type asideSink struct {
	*aside
	unary, started, begun bool
}

// Start implements llm.Sink.
func (p *asideSink) Start(h *llm.Head) error {
	if p.started {
		return errMisuse
	}
	p.started, p.unary = true, h.Kind == llm.Unary
	for _, f := range h.Header {
		p.head.Fields.Add(f.Name, f.Value)
	}
	p.head.Status, p.head.Length = h.Status, h.Length
	return nil
}

// Send implements llm.Sink.
func (p *asideSink) Send(events []llm.Event) error {
	if !p.started || p.unary && p.begun {
		return errMisuse
	}
	for i := range events {
		if p.unary {
			p.whole(p.head.Status, events[i].Raw)
		} else {
			p.piece(events[i].Raw)
		}
		p.begun = true
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

func (p *asideSink) piece(b []byte) {
	if !p.begun {
		p.e.Begin(&p.head)
	}
	_, p.err = p.e.Write(b)
}

// rendered is the Sink of a reply that is made before any of it is written.
type rendered struct {
	asideSink
	body bytes.Buffer
}

// Send implements llm.Sink.
func (m *rendered) Send(events []llm.Event) error {
	if !m.started {
		return errMisuse
	}
	for i := range events {
		m.body.Write(events[i].Raw)
	}
	return nil
}
