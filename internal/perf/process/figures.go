package process

import (
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"sluice/internal/perf"
)

// Figures implements perf.Source. It takes some tens of microseconds.
func (p *Process) Figures(r perf.Reporter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &p.runtime
	f.read()
	p.cpu(r)
	p.memory(r)
	if n, ok := openFiles(p.root + "proc/self/fd"); ok {
		r.Gauge("process_open_fds", "File descriptors that are open.", float64(n))
	}
	if n, ok := MaxFiles(); ok {
		r.Gauge("process_max_fds", "File descriptors that may be open.", float64(n))
	}
	r.Gauge("process_threads", "Threads of the operating system.", f.number(goThreads))
	r.Gauge("go_goroutines", "Goroutines that there are.", f.number(goRoutines))
	if !math.IsNaN(f.latency) {
		r.Gauge("go_scheduler_latency_p99_seconds", "How long a goroutine that could run waited for a CPU, 99th percentile of the last two seconds or so.", f.latency)
	}
	r.Gauge("go_heap_live_bytes", "Bytes of the heap that the last collection found in use.", f.number(goLive))
	r.Gauge("go_heap_goal_bytes", "Bytes of the heap at which the next collection ends.", f.number(goGoal))
	r.Gauge("go_heap_objects", "Objects on the heap, garbage included.", f.number(goObjects))
	r.Counter("go_gc_cycles_total", "Garbage collections that are done.", f.number(goCycles))
	r.Histogram("go_gc_pause_seconds", "Times for which a collection stopped all goroutines, to an eighth.", &f.pauses)
	r.Counter("go_gc_cpu_seconds_total", "CPU time of the garbage collector, as of the last collection.", f.number(goGCCPU))
	r.Counter("go_gc_assist_seconds_total", "CPU time that goroutines had to give to the garbage collector because they allocated, as of the last collection.", f.number(goAssist))
	r.Ratio("go_gc_cpu_ratio", "Part of the CPU time there was that the garbage collector took, between two collections.", f.number(goGCCPU), f.number(goCPU))
}

// cpu reports the CPU time, and how much of it there was. p.mu is held.
func (p *Process) cpu(r perf.Reporter) {
	cpus := p.runtime.number(goProcs)
	r.Gauge("process_cpus", "CPUs that the process uses at once at most: GOMAXPROCS.", cpus)
	now := time.Now()
	if p.counted.IsZero() {
		p.counted = p.start
	}
	p.available += now.Sub(p.counted).Seconds() * cpus
	p.counted = now
	user, system, ok := cpuTime()
	if !ok {
		return
	}
	const help = "CPU time that the process took, in its own code (user) and in the kernel's for it (system)."
	r.Counter("process_cpu_time_seconds_total", help, user.Seconds(), "mode", "user")
	r.Counter("process_cpu_time_seconds_total", help, system.Seconds(), "mode", "system")
	r.Ratio("process_cpu_used_ratio", "Part of the time of process_cpus that the process took.", (user + system).Seconds(), p.available)
}

// memory reports what is used beside what may be. p.mu is held.
func (p *Process) memory(r perf.Reporter) {
	if b, err := os.ReadFile(p.root + "proc/self/statm"); err == nil {
		// The second field is the resident pages.
		if fields := strings.Fields(string(b)); len(fields) > 1 {
			if pages, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				r.Gauge("process_resident_bytes", "Memory that is in RAM.", float64(pages*int64(os.Getpagesize())))
			}
		}
	}
	list, _ := p.allowances()
	n := nearest(list)
	if n == nil {
		return
	}
	least := n.most
	for _, a := range list {
		least = min(least, a.most)
	}
	r.Gauge("process_memory_limit_bytes", "The least limit of memory: the control group's, one's above it, or GOMEMLIMIT.", float64(least))
	r.Gauge("process_memory_used_ratio", "Part used of the limit of memory that is nearest. At 1 the process is killed, or slowed down where it is memory.high, or collects garbage all the time where it is GOMEMLIMIT.", n.ratio())
}
