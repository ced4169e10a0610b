package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"sluice/internal/config"
	"sluice/internal/dashboard"
	"sluice/internal/front"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/perf/access"
	"sluice/internal/perf/alarm"
	"sluice/internal/perf/otlp"
	"sluice/internal/perf/report"
	"sluice/internal/perf/timeline"
	"sluice/internal/perf/traffic"
)

// monitor is what watches the gateway. It lives as long as the gateway does,
// whatever configurations come; only the alarms are those of a configuration.
type monitor struct {
	figures  *perf.Registry
	log      *slog.Logger
	version  string
	traffic  *traffic.Traffic
	access   *access.Log    // nil where nobody takes its lines
	export   *otlp.Exporter // nil where no collector is named
	timeline *timeline.Timeline
	report   *report.Report

	mu     sync.Mutex
	ctx    context.Context // of what runs; nil before run
	tasks  sync.WaitGroup
	rules  alarm.Config
	alarms *alarm.Set
	forget func()             // takes their figures out
	cease  context.CancelFunc // ends them; nil before run

	last sharedReport
}

// observe makes the monitor and registers what it has to report.
func (g *Gateway) observe(cfg *config.Config) (*monitor, error) {
	m := &monitor{figures: g.figures, log: g.log, version: g.opts.Version, traffic: traffic.New()}
	var err error
	if m.timeline, err = timeline.New(g.figures, timeline.Options{Config: cfg.Perf.Config, Logger: g.log, StateDir: cfg.StateDir, Follow: dashboard.Follow}); err != nil {
		return nil, err
	}
	telemetry, on, err := otlp.FromEnv(os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("read telemetry's environment: %w", err)
	}
	if on {
		if m.export, err = otlp.New(telemetry, otlp.Options{Registry: g.figures, Logger: g.log, Version: g.opts.Version}); err != nil {
			return nil, err
		}
	}
	m.report = report.New(report.Options{
		Timeline: m.timeline, Registry: g.figures, Version: g.opts.Version, Started: g.started, Alarms: m.status, Large: g.large,
	})
	g.figures.Register("requests", m.traffic)
	g.figures.Register("memory", g.memory)
	g.figures.Register("memory", g.spools)
	if g.opts.AccessLog != nil {
		m.access = access.New(cfg.Log.Config, level(cfg.Log.Level), access.Options{Out: g.opts.AccessLog, JSON: cfg.Log.Format == "json"})
		g.figures.Register("log", m.access)
	}
	g.figures.Register("perf", m.timeline)
	if m.export != nil {
		g.figures.Register("telemetry", m.export)
	}
	m.alarm(cfg.Perf.Alarm)
	return m, nil
}

// level reads a log level that was checked.
func level(name string) (l slog.Level) {
	_ = l.UnmarshalText([]byte(name))
	return l
}

// alarm makes the alarms of a configuration, in place of those before. The
// monitor is locked, or nobody else's yet.
func (m *monitor) alarm(rules alarm.Config) {
	if m.alarms != nil {
		m.forget()
		if m.cease != nil {
			m.cease()
		}
	}
	host, _ := os.Hostname() // in messages, where it is a help and no more
	m.rules = rules
	m.alarms = alarm.New(rules, alarm.Options{Reader: m.timeline, Logger: m.log, Instance: host, Version: m.version})
	m.forget = m.figures.Register("alarms", m.alarms)
	if m.ctx != nil {
		m.watch()
	}
}

// watch runs the alarms until they are replaced or all ends. The monitor is
// locked.
func (m *monitor) watch() {
	ctx, cease := context.WithCancel(m.ctx)
	m.cease = cease
	set := m.alarms
	m.tasks.Go(func() { set.Run(ctx) })
}

// run watches until ctx is done. It is called once, after the timeline was
// started.
func (m *monitor) run(ctx context.Context) {
	m.mu.Lock()
	m.ctx = ctx
	m.watch()
	m.tasks.Go(func() { m.timeline.Run(ctx) })
	if m.export != nil {
		m.tasks.Go(func() { m.export.Run(ctx) })
	}
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock() // a reload may be starting other alarms
	defer m.mu.Unlock()
	m.tasks.Wait()
}

// use takes over what may change of the configuration.
func (m *monitor) use(cfg *config.Config) {
	if m.access != nil {
		m.access.Use(cfg.Log.Config, level(cfg.Log.Level))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timeline.Use(cfg.Perf.Config)
	// What is raised stays raised where nothing was changed about it.
	if !reflect.DeepEqual(m.rules, cfg.Perf.Alarm) && (m.ctx == nil || m.ctx.Err() == nil) {
		m.alarm(cfg.Perf.Alarm)
	}
}

// close ends what run does not: the log, after the last request.
func (m *monitor) close() {
	if m.access != nil {
		m.access.Close()
	}
}

// status gives the alarms for a report.
func (m *monitor) status() any {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.alarms.Status()
}

func (m *monitor) observers() []perf.Observer {
	list := []perf.Observer{m.traffic}
	if m.access != nil {
		list = append(list, m.access)
	}
	if m.export != nil {
		list = append(list, m.export)
	}
	return list
}

// tracer is who decides about spans, nil for nobody.
func (m *monitor) tracer() perf.Tracer {
	if m.export == nil {
		return nil
	}
	return m.export
}

func (m *monitor) wantsReplies() bool { return m.access != nil && m.access.WantsReplies() }

// routes are the requests that it answers.
func (m *monitor) routes() []front.Route {
	return []front.Route{
		{Method: "GET", Path: "/v1/performance", Handler: m.report},
		{Method: "GET", Path: "/v1/performance/live", Handler: llm.HandlerFunc(m.live), Live: true},
		{Method: "GET", Path: "/v1/performance/requests", Handler: front.JSON(m.recent)},
	}
}

// recent answers with the last requests.
func (m *monitor) recent(context.Context, *llm.Request) ([]byte, error) {
	return m.traffic.RecentJSON()
}

// liveEvery is the time between two reports of GET /v1/performance/live: that
// between two samples.
const liveEvery = 2 * time.Second

// live answers with a report at once, and then whenever there is a new one.
func (m *monitor) live(ctx context.Context, _ *llm.Request, out llm.Sink) error {
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	// Who comes gets what is known now, and then what others get too.
	begun := false
	for fresh := time.Now(); ; fresh = time.Now().Add(-liveEvery / 2) {
		event, err := m.last.event(m.report, fresh)
		if err == nil && !begun {
			begun = true
			err = out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1})
		}
		if err != nil {
			return err
		}
		if err := out.Send([]llm.Event{{Raw: event}}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sharedReport is the newest report, so that many who watch cost no more than one.
type sharedReport struct {
	mu   sync.Mutex
	made time.Time
	sse  []byte
}

// event gives a report that was not begun before a time, as a server-sent event.
// It is not modified.
func (s *sharedReport) event(r *report.Report, after time.Time) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sse != nil && !s.made.Before(after) {
		return s.sse, nil
	}
	begun := time.Now()
	b, err := r.Live()
	if err != nil {
		return nil, err
	}
	s.sse = fmt.Appendf(nil, "data: %s\n", b) // b ends its line
	s.made = begun
	return s.sse, nil
}
