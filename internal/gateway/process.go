package gateway

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/internal/perf"
)

// process is how the process itself does, as far as /proc and the control group
// tell: where they do not, a component is left out.
type process struct {
	root string // "/" but in tests

	mu    sync.Mutex
	start time.Time
	last  time.Duration // the wall clock less the monotonic one, when it was examined last
	seen  bool          // it was
	since time.Duration // by the monotonic clock: when the wall clock was seen to jump
	jump  time.Duration // how far it jumped; 0 for not at all
}

const (
	// scarce is the part of a limit from which on it will soon be reached.
	scarce = 0.9
	// maxDrift is how far the wall clock may go from the monotonic one between two
	// examinations, and forgiven how long a jump is told of.
	maxDrift, forgiven = time.Second, 10 * time.Minute
)

// Figures implements perf.Source: the process's own are there without it.
func (*process) Figures(perf.Reporter) {}

// Examine implements perf.Examined.
func (p *process) Examine(report func(perf.Condition)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.examineFiles(report)
	p.examineMemory(report)
	mono := time.Since(p.start)
	p.examineClock(report, mono, time.Now().Round(0).Sub(p.start.Round(0)))
}

func (p *process) examineFiles(report func(perf.Condition)) {
	list, err := os.ReadDir(p.root + "proc/self/fd")
	limit, ok := maxFiles()
	if err != nil || !ok {
		return
	}
	c := perf.Condition{Component: "process/files"}
	if float64(len(list)) > scarce*float64(limit) {
		c.State = perf.Degraded
		c.Error = fmt.Sprintf("%d of %d file descriptors are open", len(list), limit)
		c.Advice = "Raise the limit (ulimit -n, LimitNOFILE=), or lower server.max_connections: connections beyond it are refused."
	}
	report(c)
}

// examineMemory compares what the control group uses with what it may.
func (p *process) examineMemory(report func(perf.Condition)) {
	const folder = "sys/fs/cgroup/"
	limit, limited := p.number(folder + "memory.max")
	used, known := p.number(folder + "memory.current")
	if !known {
		return
	}
	c := perf.Condition{Component: "process/memory"}
	if limited && float64(used) > scarce*float64(limit) {
		c.State = perf.Degraded
		c.Error = fmt.Sprintf("%d of %d MiB are used", used>>20, limit>>20)
		c.Advice = "Give the container more memory, or lower cache.max_bytes or server.max_connections: at the limit the process is killed."
	}
	report(c)
}

// number reads a file that holds one; "max" is none.
func (p *process) number(name string) (n int64, ok bool) {
	b, err := os.ReadFile(p.root + name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// examineClock tells of jumps of the wall clock, given the time since the start
// by the monotonic clock and by that one. Time-outs and caches do not go by it,
// but logs, certificates and the state directory do.
func (p *process) examineClock(report func(perf.Condition), mono, wall time.Duration) {
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
