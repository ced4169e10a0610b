// Package timeline remembers what all figures did in the last minute, five
// minutes and hour, and their headlines for a day.
//
// Every two seconds it asks all sources for their figures and keeps what was
// new, per series, in three rings: 30 slots of 2 s, 10 of 30 s, 12 of 5 min. A
// window is read from the newest slots of a finer ring that are in no slot of
// the next one yet, and from that one: it covers its span, and up to one slot
// more. Refresh samples in between, for who must know of the last moment too. It
// knows no figure: what a source reports is there.
//
// Its memory does not grow with traffic, and with labels only up to MaxSeries:
// a gauge takes 0.3 KiB, a counter 0.7, a ratio 1.1, and a histogram 1.3 KiB, 16
// bytes for each bucket that was ever hit, and 2 to 3 for each that was hit in a
// slot. 400 series, 100 of them histograms that take ten values a second each, are 1.8 MiB.
// The history takes 4 bytes for each of a point's figures, and 16 more where they
// are not those of the point before: 0.3 MiB for 250 figures at the default
// interval.
package timeline

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/perf"
)

// MaxSeries bounds the series that are kept. Those that come when there are as
// many are not kept, and counted.
const MaxSeries = 4096

// Options are what a Timeline works with.
type Options struct {
	Config Config
	Logger *slog.Logger // nil for none

	// StateDir is the directory in which the history outlives a restart. It is
	// made when needed; "" for none.
	StateDir string

	// Follow chooses what Recent tells of; nil for nothing.
	Follow Follow
}

// Timeline samples the figures of a Registry. It is a perf.Source itself, of the
// system "perf", and perf.Examined. It is safe for concurrent use.
type Timeline struct {
	registry *perf.Registry
	log      *slog.Logger
	history  history
	recent   recent

	begun atomic.Uint64 // samples

	// What follows is of whoever samples, which sampling has room for one of. It
	// holds mu too where it changes what others read.
	sampling chan struct{}
	known    map[string]*series
	samples  uint64
	observed []observation
	merger   merger

	reported time.Time // when the last point was made; Run's own

	mu      sync.RWMutex
	figures map[string]*figure
	clock   clock

	took    perf.Histogram
	count   atomic.Int64
	dropped atomic.Uint64
}

// New makes a Timeline of all that is, or comes to be, registered. It samples
// while Run runs. An error says what is wrong with the configuration.
func New(reg *perf.Registry, o Options) (*Timeline, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("make timeline: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Timeline{
		registry: reg, log: o.Logger, sampling: make(chan struct{}, 1),
		known: make(map[string]*series), figures: make(map[string]*figure),
	}
	t.history.init(o)
	t.recent.follow = o.Follow
	return t, nil
}

// Start takes the first sample. What was counted before it is in no window, so it
// comes before what is to be watched begins.
func (t *Timeline) Start() {
	defer t.alone()()
	if t.samples == 0 {
		t.sample(true)
	}
}

// Run samples until ctx is done, makes a point of the history and a line in the
// log at each report interval, and keeps the history in the state directory: a
// last time before it returns. It is called once; it calls Start where that was
// not done.
func (t *Timeline) Run(ctx context.Context) {
	var keeper sync.WaitGroup
	defer keeper.Wait()
	keeper.Go(func() { t.history.run(ctx) }) // beside: a slow disk delays no sample

	tick := time.NewTicker(step)
	defer tick.Stop()
	t.Start()
	t.reported = time.Now()
	interval := t.interval()
	next := t.reported.Add(interval)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.tick()
		t.remember(time.Now())
		if i := t.interval(); i != interval {
			interval, next = i, t.reported.Add(i)
		}
		// The tick that is nearest to the time, so that an interval of whole slots
		// has whole slots.
		now := time.Now().Add(step / 2)
		if now.Before(next) {
			continue
		}
		t.tell(now.Add(-step / 2))
		for !next.After(now) {
			next = next.Add(interval)
		}
	}
}

// Use takes over a configuration that is valid, as of the next report.
func (t *Timeline) Use(cfg Config) { t.history.interval.Store(int64(cfg.ReportInterval)) }

func (t *Timeline) interval() time.Duration { return time.Duration(t.history.interval.Load()) }

// Figures implements perf.Source.
func (t *Timeline) Figures(r perf.Reporter) {
	r.Histogram("timeline_sample_duration_seconds", "Time that one sample of all figures took.", &t.took)
	r.Gauge("timeline_series", "Series whose windows are kept.", float64(t.count.Load()))
	r.Counter("timeline_series_dropped_total", "Values that were not kept because their series would have been one too many, or its figure is of another kind elsewhere.",
		float64(t.dropped.Load()))
	t.history.report(r)
}

// Examine implements perf.Examined: whether the history outlives a restart.
func (t *Timeline) Examine(report func(perf.Condition)) { t.history.examine(report) }
