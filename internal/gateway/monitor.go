package gateway

import (
	"log/slog"
	"net/http"

	"sluice/internal/config"
	"sluice/internal/front"
	"sluice/internal/perf"
	"sluice/internal/perf/access"
	"sluice/internal/perf/traffic"
)

// monitor is what watches the gateway. It lives as long as the gateway does,
// whatever configurations come.
type monitor struct {
	traffic *traffic.Traffic
	access  *access.Log // nil where nobody takes its lines
}

// observe makes the monitor and registers what it has to report.
func (g *Gateway) observe(cfg *config.Config) *monitor {
	m := &monitor{traffic: traffic.New()}
	g.figures.Register("requests", m.traffic)
	if g.opts.AccessLog != nil {
		m.access = access.New(cfg.Log.Config, level(cfg.Log.Level), access.Options{Out: g.opts.AccessLog, JSON: cfg.Log.Format == "json"})
		g.figures.Register("requests", m.access)
	}
	return m
}

// level reads a log level that was checked.
func level(name string) (l slog.Level) {
	_ = l.UnmarshalText([]byte(name))
	return l
}

func (m *monitor) observers() []perf.Observer {
	list := []perf.Observer{m.traffic}
	if m.access != nil {
		list = append(list, m.access)
	}
	return list
}

func (m *monitor) wantsReplies() bool { return m.access != nil && m.access.WantsReplies() }

// use takes over what may change of the configuration.
func (m *monitor) use(cfg *config.Config) {
	if m.access != nil {
		m.access.Use(cfg.Log.Config, level(cfg.Log.Level))
	}
}

// close ends it after the last request.
func (m *monitor) close() {
	if m.access != nil {
		m.access.Close()
	}
}

// routes are the requests that it answers.
func (m *monitor) routes() []front.Route {
	return []front.Route{
		{Method: "GET", Path: "/v1/performance/requests", Serve: func(*http.Request) ([]byte, error) { return m.traffic.RecentJSON() }},
	}
}

