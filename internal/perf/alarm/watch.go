package alarm

import (
	"cmp"
	"maps"
	"math"
	"strings"
	"time"
)

// watch is a rule with its defaults filled in, or a figure that is compared with
// its past, and its alarms.
type watch struct {
	kind, name, severity, figure, each, stat, direction, advice string

	labels           map[string]string
	window           time.Duration
	unit             unit
	minSamples       uint64
	threshold, clear float64 // of a rule
	hold, clearFor   time.Duration
	past             *Anomalies // nil of a rule

	asked  bool // by the configuration: not built in
	seen   bool // it had data once
	silent bool // it was told that there is no data
	full   bool // it was told that Each has too many values

	alarms map[string]*alarm // by the value of each, "" where there is no each
}

// defaultSamples is MinSamples where none is given.
const defaultSamples = 20

func newRule(r Rule, asked bool) *watch {
	w := &watch{
		kind: kindThreshold, name: r.Name, severity: cmp.Or(r.Severity, Warning), figure: r.Figure, each: r.Each,
		stat: cmp.Or(r.Stat, statValue), direction: Above, advice: r.Advice, labels: r.Labels, window: cmp.Or(r.Window, 5*time.Minute),
		threshold: r.Above.value, hold: asTime(r.For.or(30)), clearFor: asTime(r.ClearFor.or(60)), asked: asked,
		alarms: make(map[string]*alarm),
	}
	if r.Below.given() {
		w.direction, w.threshold = Below, r.Below.value
	}
	w.unit = unitOf(w.figure, w.stat)
	w.clear = r.Clear.or(w.inside())
	// What counts or measures one thing is known from its first sample on.
	if w.stat != statRate && w.stat != statCount && (w.stat != statValue || strings.HasSuffix(w.figure, "_ratio")) {
		w.minSamples = cmp.Or(uint64(r.MinSamples), defaultSamples)
	}
	return w
}

// inside is the value that lies 10 % inside the threshold; of a ratio whose
// threshold is near 1 it lies half way to 1, which it can reach.
func (w *watch) inside() float64 {
	margin := math.Abs(w.threshold) / 10
	switch {
	case w.direction == Above:
		return w.threshold - margin
	case w.unit == share && w.threshold <= 1:
		return min(w.threshold+margin, (w.threshold+1)/2)
	default:
		return w.threshold + margin
	}
}

func asTime(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// labelsOf are the labels of the series that an alarm is of.
func (w *watch) labelsOf(value string) map[string]string {
	labels := make(map[string]string, len(w.labels)+1)
	maps.Copy(labels, w.labels)
	if w.each != "" && value != "" {
		labels[w.each] = value
	}
	return labels
}

// verdict is what a value says.
type verdict uint8

const (
	unknown verdict = iota
	calm            // at the value that clears, or inside
	between         // neither: nothing changes
	crossed
)

func (w *watch) verdict(value, threshold, clear float64) verdict {
	if w.direction == Below {
		value, threshold, clear = -value, -threshold, -clear
	}
	switch {
	case value > threshold:
		return crossed
	case value <= clear:
		return calm
	}
	return between
}

// alarm is the state of a watch, or of one value of its each.
type alarm struct {
	watch  *watch
	of     string // value of each
	labels map[string]string

	state    string
	since    time.Time // it has been in state
	began    time.Time // the threshold has been crossed, or was the last time
	raisedAt time.Time
	cause    string // message as it was when it was raised

	known   bool // the value is
	value   float64
	samples uint64
	note    string    // why it is not
	dark    time.Time // since when it is not

	judged           bool // threshold and clear are known
	threshold, clear float64
	usual            float64
	history          []float64 // one value a minute
	next             int       // the oldest of it, when it is full
}

func (a *alarm) raised() bool { return a.state == firing || a.state == clearing }

// noData is how long an alarm stays raised although nothing is known of its
// figure any more.
const noData = 5 * time.Minute

// change is what a step did to an alarm.
type change uint8

const (
	none change = iota
	raised
	cleared
)

// step follows the alarm's state to what is known at a time.
func (a *alarm) step(now time.Time, v verdict) change {
	if v == unknown {
		return a.dim(now)
	}
	a.dark = time.Time{}
	switch {
	case a.state == inactive && v == crossed:
		a.enter(pending, now)
		a.began = now
	case a.state == pending && v != crossed:
		a.enter(inactive, now)
	case a.state == firing && v == calm:
		a.enter(clearing, now)
	case a.state == clearing && v != calm:
		a.enter(firing, now)
	}
	held := now.Sub(a.since)
	switch {
	case a.state == pending && held >= a.watch.hold:
		a.enter(firing, now)
		a.raisedAt, a.cause = now, a.message()
		return raised
	case a.state == clearing && held >= a.watch.clearFor:
		a.enter(inactive, now)
		return cleared
	}
	return none
}

// dim is step for when nothing is known: neither holds any more, and what is
// raised stays for noData.
func (a *alarm) dim(now time.Time) change {
	if a.dark.IsZero() {
		a.dark = now
	}
	switch {
	case a.state == pending:
		a.enter(inactive, now)
	case a.state == clearing:
		a.enter(firing, now)
	case a.state == firing && now.Sub(a.dark) >= noData:
		a.enter(inactive, now)
		return cleared
	}
	return none
}

func (a *alarm) enter(state string, now time.Time) { a.state, a.since = state, now }
