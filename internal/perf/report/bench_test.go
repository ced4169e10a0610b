package report

import (
	"context"
	"strconv"
	"testing"
	"time"

	"sluice/internal/perf"
	"sluice/internal/perf/timeline"
)

// crowd has 400 series, 100 of them busy histograms.
type crowd struct {
	names      []string
	histograms [100]perf.Histogram
}

func (c *crowd) Figures(r perf.Reporter) {
	for i, name := range c.names {
		r.Counter("a_total", "", float64(i), "model", name)
		r.Gauge("b", "", float64(i), "model", name)
		r.Ratio("c_ratio", "", float64(i), float64(2*i), "model", name)
		r.Histogram("d_seconds", "", &c.histograms[i], "model", name)
	}
}

func BenchmarkLive(b *testing.B) {
	c, reg := new(crowd), perf.New()
	for i := range c.histograms {
		c.names = append(c.names, strconv.Itoa(i))
	}
	reg.Register("test", c)
	t, err := timeline.New(reg, timeline.Options{Config: timeline.Default()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { t.Run(ctx); close(done) }()
	for len(t.Snapshot()) == 0 { // until the first sample
		time.Sleep(time.Millisecond)
	}
	for i := range c.histograms {
		for j := range 1000 {
			c.histograms[i].Observe(time.Duration(j*j) * time.Microsecond)
		}
	}
	for { // and the second
		if n, _, ok := t.Read("d_seconds", nil, timeline.StatCount, time.Hour); ok && n > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	<-done
	r := New(Options{Timeline: t, Registry: reg, Started: time.Now()})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Live(); err != nil {
			b.Fatal(err)
		}
	}
}
