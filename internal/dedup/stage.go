package dedup

import (
	"context"
	"strings"

	"sluice/internal/llm"
)

// Names tells what the names stand for that clients use for models: Router.Names of package
// route. It neither waits nor asks an upstream.
type Names func(model string) (full, resolved string)

// Stage puts the de-duplication in front of next. The modes by model (Config.Models) are looked
// for by what names gives too. Where translates says that a request may be written anew in another
// dialect, blocks is safe: references number messages and lines, and a translation joins messages
// and takes some out of their list. nil is never.
func (d *Dedup) Stage(next llm.Handler, names Names, translates func(model string, op llm.Operation) bool) llm.Handler {
	return &stage{d, next, names, translates}
}

type stage struct {
	d     *Dedup
	next  llm.Handler
	names Names

	translates func(model string, op llm.Operation) bool
}

// Serve implements llm.Handler. It has little on the stack, for a stream may go on for minutes.
func (s *stage) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if req.Dedup == llm.DedupUnknown && s.d.rules.Override && reads(req.Op) {
		return unknown()
	}
	if w := s.rewritten(req, out); w != nil {
		return w.serve(ctx, s.next)
	}
	return s.next.Serve(ctx, req, out)
}

// unknown is an error of its own function, for what makes it up would be on the stack of
// every stream.
//
//go:noinline
func unknown() error {
	return llm.Errorf(400, "invalid_dedup", "The header X-Sluice-Dedup has to be one of %s.", strings.Join(llm.DedupModes(), ", "))
}

// rewritten gives a request as it is to be sent, nil where that is as it came.
func (s *stage) rewritten(req *llm.Request, out llm.Sink) *work {
	mode := s.d.rules.of(req, s.d.keys[req.Tenant], s.names)
	switch {
	case mode <= llm.DedupOff:
		return nil
	case mode == llm.DedupBlocks && reads(req.Op) && s.translates != nil && s.translates(req.Model, req.Op):
		mode = llm.DedupSafe
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
	if h.Deduped = w.saved; learns(h) {
		h.Deduped.Ratio = &w.d.ratios
	}
	err := w.Sink.Start(h)
	if err == nil && h.Sent && h.Kind == llm.EventStream {
		w.dropBody()
	}
	return err
}
