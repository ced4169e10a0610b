package translate

import (
	"context"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// embed answers a request for embeddings of an API that the service does not have by the one
// that it has.
func (h *Handler) embed(ctx context.Context, op llm.Operation, from dialect.Embedder, req *llm.Request, out llm.Sink) error {
	to := h.embedder
	if to == nil { // it is refused by the service's handler, which knows what it has not
		if op == llm.Embedding {
			return h.next.Serve(ctx, req, out)
		}
		to = known.EmbedderOf(llm.Embedding)
	}
	c := &vectors{h: h}
	defer c.end()
	v := &c.said
	if v.Model = req.UpstreamModel; v.Model == "" {
		v.Model = req.Model
	}
	if err := from.ReadInputs(v, req.Body); err != nil {
		return err
	}
	if err := h.strict(&v.Lost); err != nil {
		return err
	}
	if err := c.reserve(2 * len(req.Body)); err != nil {
		return err
	}
	asked := to.WriteInputs(make([]byte, 0, len(req.Body)+len(req.Body)/8+headRoom), v)
	to = known.EmbedderOf(asked.Op) // of an API's operations the one that takes several inputs
	r := *req
	r.Op, r.Method, r.Path, r.RawQuery = asked.Op, "POST", asked.Path, asked.RawQuery
	r.Model, r.UpstreamModel, r.ModelSpan = v.Model, v.Model, asked.Model
	r.Body, r.BodyLen = asked.Body, int64(len(asked.Body))
	r.Header = nil
	for _, f := range req.Header {
		if !ofDialect(f.Name) {
			r.Header = append(r.Header, f)
		}
	}
	if err := h.next.Serve(ctx, &r, c); err != nil {
		return refused(from, err)
	}
	return c.reply(from, to, req.Model, out)
}

// vectors is one request for embeddings, and the sink of its reply.
type vectors struct {
	h        *Handler
	said     dialect.Vectors
	head     llm.Head
	body     []byte
	reserved int64
}

func (c *vectors) end() { c.h.o.Account.Give(c.reserved) }

func (c *vectors) reserve(n int) error {
	err := c.h.o.Account.Continue(int64(n))
	if err == nil {
		c.reserved += int64(n)
	}
	return err
}

// Start implements llm.Sink.
func (c *vectors) Start(h *llm.Head) error {
	c.head = *h
	c.head.Header = nil
	for _, f := range h.Header {
		if f.Name != "Content-Type" {
			c.head.Header = append(c.head.Header, f)
		}
	}
	return nil
}

// Send implements llm.Sink.
func (c *vectors) Send(events []llm.Event) error {
	for i := range events {
		n := len(events[i].Raw)
		if n+len(c.body) > c.h.o.MaxReply {
			return tooLarge(c.h.o.Name, nil)
		}
		if err := c.reserve(3 * n); err != nil {
			return err
		}
		c.body = append(c.body, events[i].Raw...)
	}
	return nil
}

// reply tells the client what the service has said.
func (c *vectors) reply(from, to dialect.Embedder, model string, out llm.Sink) error {
	v := &c.said
	bad := func(cause error) error {
		return llm.UpstreamError(c.h.o.Name, llm.BadReply, 502, "upstream_bad_reply", "Upstream %s answered with something that is no list of embeddings.", cause)
	}
	if err := jsonscan.Validate(c.body, maxDepth); err != nil {
		return bad(err)
	}
	if !to.ReadLists(v, c.body) {
		return bad(nil)
	}
	if !v.Counted {
		v.Tokens = v.EstimateTokens()
	}
	v.Model = model
	body, err := from.WriteLists(nil, v)
	if err != nil {
		return bad(err)
	}
	c.head.Kind, c.head.Length, c.head.Outline = llm.Unary, int64(len(body)), llm.Outline{}
	c.head.Header = append(c.head.Header, llm.Field{Name: "Content-Type", Value: "application/json"})
	c.head.Lossy = c.h.lost.count(&v.Lost)
	if err := out.Start(&c.head); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: body}})
}
