package timeline

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/perf"
)

// Of what is followed there is a point every ten seconds, of ten minutes, by the
// label that was asked for.
func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h perf.Histogram
		n := 0.0
		f := start(t, func(o *Options) {
			o.Follow = func(figure string) (string, bool) {
				switch figure {
				case "n_total":
					return "status", true
				case "open":
					return "upstream", true
				}
				return "", figure == "n_seconds" || figure == "n_ratio" || figure == "idle_ratio" || figure == "model_tokens"
			}
		}, func(r perf.Reporter) {
			r.Counter("n_total", "", n, "operation", "chat", "status", "2xx")
			r.Counter("n_total", "", 2*n, "operation", "embeddings", "status", "2xx")
			r.Counter("n_total", "", n, "operation", "chat", "status", "5xx")
			r.Counter("n_total", "", n) // without the label
			r.Counter("other_total", "", n, "status", "2xx")
			r.Gauge("open", "", 3, "upstream", "a")
			r.Gauge("open", "", 5, "upstream", "b")
			r.Ratio("n_ratio", "", n/4, n)
			r.Ratio("idle_ratio", "", 0, 0)
			r.Histogram("n_seconds", "", &h)
			r.Histogram("model_tokens", "", &h)
		})
		defer f.stop()
		pass(time.Second)
		n = 20
		for range 20 {
			h.Observe(100 * time.Millisecond)
		}
		pass(8 * time.Second)
		if _, points := f.Recent(); len(points) != 0 {
			t.Errorf("too early: %v", points)
		}
		pass(time.Second)
		every, points := f.Recent()
		const want = `[{2000-01-01 00:00:10 +0000 UTC [n_ratio n_seconds.p50 n_seconds.p99 n_total{status="2xx"}.rate n_total{status="5xx"}.rate open{upstream="a"} open{upstream="b"}] ` +
			`[0.25 0.099571384 0.099571384 6 2 3 5]}]`
		if got := fmt.Sprint(points); got != want || every != 10*time.Second {
			t.Errorf("got  %s every %v\nwant %s", got, every, want)
		}
		pass(30 * time.Minute)
		f.Refresh()
		_, points = f.Recent()
		if len(points) != 61 || points[60].Time.Sub(points[0].Time) != recentKept {
			t.Errorf("%d points from %v to %v", len(points), points[0].Time, points[len(points)-1].Time)
		}
		if &points[1].Names[0] != &points[2].Names[0] {
			t.Error("points do not share their names")
		}
	})
}

// A point has at most so many figures, and without a choice there is none.
func TestRecentIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := func(r perf.Reporter) {
			for i := range 2 * maxRecent {
				r.Gauge("open", "", 1, "upstream", fmt.Sprint(i))
			}
		}
		f := start(t, func(o *Options) { o.Follow = func(string) (string, bool) { return "upstream", true } }, many)
		g := start(t, nil, many)
		pass(10 * time.Second)
		if _, points := f.Recent(); len(points) != 1 || len(points[0].Names) != maxRecent {
			t.Errorf("%d points", len(points))
		}
		if _, points := g.Recent(); len(points) != 0 {
			t.Errorf("%d points", len(points))
		}
		f.stop()
		g.stop()
	})
}
