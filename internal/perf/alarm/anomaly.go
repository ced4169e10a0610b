package alarm

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	anomalyPrefix = "anomaly_"

	// minute is the time between two values of a figure's past, and the window
	// that each is of.
	minute = time.Minute
	// leastPast is how many values make a past.
	leastPast = 30
	// leastSamples is how many observations a value of a minute rests on.
	leastSamples = 10

	// Three unusual values in a row raise, five usual ones in a row clear: the
	// times between the first and the last of them, with half a minute to spare.
	unusualFor = 2*minute - minute/2
	usualFor   = 4*minute - minute/2
)

func (w Watched) name() string {
	return anomalyPrefix + w.Figure + "_" + cmp.Or(w.Stat, statValue)
}

func newAnomaly(f Watched, c *Anomalies) *watch {
	w := &watch{
		kind: kindAnomaly, name: f.name(), severity: Warning, figure: f.Figure, each: f.Each, stat: cmp.Or(f.Stat, statValue),
		direction: cmp.Or(f.Direction, Above), labels: f.Labels, window: minute, minSamples: leastSamples,
		hold: unusualFor, clearFor: usualFor, past: c, asked: true, alarms: make(map[string]*alarm),
		advice: "This differs from the last hours. Look at what changed in the load, in the upstreams or in the configuration.",
	}
	w.unit = unitOf(w.figure, w.stat)
	if w.stat == statRate || w.stat == statCount {
		w.minSamples = 0
	}
	return w
}

// compare sets the threshold to the least value that is unusual beside the
// alarm's past, by the modified z-score of Iglewicz and Hoaglin (How to Detect
// and Handle Outliers, 1993): 0.6745 (x - median) / MAD, where MAD is the median
// of the absolute deviations from the median. Half of the past may be unusual
// itself without moving it far.
//
// The MAD counts as at least 5 % of the median, since a past that hardly varied
// would make every value unusual, and at least a percentage point of a ratio,
// whose usual value may be 0.
func (a *alarm) compare(c *Anomalies) {
	a.judged = len(a.history) >= leastPast
	if !a.judged {
		return
	}
	sorted := slices.Sorted(slices.Values(a.history))
	a.usual = median(sorted)
	for i, v := range sorted {
		sorted[i] = math.Abs(v - a.usual)
	}
	slices.Sort(sorted)
	mad := max(median(sorted), math.Abs(a.usual)*0.05)
	if a.watch.unit == share {
		mad = max(mad, 0.01)
	}
	distance := max(c.Score*mad/0.6745, math.Abs(a.usual)*c.MinChange.value)
	if a.watch.direction == Below {
		distance = -distance
	}
	a.threshold = a.usual + distance
	a.clear = a.threshold
}

// median of sorted values, at least one.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// remember adds a value to the past, in place of the oldest when it is full.
func (a *alarm) remember(v float64, c *Anomalies) {
	if most := int(c.History / minute); len(a.history) < most {
		a.history = append(a.history, v)
		return
	}
	a.history[a.next] = v
	a.next = (a.next + 1) % len(a.history)
}
