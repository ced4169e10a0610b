// Package protobuf is an upstream that speaks protobuf: gRPC, or HTTP with messages as
// bodies. A mapping says what is asked of its service and what its replies mean
// (package protobuf/mapping), so that it answers as the OpenAI API does.
//
// It promises that a call which ends early ends the service's work: its stream is
// reset, and where the mapping names an abort call that is made. Nothing is ended as if
// it were whole that was not, and the upstream's key reaches the upstream alone.
package protobuf

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"sluice/internal/chattemplate"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/protobuf"
	"sluice/internal/protobuf/mapping"
	"sluice/internal/upstream"
)

// Handler is one upstream. It is safe for concurrent use.
type Handler struct {
	name   string
	source *source
	rpcs   *rpcs
	stream upstream.StreamConfig
	aborts *aborts

	attempts  atomic.Uint64 // that were begun
	exchanges sync.Pool     // of *exchange
}

func newHandler(cfg Config, paths Paths, r *rpcs, s upstream.Setup) (*Handler, error) {
	if err := s.Stream.Validate(); err != nil {
		return nil, fmt.Errorf("check stream: %w", err)
	}
	from, err := newSource(cfg, paths, s.Name, s.Client.TLS())
	if err != nil {
		return nil, fmt.Errorf("load upstream %s: %w", s.Name, err)
	}
	h := &Handler{name: s.Name, source: from, rpcs: r, stream: s.Stream, aborts: newAborts(r)}
	h.exchanges.New = func() any { return new(exchange) }
	return h, nil
}

// Warm asks the upstream for its schema, where it is the one to tell it, so that the
// first request finds it. What goes wrong the first request is told.
func (h *Handler) Warm(ctx context.Context) { _, _ = h.source.service(ctx) }

// Renew has the schema read again that the upstream tells. It waits for nothing.
func (h *Handler) Renew() { h.source.renew() }

// Close ends the abort calls under way, after a moment in which they may end by
// themselves. No request may be served after it.
func (h *Handler) Close() { h.aborts.close() }

// Figures implements perf.Source.
func (h *Handler) Figures(r perf.Reporter) { h.aborts.figures(r, h.name) }

// Serve implements llm.Handler.
func (h *Handler) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if !serves(req.Op) {
		return h.unknown(req)
	}
	s, err := h.source.service(ctx)
	if err != nil {
		return err
	}
	m := choose(s, req)
	if m == nil {
		return h.unmapped(req)
	}
	x := h.exchanges.Get().(*exchange)
	x.begin(h, m, req)
	defer x.end()
	if err := x.compose(s, req); err != nil {
		return err
	}
	if err = x.ask(ctx, req); err == nil {
		err = x.answer(out)
	}
	if err != nil && x.working(err) {
		h.aborts.send(s.abortPath, x.abort)
	}
	return llm.After(err, x.queued, 0, 0)
}

// choose gives the call for a request: one whole, or in pieces, is better made of what
// comes so, and can be made of the other; nil for none, as for a chat where the mapping
// makes its message of completions alone.
func choose(s *service, req *llm.Request) *method {
	first, second := s.unary, s.stream
	switch {
	case req.Op == llm.Embedding:
		return s.embed
	case req.Stream:
		first, second = second, first
	}
	if first == nil {
		first = second
	}
	if first == nil || req.Op == llm.Chat && !first.Chats() || req.Op == llm.Completion && !first.Texts() {
		return nil
	}
	return first
}

// serves reports whether an operation is one that a mapping may have.
func serves(op llm.Operation) bool {
	return op == llm.Chat || op == llm.Completion || op == llm.Embedding
}

// unfinished reports whether a call that failed may still have the service work: it was
// sent, and the service did not end it.
func unfinished(err error) bool {
	e := llm.AsError(err)
	return e.Fault != llm.Answered && e.Fault != llm.Told && !e.Unprocessed
}

// unknown is the error for what no mapping has.
func (h *Handler) unknown(req *llm.Request) error {
	if req.Op == llm.ListModels || req.Op == llm.GetModel {
		return h.unoffered(404, "no_model_list", "Upstream `%s` has no list of models. Name them in the configuration, as upstreams[].models.", h.name)
	}
	return h.unoffered(501, "not_supported", "Upstream `%s` is reached through a mapping, which has chat completions, completions and embeddings, and nothing else.", h.name)
}

// unmapped is the error for what this mapping lacks. It is one about the model, as OpenAI's
// is where a model is asked for what it does not do.
func (h *Handler) unmapped(req *llm.Request) error {
	what := map[llm.Operation]string{llm.Chat: "chats", llm.Completion: "completions", llm.Embedding: "embeddings"}[req.Op]
	e := h.unoffered(404, "not_supported", "The model `%s` does not do %s: the mapping of upstream `%s` makes no call of them.", upstream.Clip(req.Model, 128), what, h.name)
	e.Param = "model"
	return e
}

// unoffered is the error of a request that another upstream may take, and this one will
// not, however often it is sent.
func (h *Handler) unoffered(status int, code, format string, args ...any) *llm.Error {
	e := llm.Errorf(status, code, format, args...)
	e.Type = llm.TypeOf(400) // the request is another one than it takes
	e.Upstream, e.Unprocessed, e.Unoffered, e.Advice = h.name, true, true, llm.DoNotRetry
	return e
}

// unmappable is the error of a request of which the mapping makes no message. The client
// is told what it can do something about: what the mapping or the template says for it,
// and which part of its request it was. The rest is for the log.
func (h *Handler) unmappable(m *mapping.Call, err error) error {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e // there is no memory for it
	}
	said, param, limit := "", "", false
	if e, ok := errors.AsType[*mapping.Error](err); ok {
		param, limit = e.Param, e.Limit
		if e.Said {
			said = e.Msg
		}
	}
	if e, ok := errors.AsType[*protobuf.Error](err); ok {
		param, limit = m.Param(e.Path), e.Limit
	}
	if e, ok := errors.AsType[*chattemplate.Error](err); ok {
		limit = e.Limit
		if e.Raised || e.Line == 0 {
			said = e.Msg
		}
	}
	var e *llm.Error
	switch {
	case limit:
		e = llm.Errorf(413, "request_too_large", "The request is larger, or takes more work, than the mapping of upstream `%s` may take.", h.name)
	case said != "":
		e = llm.Errorf(400, "invalid_request", "The request does not fit the model's service: %s.", strings.TrimRight(upstream.Clip(said, maxErrorText), "."))
	case param != "":
		e = llm.Errorf(400, "invalid_request", "The mapping of upstream `%s` could not express this request, because of `%s`.", h.name, param)
	default:
		e = llm.Errorf(400, "invalid_request", "The mapping of upstream `%s` could not express this request.", h.name)
	}
	e.Param, e.Err = param, err
	return e
}

// unreadable is the error of a reply that the mapping, or the schema, is not for.
func (h *Handler) unreadable(err error) error {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*protobuf.Error](err); ok && e.Limit || errors.Is(err, mapping.ErrTooLarge) {
		return llm.UpstreamError(h.name, llm.TooLarge, 502, "upstream_reply_too_large", "Upstream %s sent more than is taken of a reply; see max_message_bytes.", err)
	}
	return llm.UpstreamError(h.name, llm.BadReply, 502, "upstream_bad_reply", "Upstream %s sent a message that its schema or its mapping does not fit.", err)
}

// told is the error that a reply tells of.
func (h *Handler) told(f *mapping.Failure) error {
	text := func(raw []byte) string {
		if raw == nil {
			return ""
		}
		s, err := jsonscan.String(raw)
		if err != nil {
			return ""
		}
		return h.rpcs.secrets.RedactField(s)
	}
	message, code := text(f.Message), text(f.Code)
	status := statusOf(code)
	e := &llm.Error{
		Fault: llm.Told, Status: status, Type: llm.TypeOf(status), Code: code, Message: upstream.Clip(message, maxErrorText), Upstream: h.name, Advice: llm.DoNotRetry,
	}
	if e.Code == "" {
		e.Code = llm.CodeUpstream
	}
	if e.Message == "" {
		e.Message = "Upstream `" + h.name + "` answered with an error and no explanation."
	}
	return e
}
