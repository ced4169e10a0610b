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
	// restoreWait is how long readers wait for the file after a start: a disk that
	// takes longer costs them its points, and no reply.
	restoreWait = 5 * time.Second
)

// Point is what the headlines were at a time. It is not modified.
type Point struct {
	Time   time.Time
	Names  []string // sorted; shared by points that have the same ones
	Values []float32
}

// history is the points of a day, from the oldest on.
type history struct {
	interval atomic.Int64
	log      *slog.Logger
	file     *stateFile    // nil for none
	wake     chan struct{} // there is a new point
	restored chan struct{} // closed when what an earlier process left has been read

	mu      sync.Mutex
	before  []Point // of earlier processes
	points  []Point // of this one, later than all of before
	unsaved bool

	fault           atomic.Pointer[string] // of the last writing; nil for none
	written, failed atomic.Uint64
}

func (h *history) init(o Options) {
	h.interval.Store(int64(o.Config.ReportInterval))
	h.log = o.Logger
	h.wake, h.restored = make(chan struct{}, 1), make(chan struct{})
	if o.StateDir == "" {
		close(h.restored)
		return
	}
	h.file = newStateFile(o.StateDir)
}

// History gives the points of the last 24 hours, from the oldest on, and the time
// between two of them. After the start it waits, for at most 5 s, until those of
// an earlier process have been read.
func (t *Timeline) History() (interval time.Duration, points []Point) {
	t.history.await()
	return t.interval(), t.history.view(time.Now())
}

func (h *history) await() {
	select {
	case <-h.restored:
		return
	default:
	}
	late := time.NewTimer(restoreWait)
	defer late.Stop()
	select {
	case <-h.restored:
	case <-late.C:
	}
}

// view gives the points of the day before now. Where the clock was set back there
// may be some of the future: until it is there they are not shown.
func (h *history) view(now time.Time) []Point {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Point
	for _, p := range slices.Concat(h.before, h.points) {
		if age := now.Sub(p.Time); age >= 0 && age < kept {
			out = append(out, p)
		}
	}
	return out
}

// add makes a point. The history stays in the order of time: where the clock was
// set back, points of the time that comes again make room.
func (h *history) add(now time.Time, list []headline) {
	p := point(now, list[:min(len(list), maxHeadlines)])
	over := func(q Point) bool { return !q.Time.Before(p.Time) || p.Time.Sub(q.Time) >= kept }
	h.mu.Lock()
	h.before, h.points = slices.DeleteFunc(h.before, over), slices.DeleteFunc(h.points, over)
	h.points = append(h.points, p.sharing(h.points))
	h.unsaved = true
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// point makes a point of headlines.
func point(now time.Time, list []headline) Point {
	p := Point{Time: now.Round(0).UTC().Truncate(time.Millisecond)}
	for _, l := range list {
		if v := float32(l.value); finite(float64(v)) && len(l.name) <= maxName {
			p.Names, p.Values = append(p.Names, l.name), append(p.Values, v)
		}
	}
	return p
}

// sharing is the point with the names of the one before, where they are the same.
func (p Point) sharing(before []Point) Point {
	if n := len(before); n > 0 && slices.Equal(before[n-1].Names, p.Names) {
		p.Names = before[n-1].Names
	}
	return p
}

// run keeps the history in its file until ctx is done, and once more then.
func (h *history) run(ctx context.Context) {
	if h.file == nil {
		return
	}
	failure := h.restore()
	close(h.restored)
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			_ = h.save(failure)
			if err := h.file.close(); err != nil {
				h.log.Warn("unlock state directory", "error", err)
			}
			return
		case <-h.wake:
		}
		if last.IsZero() || time.Since(last) >= saveEvery {
			last = time.Now()
			failure = h.save(failure)
		}
	}
}

// restore reads what an earlier process left. The error says why nothing will be
// written.
func (h *history) restore() error {
	mine, err := h.file.own()
	if err == nil {
		h.load()
	}
	if err == nil && !mine {
		err = errOtherProcess
	}
	return h.note(err, nil)
}

// load reads the file, whose points come before those made here. One that
// cannot be read is set aside, by the process that owns it.
func (h *history) load() {
	points, err := h.file.read()
	if err != nil {
		h.log.Warn("the history of performance cannot be read; it begins anew", "dir", h.file.dir, "error", err)
		h.file.setAside()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.points) > 0 {
		first := h.points[0].Time
		points = slices.DeleteFunc(points, func(p Point) bool { return !p.Time.Before(first) })
	}
	h.before = points
}

// save writes the history where it has changed.
func (h *history) save(last error) error {
	h.mu.Lock()
	unsaved := h.unsaved
	h.mu.Unlock()
	if !unsaved {
		return last
	}
	err := h.write()
	if err == nil {
		h.written.Add(1)
	}
	return h.note(err, last)
}

// note remembers how a writing went. A failure is logged where it is not the one
// before.
func (h *history) note(err, last error) error {
	if err == nil {
		h.fault.Store(nil)
		return nil
	}
	h.failed.Add(1)
	text := err.Error()
	h.fault.Store(&text)
	if last == nil || last.Error() != text {
		h.log.Warn("the history of performance cannot be written; a restart will forget it", "dir", h.file.dir, "error", err)
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
	points := slices.Concat(h.before, h.points)
	h.unsaved = false
	h.mu.Unlock()
	if err := h.file.write(encode(points[max(len(points)-maxPoints, 0):])); err != nil {
		h.mu.Lock()
		h.unsaved = true
		h.mu.Unlock()
		return err
	}
	return nil
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
