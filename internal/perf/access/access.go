// Package access writes one log line for each request.
//
// It promises that a line never waits for whoever reads the log: lines gather in
// a bounded buffer, and those that do not fit are dropped and counted. It
// promises that no line holds what was said. Bodies are in it only when asked
// for, and then with their strings taken out.
package access

import (
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"sluice/internal/perf"
)

// Config says what is logged.
type Config struct {
	// Access writes a line for each request.
	Access bool `yaml:"access" env:"SLUICE_LOG_ACCESS"`
	// Bodies adds the bodies of requests and replies to it, redacted.
	Bodies bool `yaml:"bodies"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Config { return Config{Access: true} }

// Log is a perf.Observer that writes a line for each exchange, and a perf.Source.
// It is safe for concurrent use.
type Log struct {
	config atomic.Pointer[Config]
	level  slog.LevelVar
	json   bool
	out    *writer
	lines  sync.Pool // of *line
	count  atomic.Uint64
}

// Options are what a Log needs besides its configuration.
type Options struct {
	Out  io.Writer // takes the lines
	JSON bool      // lines are JSON; else key=value
}

// New makes a Log. Close ends it.
func New(cfg Config, level slog.Level, o Options) *Log {
	l := &Log{out: newWriter(o.Out), json: o.JSON}
	l.Use(cfg, level)
	l.lines.New = func() any { return &line{json: l.json} }
	return l
}

// Use replaces the configuration.
func (l *Log) Use(cfg Config, level slog.Level) {
	l.config.Store(&cfg)
	l.level.Set(level)
}

// WantsReplies reports whether Observe has a use for the bodies of replies.
func (l *Log) WantsReplies() bool {
	c := l.config.Load()
	return c.Access && c.Bodies
}

// Close writes what is left, for at most a second.
func (l *Log) Close() { l.out.close() }

// Observe implements perf.Observer. Reading figures is logged as debugging: a
// dashboard that is open does so all the time.
func (l *Log) Observe(x *perf.Exchange) {
	cfg := l.config.Load()
	level := slog.LevelInfo
	if x.Own && (x.Method == "GET" || x.Method == "HEAD") {
		level = slog.LevelDebug
	}
	if !cfg.Access || level < l.level.Level() {
		return
	}
	n := l.lines.Get().(*line)
	n.begin(x.Begun.Add(x.Total), level)
	n.fill(x)
	if cfg.Bodies {
		n.body("request_body", x.Body)
		n.body("reply_body", x.Reply)
	}
	_, _ = l.out.Write(n.end()) // the writer gives no errors
	l.count.Add(1)
	l.lines.Put(n)
}

func (n *line) fill(x *perf.Exchange) {
	n.text("request_id", x.ID)
	if x.Trace.ID != (perf.TraceID{}) {
		n.trace(x.Trace.ID)
	}
	n.name("tenant", x.Tenant)
	n.text("client", x.Client)
	n.name("method", x.Method)
	n.name("path", x.Path)
	if !x.Own {
		n.text("operation", x.Op.String())
	}
	n.name("model", x.Model)
	n.text("upstream", x.Upstream)
	n.int("status", int64(x.Status))
	n.text("error", x.Class().String())
	n.name("code", x.Code)
	n.text("aborted", x.Aborted)
	n.text("cache", x.Cache.String())
	if x.Stream {
		n.word("stream", "true")
	}
	if x.Attempts > 1 {
		n.int("attempts", int64(x.Attempts))
	}
	if x.Usage.Known {
		n.int("input_tokens", x.Usage.Input)
		n.int("output_tokens", x.Usage.Output)
	}
	n.int("bytes_in", x.BytesIn)
	n.int("bytes_out", x.BytesOut)
	n.micros("duration_us", x.Total)
	if x.Stream && x.First > 0 {
		n.micros("first_event_us", x.First)
	}
	if x.Waiting > 0 {
		n.micros("upstream_us", x.Waiting)
	}
	if x.Queued > 0 {
		n.micros("queue_us", x.Queued)
	}
	if x.HasOverhead {
		n.micros("overhead_us", x.Overhead)
	}
}

// Figures implements perf.Source.
func (l *Log) Figures(r perf.Reporter) {
	if !l.config.Load().Access {
		return
	}
	r.Counter("access_log_lines_total", "Lines of the access log.", float64(l.count.Load()))
	r.Counter("access_log_dropped_total", "Of these, those that were dropped because whoever reads the log is too slow, or that could not be written.", float64(l.out.dropped.Load()))
}
