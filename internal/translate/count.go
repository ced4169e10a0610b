package translate

import (
	"context"
	"strconv"
	"time"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

// count answers how many tokens a request in a dialect has that has a way to ask. Services
// that do not speak it have none, or another, so it is an estimate, which Lossy says.
func (h *Handler) count(ctx context.Context, of llm.Operation, head string, req *llm.Request, out llm.Sink) error {
	// A 404 may mean the model: whether the service has the dialect its conversations tell.
	if h.o.Perhaps[req.Op.Known()] && !h.routes[of].missing(time.Now()) {
		if err := h.next.Serve(ctx, req, out); !noRoute(err) {
			return err
		}
	}
	c, _ := h.calls.Get().(*call)
	c.h = h
	defer h.done(c)
	if err := known.Of(of).ReadRequest(&c.said, req.Body); err != nil {
		return err
	}
	return h.counted(out, strconv.AppendInt([]byte(head), c.said.EstimateTokens(), 10))
}

// counted sends a count, whose last bracket is missing.
func (h *Handler) counted(out llm.Sink, body []byte) error {
	body = append(body, '}')
	var lost dialect.Losses
	lost.Add("count_tokens")
	head := llm.Head{Status: 200, Kind: llm.Unary, Length: int64(len(body)), Upstream: h.o.Name, Lossy: h.lost.count(&lost),
		Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}
	if err := out.Start(&head); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: body}})
}
