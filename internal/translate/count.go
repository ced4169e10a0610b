package translate

import (
	"context"
	"strconv"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

// count answers how many tokens a request for Messages has. Services that do not speak that
// dialect have no way to ask, so it is an estimate, which Lossy says.
func (h *Handler) count(ctx context.Context, req *llm.Request, out llm.Sink) error {
	op := llm.CountTokens
	if h.o.Perhaps[op] && !h.gone[op].is(time.Now()) {
		err := h.next.Serve(ctx, req, out)
		if !noRoute(err) {
			return err
		}
		h.gone[op].note(time.Now())
	}
	c, _ := h.calls.Get().(*call)
	c.h = h
	defer h.done(c)
	if err := known.Of(llm.Messages).ReadRequest(&c.said, req.Body); err != nil {
		return err
	}
	body := strconv.AppendInt([]byte(`{"input_tokens":`), c.said.EstimateTokens(), 10)
	body = append(body, '}')
	head := llm.Head{Status: 200, Kind: llm.Unary, Length: int64(len(body)), Upstream: h.o.Name, Lossy: "count_tokens",
		Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}
	if err := out.Start(&head); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: body}})
}
