package perf

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// namespace begins the name of every figure.
const namespace = "sluice_"

// Registry holds the sources of figures and answers scrapes. It is safe for
// concurrent use.
type Registry struct {
	prom *prometheus.Registry

	mu      sync.RWMutex
	sources []registered

	examined sync.Mutex
	findings map[string]Finding // of the last examination
}

// registered is a source and the system whose figures it has.
type registered struct {
	system string
	source Source
}

// New makes a Registry that reports the process's and the Go runtime's
// figures; the rest joins through Register.
func New() *Registry {
	r := &Registry{prom: prometheus.NewRegistry()}
	r.prom.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		r,
	)
	return r
}

// Register adds a source to a system, under whose name its figures are shown
// together with those of the system's other sources. It stays until the returned
// function is called.
func (r *Registry) Register(system string, s Source) (unregister func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := registered{system, s}
	r.sources = append(r.sources, entry)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if i := slices.Index(r.sources, entry); i >= 0 {
			r.sources = slices.Delete(slices.Clone(r.sources), i, i+1)
		}
	}
}

// Each visits every source with its system, in the order of their registration.
func (r *Registry) Each(visit func(system string, s Source)) {
	r.mu.RLock()
	sources := r.sources
	r.mu.RUnlock()
	for _, s := range sources {
		visit(s.system, s.source)
	}
}

// Describe sends nothing: which figures there are depends on the sources.
func (r *Registry) Describe(chan<- *prometheus.Desc) {}

// Collect asks every source for its figures.
func (r *Registry) Collect(ch chan<- prometheus.Metric) {
	r.Each(func(_ string, s Source) { s.Figures(promReporter(ch)) })
}

// promReporter turns figures into Prometheus metrics.
type promReporter chan<- prometheus.Metric

func (p promReporter) Counter(name, help string, value float64, labels ...string) {
	p.send(name, help, prometheus.CounterValue, value, labels)
}

func (p promReporter) Gauge(name, help string, value float64, labels ...string) {
	p.send(name, help, prometheus.GaugeValue, value, labels)
}

func (p promReporter) Histogram(name, help string, h *Histogram, labels ...string) {
	desc, values := describe(name, help, labels)
	// A histogram of the library's own checks the labels.
	base, err := prometheus.NewConstHistogram(desc, 0, 0, nil, values...)
	p.keep(desc)(promHistogram{base, h.Distribution(), h.Exemplars()}, err)
}

// Ratio reports nothing: see Reporter.
func (p promReporter) Ratio(string, string, float64, float64, ...string) {}

func (p promReporter) send(name, help string, kind prometheus.ValueType, value float64, labels []string) {
	desc, values := describe(name, help, labels)
	p.keep(desc)(prometheus.NewConstMetric(desc, kind, value, values...))
}

// keep sends a metric, or the reason why there is none, so that a wrong label
// shows in the scrape's log and does not end the process.
func (p promReporter) keep(desc *prometheus.Desc) func(prometheus.Metric, error) {
	return func(m prometheus.Metric, err error) {
		if err != nil {
			m = prometheus.NewInvalidMetric(desc, err)
		}
		p <- m
	}
}

func describe(name, help string, labels []string) (desc *prometheus.Desc, values []string) {
	var names []string
	for i := 0; i+1 < len(labels); i += 2 {
		names = append(names, labels[i])
		values = append(values, Label(labels[i+1]))
	}
	return prometheus.NewDesc(namespace+name, help, names, nil), values
}
