package timeline

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/perf"
)

const (
	// kept is how far the history goes back.
	kept = 24 * time.Hour
	// maxPoints bounds it where intervals were shorter before.
	maxPoints = int(kept / leastInterval)
	// saveEvery is the least time between two writings while it runs.
	saveEvery = time.Minute
)

// Point is what the headlines were at a time. It is not modified.
type Point struct {
	Time   time.Time
	Names  []string // sorted; shared by points that have the same ones
	Values []float32
}

// history is the points of a day, from the oldest on.
type history struct {
	interval time.Duration
	log      *slog.Logger
	file     *stateFile    // nil for none
	wake     chan struct{} // there is a new point

	mu     sync.Mutex
	points []Point

	fault           atomic.Pointer[string] // of the last writing; nil for none
	written, failed atomic.Uint64
}

func (h *history) init(o Options) {
	h.interval, h.log = o.Config.ReportInterval, o.Logger
	h.wake = make(chan struct{}, 1)
	if o.StateDir != "" {
		h.file = newStateFile(o.StateDir)
	}
}

// History gives the points of the last 24 hours, from the oldest on, and the time
// between two of them.
func (t *Timeline) History() (interval time.Duration, points []Point) {
	return t.history.interval, t.history.view(time.Now())
}

// view gives the points of the day before now. Where the clock was set back there
// may be some of the future: until it is there they are not shown.
func (h *history) view(now time.Time) []Point {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Point
	for _, p := range h.points {
		if age := now.Sub(p.Time); age >= 0 && age < kept {
			out = append(out, p)
		}
	}
	return out
}

// add makes a point. The history stays in the order of time: where the clock was
// set back, points of the time that comes again make room.
func (h *history) add(now time.Time, list []headline) {
	p := Point{Time: now.Round(0).UTC().Truncate(time.Millisecond), Names: make([]string, len(list)), Values: make([]float32, len(list))}
	for i, l := range list {
		p.Names[i], p.Values[i] = l.name, float32(l.value)
	}
	h.mu.Lock()
	h.points = slices.DeleteFunc(h.points, func(q Point) bool { return !q.Time.Before(p.Time) || p.Time.Sub(q.Time) >= kept })
	if n := len(h.points); n > 0 && slices.Equal(h.points[n-1].Names, p.Names) {
		p.Names = h.points[n-1].Names
	}
	h.points = append(h.points, p)
	h.points = slices.Delete(h.points, 0, max(len(h.points)-maxPoints, 0))
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// run keeps the history in its file until ctx is done, and once more then.
func (h *history) run(ctx context.Context) {
	if h.file == nil {
		return
	}
	h.restore()
	var failure error
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			h.finish(failure)
			return
		case <-h.wake:
		}
		if last.IsZero() || time.Since(last) >= saveEvery {
			last = time.Now()
			failure = h.save(failure)
		}
	}
}

// finish writes the history for the last time.
func (h *history) finish(failure error) {
	_ = h.save(failure)
	if err := h.file.close(); err != nil {
		h.log.Warn("unlock state directory", "error", err)
	}
}

// restore reads what an earlier process left.
func (h *history) restore() {
	if _, err := h.file.own(); err != nil {
		h.log.Warn("the state directory cannot be used; the history begins anew", "dir", h.file.dir, "error", err)
		return
	}
	h.load()
}

// load puts the file's points before those made here. A damaged file is set
// aside, by the process that owns it.
func (h *history) load() {
	points, err := h.file.read()
	if err != nil {
		h.log.Warn("the history cannot be read; it begins anew", "dir", h.file.dir, "error", err)
		h.file.setAside(err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.points) > 0 {
		first := h.points[0].Time
		points = slices.DeleteFunc(points, func(p Point) bool { return !p.Time.Before(first) })
	}
	h.points = append(points, h.points...)
}

// save writes the history. A failure is logged where it is not the one before.
func (h *history) save(last error) error {
	err := h.write()
	if err == nil {
		h.written.Add(1)
		h.fault.Store(nil)
		return nil
	}
	h.failed.Add(1)
	text := err.Error()
	h.fault.Store(&text)
	if last == nil || last.Error() != text {
		h.log.Warn("the history cannot be written; a restart will forget it", "dir", h.file.dir, "error", err)
	}
	return err
}

func (h *history) write() error {
	mine, err := h.file.own()
	switch {
	case err != nil:
		return err
	case !mine:
		return errOtherProcess
	}
	if h.file.unread { // it was another process's until now
		h.load()
	}
	h.mu.Lock()
	points := slices.Clone(h.points)
	h.mu.Unlock()
	return h.file.write(encode(points))
}

// examine says whether a restart would keep the history.
func (h *history) examine(report func(perf.Condition)) {
	if h.file == nil {
		return
	}
	c := perf.Condition{Component: "state_dir/history"}
	if fault := h.fault.Load(); fault != nil {
		c.State, c.Error = perf.Degraded, *fault
		c.Advice = "Check that " + h.file.dir + " can be written, has room and belongs to one process alone. Requests do not depend on it; a restart would begin without the history of performance."
	}
	report(c)
}

func (h *history) report(r perf.Reporter) {
	if h.file == nil {
		return
	}
	r.Counter("history_writes_total", "Times the history of performance was written to the state directory.", float64(h.written.Load()))
	r.Counter("history_failures_total", "Times it could not be written.", float64(h.failed.Load()))
}
