// Package openai is an upstream that speaks the OpenAI API over HTTP.
//
// It promises that requests and replies keep their bytes: a request's body goes
// out as it came, except for the model's name where routing changed that; a
// stream's events leave as they came in, the first as soon as it is there. A
// reply that was cut short is never ended as if it were whole. The upstream's
// key reaches the upstream and nothing else.
package openai

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
)

// Handler is one upstream. It is safe for concurrent use.
type Handler struct {
	name    string
	client  *upstream.Client
	stream  upstream.StreamConfig
	base    string // escaped path before what follows "/v1" in a request's
	query   string // of the base URL
	header  []llm.Field
	secrets *credentials.Secrets

	askings  sync.Pool // *asking
	attempts sync.Pool // *attempt
	asides   sync.Pool // *aside
	streams  sync.Pool // *stream
	wholes   sync.Pool // *whole
}

// asking is what a request is turned into, kept for use again.
type asking struct {
	upstream.Call
	fields []llm.Field
}

// attempt is the reply to a request on its way, kept for use again.
type attempt struct {
	reply  upstream.Reply
	got    *upstream.Reply // which is reply where the protocol allows
	stream *stream         // that got begins, nil for none
	begun  time.Time       // when the request had its turn at the transport
}

// New makes the handler of the upstream called name. Requests go through c,
// whose base URL has the host of cfg's.
func New(cfg Config, name string, c *upstream.Client, s upstream.StreamConfig) (*Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check upstream %s: %w", name, err)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("check stream: %w", err)
	}
	base, err := cfg.Base()
	if err != nil {
		return nil, fmt.Errorf("check upstream %s: %w", name, err)
	}
	h := &Handler{
		name: name, client: c, stream: s,
		base: strings.TrimRight(base.EscapedPath(), "/"), query: base.RawQuery,
		header: credentials.Fields(cfg.APIKey, cfg.Headers), secrets: credentials.Of(cfg.APIKey, cfg.Headers, base),
	}
	h.askings.New = func() any { return new(asking) }
	h.attempts.New = func() any { return new(attempt) }
	h.asides.New = func() any { return h.newAside() }
	h.streams.New = func() any { return new(stream) }
	h.wholes.New = func() any { return new(whole) }
	return h, nil
}

// Serve implements llm.Handler. What it has on the stack is there as long as a stream
// is, so that all else stands in functions that return before one waits.
func (h *Handler) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	a := h.attempts.Get().(*attempt)
	if err := h.ask(ctx, req, a); err != nil {
		h.attempts.Put(a)
		return err
	}
	defer h.done(a)
	if h.events(req, a) {
		err := a.stream.relay(a.got, out, h.name)
		return llm.After(a.stream.outcome(err), a.got.Queued, 0, 0)
	}
	return llm.After(h.other(req, a.got, out, a.begun), a.got.Queued, 0, 0)
}

// events begins the stream of a reply that is one and says so.
func (h *Handler) events(req *llm.Request, a *attempt) bool {
	r := a.got
	if r.Status >= 300 && (r.Status >= 400 || req.Op != llm.Passthrough) || r.Switched() || !mediaType(r.Get("Content-Type"), "text/event-stream") {
		return false
	}
	r.Header = h.clientFields(r.Header, r.Status)
	a.stream = h.begin(req, r, a.begun)
	return true
}

// other hands on a reply that is no event stream, or not called one.
func (h *Handler) other(req *llm.Request, r *upstream.Reply, out llm.Sink, begun time.Time) error {
	if r.Status >= 400 {
		return h.failure(r)
	}
	if r.Status >= 300 && req.Op != llm.Passthrough {
		return h.redirected(r)
	}
	contentType := r.Get("Content-Type")
	r.Header = h.clientFields(r.Header, r.Status)
	switch {
	case r.Switched():
		return h.tunnel(r, req.BodyReader, out, begun)
	case req.Stream && r.Status < 300:
		return h.mislabelled(req, r, out, begun)
	case req.Method != "HEAD" && isJSON(contentType, req.Op):
		return h.unary(req.Op, r, nil, out, begun)
	default:
		return h.pieces(r, nil, out, begun, isPage(req.Op, r))
	}
}

// done ends a reply and the use of its attempt.
func (h *Handler) done(a *attempt) {
	if a.stream != nil {
		h.forget(a.stream)
		a.stream = nil
	}
	r := a.got
	// Its end gives the connection back, or closes it where the reply was not
	// read to its end.
	r.Close()
	if !r.Switched() { // else what the client sends may still be on its way
		clear(a.reply.Header)
		a.reply, a.got = upstream.Reply{Header: a.reply.Header[:0]}, nil
		h.attempts.Put(a)
	}
}

// ask sends the request and waits for the reply's head. For a stream it does so on a
// goroutine of its own: what that takes on the stack, which is more than the waiting
// for events does, would stay as long as the stream.
func (h *Handler) ask(ctx context.Context, req *llm.Request, a *attempt) error {
	if !req.Stream {
		return h.do(ctx, req, a)
	}
	s := h.asides.Get().(*aside)
	s.ctx, s.req, s.attempt = ctx, req, a
	go s.run()
	<-s.done
	err, p := s.err, s.panicked
	s.ctx, s.req, s.attempt, s.err, s.panicked = nil, nil, nil, nil, nil
	h.asides.Put(s)
	if p != nil {
		panic(p)
	}
	return err
}

// aside is a request that is sent on a goroutine of its own, kept for use again.
type aside struct {
	run  func()
	done chan struct{} // has room for one

	ctx     context.Context //nolint:containedctx // the call's
	req     *llm.Request
	attempt *attempt

	err      error
	panicked any
}

func (h *Handler) newAside() *aside {
	a := &aside{done: make(chan struct{}, 1)}
	a.run = func() {
		defer func() {
			if p := recover(); p != nil {
				a.panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
			a.done <- struct{}{}
		}()
		a.err = h.do(a.ctx, a.req, a.attempt)
	}
	return a
}

// do sends the request and waits for the reply's head.
func (h *Handler) do(ctx context.Context, req *llm.Request, a *attempt) (err error) {
	c := h.askings.Get().(*asking)
	defer func() {
		c.Call = upstream.Call{}
		clear(c.fields)
		h.askings.Put(c)
	}()
	c.fields = h.appendHeader(c.fields[:0], req)
	c.Call = upstream.Call{
		Method: req.Method, Target: h.target(req), Header: c.fields,
		BodyReader: req.BodyReader, BodyLen: req.BodyLen, Stream: req.Stream, Urgency: req.Urgency, Into: &a.reply,
	}
	if c.Upgrade = req.Upgrade; c.Upgrade != "" {
		c.BodyReader, c.BodyLen = nil, 0 // what is read comes after the request
	} else if req.BodyReader == nil {
		c.Body = body(req)
	}
	a.begun = time.Now()
	if a.got, err = h.client.Do(ctx, &c.Call); err != nil {
		return err
	}
	a.begun = a.begun.Add(a.got.Queued)
	return nil
}

// target is the path and query to ask the upstream for.
func (h *Handler) target(req *llm.Request) string {
	path := strings.TrimPrefix(req.Path, "/v1")
	switch {
	case h.query == "" && req.RawQuery == "" && h.base == req.Path[:len(req.Path)-len(path)]:
		return req.Path
	case h.query == "" && req.RawQuery == "":
		return h.base + path
	case h.query == "":
		return h.base + path + "?" + req.RawQuery
	case req.RawQuery == "":
		return h.base + path + "?" + h.query
	default:
		return h.base + path + "?" + h.query + "&" + req.RawQuery
	}
}

// appendHeader appends the request's fields. Credentials of a client are not
// among them, and would not pass here: only the upstream's own are sent.
func (h *Handler) appendHeader(dst []llm.Field, req *llm.Request) []llm.Field {
	typed := false
	for _, f := range req.Header {
		if f.Name == "Authorization" || h.configured(f.Name) {
			continue
		}
		typed = typed || f.Name == "Content-Type"
		dst = append(dst, f)
	}
	dst = append(dst, h.header...)
	if !typed && len(req.Body) > 0 && req.Op != llm.Passthrough {
		dst = append(dst, llm.Field{Name: "Content-Type", Value: "application/json"})
	}
	return dst
}

func (h *Handler) configured(name string) bool {
	for i := range h.header {
		if h.header[i].Name == name {
			return true
		}
	}
	return false
}

// body gives the request's body with the model's name as the upstream knows it,
// in parts, so that nothing is copied. The name is made anew for each request,
// because over HTTP/2 a body may still be on its way after an early reply.
func body(req *llm.Request) [3][]byte {
	before, after, ok := req.CutModel()
	if !ok || req.UpstreamModel == "" || req.UpstreamModel == req.Model {
		return [3][]byte{req.Body}
	}
	name := jsonscan.AppendString(make([]byte, 0, len(req.UpstreamModel)+2), req.UpstreamModel)
	return [3][]byte{before, name, after}
}
