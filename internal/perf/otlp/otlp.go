package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sluice/internal/perf"
)

// flushTime bounds how long the end of a process waits for a collector to take
// what is left.
const flushTime = 3 * time.Second

// Options are what an Exporter works with. All of them are needed.
type Options struct {
	Registry *perf.Registry // whose figures are sent
	Logger   *slog.Logger
	Version  string // of Sluice
}

// Exporter is a perf.Tracer and a perf.Observer that records spans, and sends them
// and all figures while Run runs. It is a perf.Source too, and perf.Examined.
type Exporter struct {
	cfg      Config
	version  string
	registry *perf.Registry
	resource []byte // a Resource

	spans  *queue // nil where traces are off
	traces receiver

	series  *series
	metrics receiver // nil where metrics are off

	spanStats, metricStats outcome
	flush                  time.Duration // flushTime
}

// New makes an Exporter. Nothing is sent, and no connection made, before Run. It
// fails where the environment asks for what contradicts itself, such as TLS
// certificates for an http:// endpoint.
func New(cfg Config, o Options) (*Exporter, error) {
	e := &Exporter{cfg: cfg, version: o.Version, registry: o.Registry, flush: flushTime}
	e.spanStats.begin("traces", o.Logger)
	e.metricStats.begin("metrics", o.Logger)
	for _, w := range cfg.Warnings {
		o.Logger.Warn("telemetry setting has no effect", "reason", w)
	}
	var err error
	if e.resource, err = describe(o.Version, cfg.Resource); err != nil {
		o.Logger.Warn("telemetry's resource is not complete", "error", err)
	}
	if cfg.Traces.On {
		e.spans = newQueue(cfg.Queue, cfg.Batch)
		if e.traces, err = connect("traces", o.Version, cfg.Traces, o.Logger); err != nil {
			return nil, fmt.Errorf("set up the export of traces: %w", err)
		}
	}
	if cfg.Metrics.On {
		e.series = newSeries(time.Now())
		if e.metrics, err = connect("metrics", o.Version, cfg.Metrics, o.Logger); err != nil {
			return nil, fmt.Errorf("set up the export of metrics: %w", err)
		}
	}
	return e, nil
}

// Run sends until ctx is done, and then what is left, for which it takes at most
// 3 seconds. It is called once.
func (e *Exporter) Run(ctx context.Context) {
	// Exports go on after ctx is done, for that long.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(e.flush, stop) })()
	var signals sync.WaitGroup
	if e.spans != nil {
		signals.Go(func() { e.sendSpans(ctx, work) })
	}
	if e.metrics != nil {
		signals.Go(func() { e.sendMetrics(ctx, work) })
	}
	signals.Wait()
}

// Figures implements perf.Source.
func (e *Exporter) Figures(r perf.Reporter) {
	if e.spans != nil {
		const help = "Spans by what became of them: exported, dropped because the buffer was full, or failed because the collector did not take them."
		r.Counter("otlp_spans_total", help, float64(e.spans.exported.Load()), "result", "exported")
		r.Counter("otlp_spans_total", help, float64(e.spans.dropped.Load()), "result", "dropped")
		r.Counter("otlp_spans_total", help, float64(e.spans.failed.Load()), "result", "failed")
		e.spanStats.report(r)
	}
	if e.metrics != nil {
		e.metricStats.report(r)
	}
}

// Examine implements perf.Examined.
func (e *Exporter) Examine(report func(perf.Condition)) {
	if e.spans != nil {
		e.spanStats.examine(report)
	}
	if e.metrics != nil {
		e.metricStats.examine(report)
	}
}
