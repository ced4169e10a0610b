package alarm

import (
	"bytes"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/perf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// figures is a Reader whose values a test sets, by "figure", or "figure/value" of
// the label "upstream".
type figures struct {
	during func() // called by Read; nil for nothing

	mu     sync.Mutex
	values map[string]reading
}

type reading struct {
	value   float64
	samples uint64
	hidden  bool // its label has the value, but Read finds nothing
}

func (f *figures) set(series string, value float64, samples uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.values == nil {
		f.values = make(map[string]reading)
	}
	f.values[series] = reading{value: value, samples: samples}
}

func (f *figures) remove(series string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.values, series)
}

func (f *figures) hide(series string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[series] = reading{hidden: true}
}

func (f *figures) Read(figure string, labels map[string]string, _ string, _ time.Duration) (float64, uint64, bool) {
	if f.during != nil {
		f.during()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if up := labels["upstream"]; up != "" {
		figure += "/" + up
	}
	r, ok := f.values[figure]
	return r.value, r.samples, ok && !r.hidden
}

func (f *figures) Values(figure, label string) (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for series := range maps.Keys(f.values) {
		if value, ok := strings.CutPrefix(series, figure+"/"); ok && label == "upstream" {
			list = append(list, value)
		}
	}
	return list
}

// fixture is a Set over figures, with the built-in rules off unless a test
// changes the configuration.
type fixture struct {
	*Set
	figures
	log *bytes.Buffer
}

func newFixture(t testing.TB, rules []Rule, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{log: new(bytes.Buffer)}
	cfg := Default()
	for _, b := range BuiltIn() {
		rules = append(rules, Rule{Name: b.Name, Off: true})
	}
	cfg.Alarms = rules
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	f.Set = New(cfg, Options{Reader: &f.figures, Logger: slog.New(slog.NewTextHandler(f.log, nil)), Instance: "host-1", Version: "1.2"})
	return f
}

// after lets time pass and looks as Run does.
func (f *fixture) after(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(lookEvery)
		f.look()
	}
}

// states gives the alarms as "name[/value] state", in the order of Status.
func (f *fixture) states() string {
	var list []string
	for _, s := range f.Status() {
		name := s.Name
		if up := s.Labels["upstream"]; up != "" {
			name += "/" + up
		}
		list = append(list, name+" "+s.State)
	}
	return strings.Join(list, ", ")
}

func (f *fixture) expect(t *testing.T, want string) {
	t.Helper()
	if got := f.states(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// collected is a perf.Reporter that keeps values by "name{label=value}".
type collected map[string]float64

func (c collected) Counter(name, _ string, v float64, labels ...string) { c.add(name, v, labels) }
func (c collected) Gauge(name, _ string, v float64, labels ...string)   { c.add(name, v, labels) }
func (c collected) Histogram(name, _ string, h *perf.Histogram, labels ...string) {
	c.add(name, float64(h.Distribution().Count), labels)
}
func (collected) Ratio(string, string, float64, float64, ...string) {}

func (c collected) add(name string, v float64, labels []string) {
	for pair := range slices.Chunk(labels, 2) {
		name += "{" + pair[0] + "=" + pair[1] + "}"
	}
	c[name] = v
}

// bubble is synctest.Test with a shorter name.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}
