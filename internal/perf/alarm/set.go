package alarm

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"
)

// Reader knows figures over time. It is called from one goroutine.
type Reader interface {
	// Read gives a statistic of the series of a figure whose labels match, taken
	// together, over the last window, and how many observations it rests on. ok is
	// false where it is not known.
	Read(figure string, labels map[string]string, stat string, window time.Duration) (value float64, samples uint64, ok bool)
	// Values lists the values that a label of a figure has.
	Values(figure, label string) []string
}

// Options are what a Set needs besides its Config.
type Options struct {
	Reader   Reader
	Logger   *slog.Logger
	Instance string // which of several machines this is, in messages; "" for none
	Version  string
}

const (
	// lookEvery is the time between two looks at the figures.
	lookEvery = 5 * time.Second
	// silentAfter is when a rule that had no data at all is told of.
	silentAfter = 10 * time.Minute
)

// Set is all alarms. It is a perf.Source and perf.Examined, and safe for
// concurrent use.
type Set struct {
	o       Options
	watches []*watch
	hooks   []*hook
	begun   time.Time
	looks   int

	mu     sync.Mutex        // of what is below; not held while figures are read
	alarms []*alarm          // by name and value
	raises map[string]uint64 // by name
}

// New makes a Set of a valid configuration. Its alarms are inactive, whatever they
// were before a restart.
func New(cfg Config, o Options) *Set {
	s := &Set{o: o, begun: time.Now(), raises: make(map[string]uint64)}
	for _, r := range cfg.rules() {
		asked := slices.ContainsFunc(cfg.Alarms, func(own Rule) bool { return own.Name == r.Name })
		s.watches = append(s.watches, newRule(r, asked))
	}
	if cfg.Anomalies.Enabled {
		for _, f := range cfg.Anomalies.Figures {
			s.watches = append(s.watches, newAnomaly(f, &cfg.Anomalies))
		}
	}
	for _, w := range s.watches {
		s.raises[w.name] = 0
		if w.each == "" {
			s.follow(w, "")
		}
	}
	s.hooks = newHooks(cfg, o)
	return s
}

// follow makes the alarm of a value of a watch's label.
func (s *Set) follow(w *watch, value string) *alarm {
	a := &alarm{watch: w, of: value, labels: w.labelsOf(value), state: inactive, since: time.Now(), note: "no data"}
	a.judged, a.threshold, a.clear = w.past == nil, w.threshold, w.clear
	s.mu.Lock()
	defer s.mu.Unlock()
	w.alarms[value] = a
	s.alarms = append(s.alarms, a)
	slices.SortFunc(s.alarms, func(a, b *alarm) int {
		return cmp.Or(cmp.Compare(a.watch.name, b.watch.name), cmp.Compare(a.of, b.of))
	})
	return a
}

// Run looks at the figures and delivers messages until ctx is done. What is not
// delivered then is dropped.
func (s *Set) Run(ctx context.Context) {
	var hooks sync.WaitGroup
	for _, h := range s.hooks {
		hooks.Go(func() { h.run(ctx) })
	}
	defer hooks.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.look()
		}
	}
}

// look judges all figures, those that are compared with their past once a
// minute.
func (s *Set) look() {
	s.looks++
	full := s.looks%int(minute/lookEvery) == 0
	now := time.Now()
	for _, w := range s.watches {
		if w.past != nil && !full {
			continue
		}
		for _, value := range s.values(w) {
			s.judge(w, value, now)
		}
		if !w.seen && !w.silent && w.asked && now.Sub(s.begun) >= silentAfter {
			w.silent = true
			s.o.Logger.Warn("alarm has had no data yet: is there such a figure in /metrics?", "alarm", w.name, "figure", w.figure,
				"labels", w.labels, "stat", w.stat)
		}
	}
}

// values are those of the watch's label, with those that are followed although
// they are not there any more.
func (s *Set) values(w *watch) []string {
	if w.each == "" {
		return []string{""}
	}
	now := s.o.Reader.Values(w.figure, w.each)
	list := slices.Collect(maps.Keys(w.alarms))
	for _, value := range list {
		if a := w.alarms[value]; !a.raised() && !slices.Contains(now, value) {
			s.unfollow(a)
		}
	}
	list = slices.Sorted(maps.Keys(w.alarms))
	for _, value := range slices.Sorted(slices.Values(now)) {
		switch {
		case w.alarms[value] != nil || value == "":
		case len(list) < MaxEach:
			list = append(list, value)
		case !w.full:
			w.full = true
			s.o.Logger.Warn("alarm follows only some values of its label", "alarm", w.name, "each", w.each, "followed", MaxEach)
		}
	}
	return list
}

// unfollow forgets an alarm that is not raised.
func (s *Set) unfollow(a *alarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(a.watch.alarms, a.of)
	s.alarms = slices.DeleteFunc(s.alarms, func(b *alarm) bool { return a == b })
}

// judge reads a figure and follows its alarm.
func (s *Set) judge(w *watch, value string, now time.Time) {
	a := w.alarms[value]
	v, samples, ok := s.o.Reader.Read(w.figure, w.labelsOf(value), w.stat, w.window)
	if a == nil && !ok { // a series with other labels than those asked for
		return
	}
	if a == nil {
		a = s.follow(w, value)
	}
	w.seen = w.seen || ok
	s.mu.Lock()
	what := a.observe(v, samples, ok, now)
	if what == raised {
		s.raises[w.name]++
	}
	e := event{Status: a.status(), key: w.name + "\x00" + value}
	if what == cleared {
		e.Event, e.RaisedAt, e.Message, e.at = "cleared", new(a.raisedAt.UTC()), a.message(), now
	} else {
		e.Event, e.at = "raised", now
	}
	s.mu.Unlock()
	if what != none {
		s.tell(e)
	}
}

// observe judges what was read.
func (a *alarm) observe(v float64, samples uint64, ok bool, now time.Time) change {
	w := a.watch
	a.known = ok && samples >= w.minSamples
	switch {
	case !ok:
		a.note = "no data"
	case !a.known:
		a.note = fmt.Sprintf("%d samples, of at least %d", samples, w.minSamples)
	default:
		a.value, a.samples, a.note = v, samples, ""
	}
	if !a.known {
		return a.step(now, unknown)
	}
	if w.past != nil {
		a.compare(w.past)
		a.remember(v, w.past)
	}
	if !a.judged {
		a.note = fmt.Sprintf("a past of %d values, of at least %d", len(a.history), leastPast)
		return none
	}
	return a.step(now, w.verdict(v, a.threshold, a.clear))
}

// tell writes to the log and to the webhooks.
func (s *Set) tell(e event) {
	level, what := slog.LevelWarn, "alarm raised"
	if e.Event == "cleared" {
		level, what = slog.LevelInfo, "alarm cleared"
	}
	attrs := []any{"alarm", e.Name, "severity", e.Severity, "why", e.Message}
	if e.Value != nil {
		attrs = append(attrs, "value", *e.Value)
	}
	attrs = append(attrs, "threshold", *e.Threshold, "labels", e.Labels)
	if e.Advice != "" && e.Event == "raised" {
		attrs = append(attrs, "advice", e.Advice)
	}
	s.o.Logger.Log(context.Background(), level, what, attrs...)
	for _, h := range s.hooks {
		h.put(e)
	}
}

// Status tells of all alarms, by name and then by the value of their label. A rule
// with a label that has no values yet is there once, without it.
func (s *Set) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, 0, len(s.alarms))
	for _, a := range s.alarms {
		list = append(list, a.status())
	}
	for _, w := range s.watches {
		if len(w.alarms) == 0 {
			a := alarm{watch: w, labels: w.labelsOf(""), state: inactive, since: s.begun, note: "no data"}
			list = append(list, a.status())
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}
