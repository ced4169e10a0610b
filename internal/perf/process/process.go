// Package process measures the process itself: its files, memory, CPU time,
// goroutines and clock, as far as /proc, the control group and the Go runtime tell.
// Where they do not, a figure or a component is left out.
package process

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"sluice/internal/memory"
	"sluice/internal/perf"
)

// Process is how the process itself does. It is a perf.Source and perf.Examined.
type Process struct {
	root string // "/" but in tests

	mu    sync.Mutex
	start time.Time
	last  time.Duration // the wall clock less the monotonic one, when it was examined last
	seen  bool          // it was
	since time.Duration // by the monotonic clock: when the wall clock was seen to jump
	jump  time.Duration // how far it jumped; 0 for not at all

	available float64        // CPU seconds that there were from the start until
	counted   time.Time      // then
	groups    []memory.Group // the control group and those above it; nil before the first look
	runtime   runtimeFigures
}

// New makes a Process of this one, which has run since start.
func New(start time.Time) *Process { return &Process{root: "/", start: start} }

const (
	// scarce is the part of a limit from which on it will soon be reached.
	scarce = 0.9
	// maxDrift is how far the wall clock may go from the monotonic one between two
	// examinations, and forgiven how long a jump is told of.
	maxDrift, forgiven = time.Second, 10 * time.Minute
	// manyGoroutines are more than the default of 10,000 connections keeps busy,
	// and perFile more than one connection does.
	manyGoroutines, perFile = 50_000, 10
)

// OpenFiles counts the file descriptors that are open, in some microseconds from Linux 6.2
// on. ok is false where they cannot be counted.
func OpenFiles() (n int, ok bool) { return openFiles("/proc/self/fd") }

// Examine implements perf.Examined.
func (p *Process) Examine(report func(perf.Condition)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	files, _ := openFiles(p.root + "proc/self/fd")
	p.examineFiles(report, files)
	p.examineMemory(report)
	p.examineGoroutines(report, runtime.NumGoroutine(), files)
	mono := time.Since(p.start)
	p.examineClock(report, mono, time.Now().Round(0).Sub(p.start.Round(0)))
}

func (*Process) examineFiles(report func(perf.Condition), open int) {
	limit, ok := MaxFiles()
	if open == 0 || !ok {
		return
	}
	c := perf.Condition{Component: "process/files"}
	if float64(open) > scarce*float64(limit) {
		c.State = perf.Degraded
		c.Error = fmt.Sprintf("%d of %d file descriptors are open", open, limit)
		c.Advice = "Raise the limit (ulimit -n, LimitNOFILE=), or lower server.max_connections: connections beyond it are refused."
	}
	report(c)
}

// examineGoroutines tells of more than the open files, connections mostly, can
// keep busy. files is 0 where it is not known.
func (*Process) examineGoroutines(report func(perf.Condition), n, files int) {
	c := perf.Condition{Component: "process/goroutines"}
	if n > max(manyGoroutines, perFile*files) {
		c.State = perf.Degraded
		c.Error = fmt.Sprintf("there are %d goroutines", n)
		c.Advice = "Look at requests_in_flight: if it is high, clients send more than upstreams answer, so lower server.max_connections. " +
			"If it is low, goroutines do not end, which is a fault of Sluice: restart it and report that."
	}
	report(c)
}

// examineClock tells of jumps of the wall clock, given the time since the start
// by the monotonic clock and by that one. Time-outs and caches do not go by it,
// but logs, certificates and the state directory do.
func (p *Process) examineClock(report func(perf.Condition), mono, wall time.Duration) {
	ahead := wall - mono
	if drift := ahead - p.last; p.seen && drift.Abs() > maxDrift {
		p.since, p.jump = mono, drift
	}
	p.last, p.seen = ahead, true
	c := perf.Condition{Component: "process/clock"}
	if p.jump != 0 && mono-p.since < forgiven {
		c.State = perf.Degraded
		c.Error = fmt.Sprintf("the wall clock jumped by %v", p.jump.Round(time.Millisecond))
		c.Advice = "Check the time service of the machine. Time-outs and caches are not affected; time stamps in logs are."
	}
	report(c)
}
