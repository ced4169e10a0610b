package alarm

import (
	"math"
	"strings"
	"testing"
	"time"
)

func watching(w ...Watched) func(*Config) {
	return func(c *Config) { c.Anomalies.Enabled, c.Anomalies.Figures = true, w }
}

func TestAnomaly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, nil, watching(Watched{Figure: "wait_seconds", Stat: "p95", Each: "upstream"}))
		minutes := func(n int, value func(i int) float64) {
			for i := range n {
				f.set("wait_seconds/a", value(i), 100)
				f.after(minute)
			}
		}
		flat := func(v float64) func(int) float64 { return func(int) float64 { return v } }
		const name = "anomaly_wait_seconds_p95/a "
		minutes(leastPast-1, func(i int) float64 { return 1 + float64(i%3)/100 })
		minutes(2, flat(9)) // the past is too short for the first
		f.expect(t, name+"pending")
		minutes(1, flat(1))
		f.expect(t, name+"inactive")
		minutes(60, func(i int) float64 { return 1 + float64(i%3)/100 })
		minutes(10, flat(1.5)) // more than the score, less than half as much again
		f.expect(t, name+"inactive")
		minutes(2, flat(2))
		f.expect(t, name+"pending")
		minutes(1, flat(2))
		f.expect(t, name+"firing")
		if got, want := f.Status()[0].Message, "The P95 of the wait at upstream “a” over the last minute is 2 s, above the threshold of 1.52 s since 2000-01-01 01:43:00 UTC; usual is 1.01 s."; got != want {
			t.Errorf("message %q, want %q", got, want)
		}
		minutes(4, flat(1))
		f.expect(t, name+"clearing")
		minutes(1, flat(1))
		f.expect(t, name+"inactive")
	})
}

func TestAnomalyOfRatioThatIsUsuallyZero(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, nil, watching(Watched{Figure: "error_ratio"}, Watched{Figure: "hit_ratio", Direction: Below}))
		f.set("error_ratio", 0, 100)
		f.set("hit_ratio", 0.9, 100)
		f.after(40 * minute)
		f.set("error_ratio", 0.05, 100) // 5.19 points is 3.5 times the floor of the spread
		f.set("hit_ratio", 0.5, 100)    // less by less than half
		f.after(5 * minute)
		f.expect(t, "anomaly_error_ratio_value inactive, anomaly_hit_ratio_value inactive")
		f.set("error_ratio", 0.06, 100)
		f.set("hit_ratio", 0.4, 100)
		f.after(5 * minute)
		f.expect(t, "anomaly_error_ratio_value firing, anomaly_hit_ratio_value firing")
	})
}

func TestAnomalyIgnoresQuietMinutes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, nil, watching(Watched{Figure: "wait_seconds", Stat: "p95"}))
		f.set("wait_seconds", 1, leastSamples-1)
		f.after(2 * time.Hour)
		if s := f.Status()[0]; !strings.HasPrefix(s.Note, "9 samples") || s.Threshold != nil {
			t.Errorf("got %+v", s)
		}
	})
}

// TestScore compares with a calculation by hand: of 1 … 9 and 100 the median is
// 5.5 and the MAD 2.5.
func TestScore(t *testing.T) {
	c := Anomalies{Score: 3.5, MinChange: quantity("50%"), History: time.Hour}
	a := &alarm{watch: &watch{direction: Above}}
	for range 3 {
		for _, v := range []float64{9, 1, 100, 3, 2, 8, 4, 7, 6, 5} {
			a.remember(v, &c)
		}
	}
	a.compare(&c)
	if want := 5.5 + 3.5*2.5/0.6745; !a.judged || math.Abs(a.threshold-want) > 1e-9 || a.usual != 5.5 {
		t.Errorf("threshold %v, usual %v, want %v", a.threshold, a.usual, want)
	}
	for i := range 90 { // an hour keeps sixty
		a.remember(float64(i), &c)
	}
	if a.compare(&c); len(a.history) != 60 || a.usual != 59.5 {
		t.Errorf("%d values with median %v", len(a.history), a.usual)
	}
}

// TestFlatPast has a past without any spread, of which 5 % of the median is taken.
func TestFlatPast(t *testing.T) {
	c := Anomalies{Score: 3.5, MinChange: quantity("10%"), History: time.Hour}
	a := &alarm{watch: &watch{direction: Above}}
	for range leastPast {
		a.remember(2, &c)
	}
	a.compare(&c)
	if want := 2 + 3.5*0.1/0.6745; math.Abs(a.threshold-want) > 1e-9 {
		t.Errorf("threshold %v, want %v", a.threshold, want)
	}
}
