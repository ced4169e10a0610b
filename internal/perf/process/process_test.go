package process

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"sluice/internal/perf"
)

func conditions(examine func(func(perf.Condition))) map[string]perf.Condition {
	m := map[string]perf.Condition{}
	examine(func(c perf.Condition) { m[c.Component] = c })
	return m
}

// machine is a folder that stands for "/".
type machine struct {
	*testing.T
	root string
}

func newMachine(t *testing.T) machine { return machine{t, t.TempDir() + "/"} }

func (m machine) write(name, text string) {
	m.Helper()
	name = filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		m.Fatal(err)
	}
}

func TestProcess(t *testing.T) {
	m := newMachine(t)
	p := &Process{root: m.root}
	if got := conditions(p.Examine); len(got) != 2 || got["process/clock"].State != perf.Healthy || got["process/goroutines"].State != perf.Healthy {
		t.Errorf("with nothing to read: %+v", got)
	}
	m.write("proc/self/fd/0", "")
	m.write("sys/fs/cgroup/memory.current", "950000000\n")
	for _, test := range []struct {
		max   string
		state perf.State
	}{{"max\n", perf.Healthy}, {"2000000000\n", perf.Healthy}, {"1000000000\n", perf.Degraded}} {
		m.write("sys/fs/cgroup/memory.max", test.max)
		got := conditions(p.Examine)
		if c := got["process/memory"]; c.State != test.state || (c.State == perf.Degraded) != strings.Contains(c.Error, "905 of 953 MiB") {
			t.Errorf("limit %s: %+v", test.max, c)
		}
		if got["process/files"].State != perf.Healthy {
			t.Errorf("files: %+v", got["process/files"])
		}
	}
	// The machine that runs the tests has them all, or none that can be read.
	for name, c := range conditions((&Process{root: "/"}).Examine) {
		if c.State != perf.Healthy {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestGoroutines(t *testing.T) {
	for _, test := range []struct {
		n, files int
		state    perf.State
	}{{50_000, 10, perf.Healthy}, {50_001, 10, perf.Degraded}, {90_000, 9000, perf.Healthy}, {90_001, 9000, perf.Degraded}} {
		new(Process).examineGoroutines(func(c perf.Condition) {
			if c.State != test.state {
				t.Errorf("%+v: %+v", test, c)
			}
		}, test.n, test.files)
	}
}

// The limit of any group above the process's own holds too.
func TestGroups(t *testing.T) {
	for _, test := range []struct {
		group         string
		own, above    string
		limit, degree float64
	}{
		{"/a/b", "1000", "2000", 1000, 0.5}, {"/a/b", "max", "800", 800, 0.75}, {"/a/b", "1000", "601", 601, 600.0 / 601},
		{"/../../a/b", "1000", "max", 1000, 0.5}, {"/elsewhere", "1000", "2000", 0, 0},
	} {
		m := newMachine(t)
		m.write("proc/self/cgroup", "1:memory:/c\n0::"+test.group+"\n")
		m.write("sys/fs/cgroup/a/b/memory.current", "500\n")
		m.write("sys/fs/cgroup/a/memory.current", "600\n")
		m.write("sys/fs/cgroup/a/b/memory.max", test.own+"\n")
		m.write("sys/fs/cgroup/a/memory.max", test.above+"\n")
		got := figuresOf(&Process{root: m.root, start: time.Now()})
		if limit, ratio := got["process_memory_limit_bytes"], got["process_memory_used_ratio"]; limit != test.limit || ratio != test.degree {
			t.Errorf("%+v: %v of %v", test, ratio, limit)
		}
		if _, ok := got["process_memory_used_ratio"]; ok != (test.limit > 0) {
			t.Errorf("%+v: reported %v", test, ok)
		}
	}
}

// Pages of files do not count: the kernel takes them back first. Version 1 tells as much.
func TestPagesOfFiles(t *testing.T) {
	for _, files := range []map[string]string{
		{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.current": "900", "sys/fs/cgroup/memory.max": "1000", "sys/fs/cgroup/memory.high": "800",
			"sys/fs/cgroup/memory.stat": "anon 300\nactive_file 200\ninactive_file 300\n"},
		{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "900", "sys/fs/cgroup/memory/memory.limit_in_bytes": "800",
			"sys/fs/cgroup/memory/memory.stat": "active_file 1\ninactive_file 1\ntotal_active_file 200\ntotal_inactive_file 300\n"},
	} {
		m := newMachine(t)
		for name, text := range files {
			m.write(name, text)
		}
		if got := figuresOf(&Process{root: m.root, start: time.Now()}); got["process_memory_limit_bytes"] != 800 || got["process_memory_used_ratio"] != 0.5 {
			t.Errorf("%v of %v", got["process_memory_used_ratio"], got["process_memory_limit_bytes"])
		}
	}
}

// GOMEMLIMIT is a limit as well.
func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(1 << 20) // below what any program takes
	defer debug.SetMemoryLimit(before)
	p := &Process{root: newMachine(t).root, start: time.Now()}
	c, ok := conditions(p.Examine)["process/memory"]
	if !ok || c.State != perf.Degraded || !strings.Contains(c.Error, " of 1 MiB are used") || !strings.Contains(c.Advice, "GOMEMLIMIT") {
		t.Errorf("%+v", c)
	}
	if got := figuresOf(p); got["process_memory_limit_bytes"] != 1<<20 || got["process_memory_used_ratio"] <= 1 {
		t.Errorf("%v of %v", got["process_memory_used_ratio"], got["process_memory_limit_bytes"])
	}
}

// reported keeps figures by name and the values of labels.
type reported map[string]float64

func (r reported) Counter(name, _ string, v float64, labels ...string) {
	r.Gauge(name, "", v, labels...)
}
func (r reported) Gauge(name, _ string, v float64, labels ...string) {
	for i := 1; i < len(labels); i += 2 {
		name += " " + labels[i]
	}
	r[name] = v
}
func (r reported) Ratio(name, _ string, part, whole float64, _ ...string) { r[name] = part / whole }
func (r reported) Histogram(name, _ string, h *perf.Histogram, _ ...string) {
	r[name] = float64(h.Distribution().Count)
}

func figuresOf(s perf.Source) reported {
	r := reported{}
	s.Figures(r)
	return r
}

func TestProcessFigures(t *testing.T) {
	p := &Process{root: "/", start: time.Now().Add(-time.Hour)}
	runtime.GC()
	before := figuresOf(p)
	runtime.GC()
	after := figuresOf(p)
	if n := after["go_gc_cycles_total"] - before["go_gc_cycles_total"]; n < 1 {
		t.Errorf("%v cycles", n)
	}
	if n := after["go_gc_pause_seconds"] - before["go_gc_pause_seconds"]; n < 1 {
		t.Errorf("%v pauses", n)
	}
	for _, name := range []string{"process_cpus", "process_threads", "go_goroutines", "go_heap_live_bytes", "go_heap_goal_bytes", "go_heap_objects", "go_gc_cpu_seconds_total"} {
		if after[name] <= 0 {
			t.Errorf("%s is %v", name, after[name])
		}
	}
	if r := after["go_gc_cpu_ratio"]; r <= 0 || r >= 1 {
		t.Errorf("%v of the CPU time went to the collector", r)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if r := after["process_cpu_used_ratio"]; r <= 0 || r > 1 {
		t.Errorf("%v of the CPUs are used", r)
	}
	if b := after["process_resident_bytes"]; b < 1<<20 || b < after["go_heap_live_bytes"] {
		t.Errorf("%v bytes are resident", b)
	}
	if n, most := after["process_open_fds"], after["process_max_fds"]; n < 3 || most < n {
		t.Errorf("%v of %v files", n, most)
	}
	for range 50 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	// Others may close some meanwhile.
	if n := figuresOf(p)["process_open_fds"]; n < after["process_open_fds"]+40 {
		t.Errorf("%v files are open after 50 more were opened; before, %v", n, after["process_open_fds"])
	}
}

// What is not there is left out.
func TestNoFigures(t *testing.T) {
	got := figuresOf(&Process{root: newMachine(t).root, start: time.Now()})
	for _, name := range []string{"process_resident_bytes", "process_open_fds", "process_memory_limit_bytes", "process_memory_used_ratio"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s is %v", name, v)
		}
	}
}

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	h := &metrics.Float64Histogram{Counts: []uint64{3, 90, 6, 1}, Buckets: []float64{0, 2, 8, 32, inf}}
	var c counts
	for _, test := range []struct{ q, want float64 }{{0.01, 1}, {0.5, 4}, {0.99, 16}, {1, 32}} {
		if got := quantile(new(counts).since(h), test.q); got != test.want {
			t.Errorf("quantile %v is %v, want %v", test.q, got, test.want)
		}
	}
	c.since(h)
	if got := quantile(c.since(h), 0.99); !math.IsNaN(got) {
		t.Errorf("of nothing new it is %v", got)
	}
	h.Counts[2]++
	if got := quantile(c.since(h), 0.01); got != 16 {
		t.Errorf("of one new value it is %v", got)
	}
}

// keepsNothing is a reporter.
type keepsNothing struct{}

func (keepsNothing) Counter(string, string, float64, ...string)           {}
func (keepsNothing) Gauge(string, string, float64, ...string)             {}
func (keepsNothing) Ratio(string, string, float64, float64, ...string)    {}
func (keepsNothing) Histogram(string, string, *perf.Histogram, ...string) {}

func BenchmarkProcessFigures(b *testing.B) {
	p := &Process{root: "/", start: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		p.Figures(keepsNothing{})
	}
}

func TestClockJump(t *testing.T) {
	p := &Process{}
	wall := time.Duration(0)
	for _, step := range []struct {
		mono, jump time.Duration
		state      perf.State
	}{
		{0, time.Hour, perf.Healthy}, // before it was first seen
		{5 * time.Second, 0, perf.Healthy}, {10 * time.Second, time.Hour, perf.Degraded},
		{15 * time.Second, 0, perf.Degraded}, {11 * time.Minute, 0, perf.Healthy}, {12 * time.Minute, 100 * time.Millisecond, perf.Healthy},
		{13 * time.Minute, -time.Minute, perf.Degraded},
	} {
		wall += step.jump
		p.examineClock(func(c perf.Condition) {
			if c.State != step.state {
				t.Errorf("at %v: %+v", step.mono, c)
			}
		}, step.mono, step.mono+wall)
	}
}
