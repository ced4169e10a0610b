package otlp

import (
	"context"
	"strconv"
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
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
			if err := e.traces.Stop(work); err != nil {
				e.spanStats.log.Debug("stop the export of traces", "error", err)
			}
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

// upload sends spans that are encoded already. To a ScopeSpans they are fields that
// it does not know: a message keeps such bytes and writes them after its other
// fields as they came. So what goes out is a message with these spans, and no span
// is ever built as an object.
func (e *Exporter) upload(work context.Context, spans []byte) error {
	ctx, cancel := context.WithTimeout(work, e.cfg.BatchTimeout)
	defer cancel()
	scoped := &tracepb.ScopeSpans{
		Scope:     &commonpb.InstrumentationScope{Name: scope, Version: e.version},
		SchemaUrl: SchemaURL,
	}
	scoped.ProtoReflect().SetUnknown(spans)
	return e.traces.UploadTraces(ctx, []*tracepb.ResourceSpans{{
		Resource:   resourceProto(e.resource),
		SchemaUrl:  e.resource.SchemaURL(),
		ScopeSpans: []*tracepb.ScopeSpans{scoped},
	}})
}

// rejected is how many spans of a batch were not taken. Of a collector that took
// some of them, the exporters tell the number only in the error's text: "OTLP
// partial success: … (3 spans rejected)".
func rejected(err error, spans int) int {
	if err == nil {
		return 0
	}
	_, partial, ok := strings.Cut(err.Error(), "OTLP partial success: ")
	if !ok {
		return spans
	}
	partial = partial[strings.LastIndexByte(partial, '(')+1:]
	number, _, _ := strings.Cut(partial, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return spans
	}
	return min(max(n, 0), spans)
}
