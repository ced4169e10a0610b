// Package translate stands in front of an upstream's handler and has it answer requests
// in dialects that its service does not speak: a request is written anew in the service's,
// and the reply in the client's, event by event.
//
// It promises that requests in a dialect that the service speaks pass as they came, and
// that nothing is lost in silence: the reply's head (llm.Head.Lossy) names what a request says
// and the service's dialect has no place for, or the request is refused, as Options.Strict has
// it.
package translate

import (
	"context"
	"strings"
	"sync"
	"time"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

// Options are how requests are translated.
type Options struct {
	// Native are the operations that the service knows itself. Perhaps are those of which
	// that is not known: they are handed on until the service answers that it has no such
	// route (see missing).
	Native, Perhaps [llm.Operations]bool

	// To is the operation that conversations become.
	To llm.Operation

	dialect.Options

	// Strict refuses a request of which something would be lost, with status 400.
	Strict bool

	// MaxReply bounds a whole reply that is translated, in bytes.
	MaxReply int

	// Buffers lend what requests are written in, Account is where replies are reserved; nil
	// for no bound.
	Buffers *memory.Buffers
	Account *memory.Account

	// Name is the upstream's, for errors.
	Name string
}

// Handler is llm.Handler for the requests of one upstream. It is safe for concurrent use.
type Handler struct {
	o        Options
	next     llm.Handler
	to       dialect.Dialect
	embedder dialect.Embedder // of the service's own API; nil for none
	calls    sync.Pool        // *call
	routes   [llm.Operations]route
	lost     losses
}

// New puts translation in front of next. Where every operation that has a dialect is native
// there is nothing to translate, and next is the handler.
func New(next llm.Handler, o Options) llm.Handler {
	all := true
	for op := range llm.Operations {
		all = all && (o.Native[op] || known.Of(op) == nil)
	}
	if all {
		return next
	}
	h := &Handler{o: o, next: next, to: known.Of(o.To)}
	h.calls.New = func() any { return new(call) }
	for op := range llm.Operations {
		if e := known.EmbedderOf(op); e != nil && o.Native[op] && h.embedder == nil {
			h.embedder = e
		}
	}
	return h
}

// Serve implements llm.Handler. It has next to nothing on the stack, where it stands for as
// long as a stream does.
func (h *Handler) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if h.o.Native[req.Op.Known()] {
		return h.next.Serve(ctx, req, out)
	}
	return h.other(ctx, req, out)
}

// Translates reports whether a request of an operation may be written anew now: one that the
// service may know may be until it has answered one.
func (h *Handler) Translates(op llm.Operation) bool {
	op = op.Known()
	return !h.o.Native[op] && known.Of(op) != nil && !(h.o.Perhaps[op] && h.routes[op].answers())
}

// other answers a request of an operation that the service may not know.
//
//go:noinline
func (h *Handler) other(ctx context.Context, req *llm.Request, out llm.Sink) error {
	op := req.Op.Known()
	if of, head := known.CountsOf(op); of != llm.Passthrough && req.BodyReader == nil {
		return h.count(ctx, of, head, req, out)
	}
	if e := known.EmbedderOf(op); e != nil && req.BodyReader == nil {
		return h.embed(ctx, op, e, req, out)
	}
	from := known.Of(op)
	if from == nil || req.BodyReader != nil {
		return h.next.Serve(ctx, req, out)
	}
	if !h.o.Perhaps[op] || h.routes[op].missing(time.Now()) {
		return h.translate(ctx, from, req, out)
	}
	err := h.next.Serve(ctx, req, out)
	if !noRoute(err) {
		if err == nil || llm.AsError(err).Fault == llm.Answered {
			h.routes[op].answer()
		}
		return err
	}
	// Whether it is the route that is missing or something else the next attempt tells, if it
	// is answered.
	asked, again := h.try(ctx, from, req, out)
	switch {
	case asked && noRoute(again):
		return err
	case asked && (again == nil || llm.AsError(again).Fault == llm.Answered):
		h.routes[op].miss(time.Now())
	}
	return again
}

// translate has one request answered in the service's dialect.
func (h *Handler) translate(ctx context.Context, from dialect.Dialect, req *llm.Request, out llm.Sink) error {
	_, err := h.try(ctx, from, req, out)
	return err
}

// try is translate; asked is false where there was nothing to ask the service.
func (h *Handler) try(ctx context.Context, from dialect.Dialect, req *llm.Request, out llm.Sink) (asked bool, err error) {
	c, _ := h.calls.Get().(*call)
	defer h.done(c)
	if err := c.ask(h, from, req); err != nil {
		return false, refused(from, err)
	}
	if err := c.begin(h, from, req, out); err != nil {
		return false, err
	}
	err = h.next.Serve(ctx, &c.req, c)
	if err == nil {
		err = c.finish()
	}
	if err != nil && !c.started {
		return true, refused(from, err)
	}
	return true, err
}

// call is one request and its reply, kept for use again.
type call struct {
	h      *Handler
	from   dialect.Dialect
	said   dialect.Conversation
	req    llm.Request // what is sent
	fields []llm.Field // its header
	buffer *memory.Buffer
	reply
}

func (h *Handler) done(c *call) {
	c.sent()
	c.end()
	clear(c.fields)
	c.h, c.from, c.req, c.fields = nil, nil, llm.Request{}, c.fields[:0]
	h.calls.Put(c)
}

// sent lets go of what only asking took.
func (c *call) sent() {
	c.said.Reset()
	c.h.o.Buffers.Put(c.buffer)
	c.buffer, c.req.Body = nil, nil
}

// headRoom is what a request may become longer by without a buffer of another size, in bytes.
const headRoom = 4 << 10

// ask writes the request in the service's dialect.
func (c *call) ask(h *Handler, from dialect.Dialect, req *llm.Request) error {
	c.h, c.from = h, from
	c.said.Model, c.said.Stream = req.UpstreamModel, req.Stream
	if c.said.Model == "" {
		c.said.Model = req.Model
	}
	c.said.Kept = req.Thread != nil && req.Thread.ID != ""
	if err := from.ReadRequest(&c.said, req.Body); err != nil {
		return err
	}
	var dst []byte
	if h.o.Buffers != nil {
		var err error
		if c.buffer, err = h.o.Buffers.Get(len(req.Body) + len(req.Body)/8 + headRoom); err != nil {
			return err
		}
		dst = c.buffer.B[:0]
	}
	asked, err := h.to.WriteRequest(dst, &c.said, h.o.Options)
	if err != nil {
		return err
	}
	if err := h.strict(&c.said.Lost); err != nil {
		return err
	}
	r := &c.req
	*r = *req
	r.Op, r.Method, r.Path, r.RawQuery = asked.Op, "POST", asked.Path, asked.RawQuery
	r.Closed = false // what is made of the stream says whether it is whole
	r.Model, r.UpstreamModel, r.ModelSpan = c.said.Model, c.said.Model, asked.Model
	r.Body, r.BodyLen = asked.Body, int64(len(asked.Body))
	c.fields = append(c.fields[:0], asked.Header...)
	for _, f := range req.Header {
		if !ofDialect(f.Name) {
			c.fields = append(c.fields, f)
		}
	}
	r.Header = c.fields
	return nil
}

// strict refuses a request of which something would be lost, where that is wanted.
func (h *Handler) strict(lost *dialect.Losses) error {
	if !h.o.Strict || len(lost.Names()) == 0 {
		return nil
	}
	e := llm.Errorf(400, "not_translatable", "The model's service has no place for what the request says of: %s. Leave it out, or ask a model whose service speaks this API.", lost)
	e.Param = lost.Names()[0]
	return e
}

// thread is what the gateway keeps of the conversation.
func (c *call) thread() llm.Thread {
	if c.req.Thread == nil {
		return llm.Thread{}
	}
	return *c.req.Thread
}

// ofDialect reports whether a header field means something in one dialect only.
func ofDialect(name string) bool {
	return name == "Openai-Beta" || strings.HasPrefix(name, "Anthropic-") || strings.HasPrefix(name, "X-Goog-") || strings.HasPrefix(name, "X-Stainless-")
}

// refused has an error be told in the client's dialect where the service has told it in its
// own.
func refused(from interface {
	AppendError(dst []byte, e *llm.Error) []byte
}, err error) error {
	e := llm.AsError(err)
	if e.Reply == nil {
		return err
	}
	told := *e
	told.Reply = &llm.ErrorReply{Header: e.Reply.Header, Body: from.AppendError(nil, e)}
	return &told
}
