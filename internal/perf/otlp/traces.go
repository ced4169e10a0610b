package otlp

import (
	"context"
	"errors"
	"time"
)

// sendSpans sends batches until ctx is done, and then what is left, until work is
// done.
func (e *Exporter) sendSpans(ctx, work context.Context) {
	tick := time.NewTicker(e.cfg.BatchDelay)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.spans.full:
		case <-ctx.Done():
			e.flushSpans(work)
			e.traces.close()
			return
		}
		e.flushSpans(work)
	}
}

// flushSpans sends what has been recorded up to now.
func (e *Exporter) flushSpans(work context.Context) {
	raw, _ := e.spans.drain()
	for len(raw) > 0 {
		batch, spans, rest := cut(raw, e.cfg.Batch)
		raw = rest
		begun := time.Now()
		err := e.upload(work, batch)
		lost := rejected(err, spans)
		e.spans.failed.Add(uint64(lost))
		e.spans.exported.Add(uint64(spans - lost))
		e.spanStats.done(begun, err)
	}
}

// upload sends spans, which are encoded already.
func (e *Exporter) upload(work context.Context, spans []byte) error {
	ctx, cancel := context.WithTimeout(work, e.cfg.BatchTimeout)
	defer cancel()
	return export(ctx, e.traces, envelope(e.resource, e.version, spans))
}

// rejected is how many spans of a batch were not taken.
func rejected(err error, spans int) int {
	if err == nil {
		return 0
	}
	p, ok := errors.AsType[*partial](err)
	if !ok {
		return spans
	}
	return int(min(max(p.rejected, 0), int64(spans)))
}
