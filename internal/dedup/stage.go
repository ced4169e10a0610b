package dedup

import (
	"context"

	"sluice/internal/llm"
)

// Stage puts the de-duplication in front of next.
func (d *Dedup) Stage(next llm.Handler) llm.Handler { return &stage{d, next} }

type stage struct {
	d    *Dedup
	next llm.Handler
}

// Serve implements llm.Handler. It has little on the stack, for a stream may go on for minutes.
func (s *stage) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if w := s.rewritten(req, out); w != nil {
		return w.serve(ctx, s.next)
	}
	return s.next.Serve(ctx, req, out)
}

// rewritten gives a request as it is to be sent, nil where that is as it came.
func (s *stage) rewritten(req *llm.Request, out llm.Sink) *work {
	mode := s.d.rules.of(req, s.d.keys[req.Tenant])
	if mode <= llm.DedupOff {
		return nil
	}
	w, _ := s.d.rewrite(req, mode, nil)
	if w != nil {
		w.Sink = out
	}
	return w
}

func (w *work) serve(ctx context.Context, next llm.Handler) error {
	defer w.release() // also where a stage behind it panics
	return next.Serve(ctx, &w.req, w)
}

// Start implements llm.Sink: the reply's head says what was not sent.
func (w *work) Start(h *llm.Head) error {
	h.Deduped = w.saved
	err := w.Sink.Start(h)
	if err == nil && h.Sent && h.Kind == llm.EventStream {
		w.dropBody()
	}
	return err
}
