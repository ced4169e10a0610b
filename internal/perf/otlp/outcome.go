package otlp

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/perf"
)

// told is the least time between two lines of the log about failed exports.
const told = time.Minute

// outcome is how the exports of one signal went.
type outcome struct {
	signal     string
	log        *slog.Logger
	sent, lost atomic.Uint64
	duration   perf.Histogram

	mu      sync.Mutex
	failure string    // of the last export, "" for none
	logged  time.Time // a failure was, last
	silent  int       // failures since
}

func (o *outcome) begin(signal string, log *slog.Logger) { o.signal, o.log = signal, log }

// done takes note of an export that began at a time. A collector that is down
// fails every export, so that not every failure is logged.
func (o *outcome) done(begun time.Time, err error) {
	o.duration.Observe(time.Since(begun))
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		o.sent.Add(1)
		o.failure = ""
		return
	}
	o.lost.Add(1)
	o.failure = err.Error()
	if now := time.Now(); now.Sub(o.logged) >= told {
		o.log.Warn("export telemetry", "signal", o.signal, "error", err, "failures_not_logged", o.silent)
		o.logged, o.silent = now, 0
		return
	}
	o.silent++
}

func (o *outcome) report(r perf.Reporter) {
	const help = "Exports of telemetry by result."
	r.Counter("otlp_exports_total", help, float64(o.sent.Load()), "signal", o.signal, "result", "ok")
	r.Counter("otlp_exports_total", help, float64(o.lost.Load()), "signal", o.signal, "result", "error")
	if o.sent.Load()+o.lost.Load() > 0 {
		r.Histogram("otlp_export_seconds", "Time that an export of telemetry took, with all tries.", &o.duration, "signal", o.signal)
	}
}

func (o *outcome) examine(report func(perf.Condition)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := perf.Condition{Component: "otlp/" + o.signal}
	if o.failure != "" {
		c.State, c.Error = perf.Degraded, o.failure
		c.Advice = "Check that the collector runs and that OTEL_EXPORTER_OTLP_ENDPOINT and its protocol are right. Requests are not affected."
	}
	report(c)
}
