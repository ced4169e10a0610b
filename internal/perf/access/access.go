// Package access writes one log line for each request.
//
// It promises that a line never waits for whoever reads the log: lines gather in
// a bounded buffer, and those that do not fit are dropped and counted. It
// promises that no line holds what was said. Bodies are in it only when asked
// for, and then with their strings taken out.
package access

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

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
	config  atomic.Pointer[Config]
	level   slog.LevelVar
	handler slog.Handler
	out     *writer
	lines   sync.Pool // of *line
	count   atomic.Uint64
}

// Options are what a Log needs besides its configuration.
type Options struct {
	Out  io.Writer // takes the lines
	JSON bool      // lines are JSON; else key=value
}

// New makes a Log. Close ends it.
func New(cfg Config, level slog.Level, o Options) *Log {
	l := &Log{out: newWriter(o.Out)}
	l.Use(cfg, level)
	ho := &slog.HandlerOptions{Level: &l.level}
	if o.JSON {
		l.handler = slog.NewJSONHandler(l.out, ho)
	} else {
		l.handler = slog.NewTextHandler(l.out, ho)
	}
	l.lines.New = func() any { return new(line) }
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

// line is what one line is made of, kept for use again.
type line struct {
	attrs [32]slog.Attr
	n     int
	trace [2 * len(perf.TraceID{})]byte
}

const (
	// maxPath and maxName bound what a client chose, in bytes.
	maxPath, maxName = 256, 128
)

// Observe implements perf.Observer. Reading figures is logged as debugging: a
// dashboard that is open does so all the time.
func (l *Log) Observe(x *perf.Exchange) {
	cfg := l.config.Load()
	level := slog.LevelInfo
	if x.Own && x.Method == "GET" {
		level = slog.LevelDebug
	}
	ctx := context.Background()
	if !cfg.Access || !l.handler.Enabled(ctx, level) {
		return
	}
	n := l.lines.Get().(*line)
	n.fill(x)
	if cfg.Bodies {
		n.body("request_body", x.Body)
		n.body("reply_body", x.Reply)
	}
	r := slog.NewRecord(x.Begun.Add(x.Total), level, "request", 0)
	// A group without a name is part of the line, and its attributes need not be
	// copied as the record's own do.
	r.AddAttrs(slog.Attr{Value: slog.GroupValue(n.attrs[:n.n]...)})
	_ = l.handler.Handle(ctx, r) // the writer gives no errors
	l.count.Add(1)
	clear(n.attrs[:n.n])
	n.n = 0
	l.lines.Put(n)
}

func (n *line) add(a slog.Attr) {
	n.attrs[n.n] = a
	n.n++
}

func (n *line) text(key, value string) {
	if value != "" {
		n.add(slog.String(key, value))
	}
}

func (n *line) body(key string, b []byte) {
	if len(b) > 0 {
		n.add(slog.String(key, string(Redact(nil, b))))
	}
}

// micros adds a time in microseconds: whole ones, which no handler needs memory for.
func (n *line) micros(key string, d time.Duration) {
	n.add(slog.Int64(key, d.Microseconds()))
}

func (n *line) fill(x *perf.Exchange) {
	n.text("request_id", x.ID)
	if x.Trace.ID != (perf.TraceID{}) {
		hex.Encode(n.trace[:], x.Trace.ID[:])
		// Handlers copy text while they write a line, and n lives longer.
		n.text("trace_id", unsafe.String(&n.trace[0], len(n.trace)))
	}
	n.text("tenant", x.Tenant)
	n.text("client", x.Client)
	n.text("method", x.Method)
	n.text("path", cut(x.Path, maxPath))
	if !x.Own {
		n.text("operation", x.Op.String())
	}
	n.text("model", cut(x.Model, maxName))
	n.text("upstream", x.Upstream)
	n.add(slog.Int("status", x.Status))
	n.text("code", x.Code)
	n.text("aborted", x.Aborted)
	n.text("cache", x.Cache.String())
	if x.Stream {
		n.add(slog.Bool("stream", true))
	}
	if x.Attempts > 1 {
		n.add(slog.Int("attempts", x.Attempts))
	}
	if x.Usage.Known {
		n.add(slog.Int64("input_tokens", x.Usage.Input))
		n.add(slog.Int64("output_tokens", x.Usage.Output))
	}
	n.add(slog.Int64("bytes_in", x.BytesIn))
	n.add(slog.Int64("bytes_out", x.BytesOut))
	n.micros("duration_us", x.Total)
	if x.Stream && x.First > 0 {
		n.micros("first_event_us", x.First)
	}
	if x.Waiting > 0 {
		n.micros("upstream_us", x.Waiting)
	}
	if x.HasOverhead {
		n.micros("overhead_us", x.Overhead)
	}
}

// cut shortens what is too long for a line.
func cut(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}

// Figures implements perf.Source.
func (l *Log) Figures(r perf.Reporter) {
	if !l.config.Load().Access {
		return
	}
	r.Counter("access_log_lines_total", "Lines of the access log.", float64(l.count.Load()))
	r.Counter("access_log_dropped_total", "Of these, those that were dropped because whoever reads the log is too slow.", float64(l.out.dropped.Load()))
}
