package timeline

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// crowd is a gateway with 400 series: 150 counters, 50 ratios, 100 gauges and 100
// histograms that observe so much between two samples.
type crowd struct {
	names      [100]string
	n          float64
	histograms [100]perf.Histogram
	r          *rand.Rand
}

func newCrowd() *crowd {
	c := &crowd{r: rand.New(rand.NewPCG(1, 2))}
	for i := range c.names {
		c.names[i] = "model-" + strconv.Itoa(i)
	}
	return c
}

func (c *crowd) Figures(r perf.Reporter) {
	for i, name := range c.names {
		r.Counter("a_total", "", c.n, "operation", "chat", "model", name)
		r.Gauge("b", "", c.n, "operation", "chat", "model", name)
		r.Histogram("c_seconds", "", &c.histograms[i], "operation", "chat", "model", name)
		if i%2 == 0 {
			r.Counter("d_total", "", c.n, "model", name)
			r.Ratio("e_ratio", "", c.n, 2*c.n, "model", name)
		}
	}
}

// work observes n durations in every histogram, most of them within three octaves.
func (c *crowd) work(n int) {
	c.n += float64(n)
	for i := range c.histograms {
		for range n {
			c.histograms[i].Observe(time.Duration(1e8 * (0.2 + c.r.ExpFloat64())))
		}
	}
}

// watch makes a Timeline of a source that has had its first sample.
func watch(tb testing.TB, s perf.Source) *Timeline {
	reg := perf.New()
	reg.Register("test", s)
	t, err := New(reg, Options{Config: Default()})
	if err != nil {
		tb.Fatal(err)
	}
	t.Start()
	return t
}

func BenchmarkSample(b *testing.B) {
	c := newCrowd()
	c.work(1000)
	t := watch(b, c)
	b.ReportAllocs()
	for b.Loop() {
		c.work(2) // 200 observations, 10 µs
		t.tick()
	}
}

func BenchmarkSnapshot(b *testing.B) {
	c := newCrowd()
	t := watch(b, c)
	for range 2000 {
		c.work(5)
		t.tick()
	}
	b.ReportAllocs()
	for b.Loop() {
		t.Snapshot(Windows()...)
	}
}

// The memory that the package's comment states, and that it grows no more once
// all slots are full.
func TestMemoryAlloc(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	c := newCrowd()
	c.work(1)
	before := heap()
	f := watch(t, c)
	after := func(samples int) int64 {
		for range samples {
			c.work(20) // in 2 s
			f.tick()
		}
		return heap() - before
	}
	full, later := after(2000), after(500)
	t.Logf("%d series: %d KiB after an hour, %d KiB later", f.count.Load(), full>>10, later>>10)
	if full > 2500<<10 || later > full+full/20 {
		t.Errorf("%d bytes after an hour, %d later", full, later)
	}
	runtime.KeepAlive(f)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
