// Package report writes what a perf.Registry and its timeline know: as the JSON
// of GET /v1/performance, whose fields docs/performance.md lists, or as a table
// for people.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/perf/timeline"
)

// Options are what a Report tells of.
type Options struct {
	Timeline *timeline.Timeline
	Registry *perf.Registry // whose components are examined
	Version  string
	Started  time.Time

	// Alarms gives the alarms, a list whose items become JSON objects with at
	// least a name and a state; nil where there are none.
	Alarms func() any

	// Large gives what is large and held in memory; nil where nobody knows of it.
	Large func() []Large
}

// Large is something large that is held in memory.
type Large struct {
	Part  string    `json:"part"` // as request_body
	ID    string    `json:"request_id,omitempty"`
	Bytes int64     `json:"bytes"`
	Since time.Time `json:"since"`
}

// Report writes reports. It is safe for concurrent use.
type Report struct{ o Options }

// New makes a Report.
func New(o Options) *Report { return &Report{o} }

// The content types of reports.
const (
	typeJSON = "application/json"
	typeText = "text/plain; charset=utf-8"
)

// Serve answers GET /v1/performance, as an llm.Handler. Of the query it takes
// window, one of timeline.Windows, to tell of that one alone, format, json or
// text, and all, 1 to have a text with the rows that are all zero. Any other value
// of these is an *llm.Error with status 400.
func (r *Report) Serve(_ context.Context, req *llm.Request, out llm.Sink) error {
	body, contentType, err := r.write(req.RawQuery)
	if err != nil {
		return err
	}
	return llm.SendWhole(out, contentType, body)
}

func (r *Report) write(rawQuery string) (body []byte, contentType string, err error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, "", llm.Errorf(400, "invalid_query", "The query of this request cannot be read: %v.", err)
	}
	windows := timeline.Windows()
	if query.Has("window") {
		w, err := timeline.ParseWindow(query.Get("window"))
		if err != nil {
			return nil, "", wrong("window", "%v. Leave it out to get all.", err)
		}
		windows = []timeline.Window{w}
	}
	format := query.Get("format")
	switch {
	case query.Has("all") && query.Get("all") != "1" && query.Get("all") != "0":
		return nil, "", wrong("all", "all %q is none of 0, 1.", query.Get("all"))
	case format == "json" || !query.Has("format"):
		body, err = r.json(windows, true)
		return body, typeJSON, err
	case format == "text":
		body, err = r.text(windows, query.Get("all") == "1")
		return body, typeText, err
	}
	return nil, "", wrong("format", "format %q is none of json, text.", format)
}

// wrong is the error of a wrong value in the query.
func wrong(param, format string, args ...any) error {
	e := llm.Errorf(400, "invalid_value", "Wrong query: "+format, args...)
	e.Param = param
	return e
}

// Live gives the report as JSON on one line, with all windows and without the
// history.
func (r *Report) Live() ([]byte, error) { return r.json(timeline.Windows(), false) }

func (r *Report) json(windows []timeline.Window, history bool) ([]byte, error) {
	b, err := json.Marshal(r.build(windows))
	if err != nil {
		return nil, fmt.Errorf("write report of performance: %w", err)
	}
	if history {
		b = append(b[:len(b)-1], `,"recent":`...)
		interval, points := r.o.Timeline.Recent()
		b = append(appendPoints(b, interval, points), `,"history":`...)
		interval, points = r.o.Timeline.History()
		b = append(appendPoints(b, interval, points), '}')
	}
	return append(b, '\n'), nil
}

// document is the report without the history.
type document struct {
	Object     string                       `json:"object"`
	Version    string                       `json:"version"`
	Time       time.Time                    `json:"time"`
	Started    time.Time                    `json:"started"`
	Uptime     float64                      `json:"uptime_seconds"`
	Status     string                       `json:"status"`
	Summary    summary                      `json:"summary"`
	Systems    map[string]map[string]figure `json:"systems"`
	Components []Component                  `json:"components"`
	Alarms     any                          `json:"alarms,omitempty"`
	Large      []Large                      `json:"large_objects,omitempty"`
}

func (r *Report) build(windows []timeline.Window) *document {
	r.o.Timeline.Refresh()
	health := r.o.Registry.Examine()
	figures := r.o.Timeline.Snapshot(windows...)
	now := time.Now()
	d := &document{
		Object: "performance", Version: r.o.Version, Time: now.UTC(), Started: r.o.Started.UTC(), Uptime: now.Sub(r.o.Started).Seconds(),
		Status: health.State.String(), Components: Components(health),
		Systems: make(map[string]map[string]figure),
	}
	z := summarizer{r.o.Timeline, windows, make(map[string]*timeline.Figure, len(figures))}
	for i := range figures {
		f := &figures[i]
		z.figures[f.Name] = f
		if d.Systems[f.System] == nil {
			d.Systems[f.System] = make(map[string]figure)
		}
		d.Systems[f.System][f.Name] = show(f, windows)
	}
	d.Summary = z.summary()
	if r.o.Alarms != nil {
		d.Alarms = r.o.Alarms()
	}
	if r.o.Large != nil {
		d.Large = r.o.Large()
	}
	return d
}

// Component is a perf.Finding as it stands in replies.
type Component struct {
	Name        string     `json:"name"`
	Status      string     `json:"status"`
	Since       time.Time  `json:"since"`
	LastError   string     `json:"last_error,omitempty"`
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
	Advice      string     `json:"advice,omitempty"`
}

// Components gives the findings as they stand in replies.
func Components(h perf.Health) []Component {
	list := make([]Component, len(h.Findings))
	for i, f := range h.Findings {
		list[i] = Component{Name: f.Component, Status: f.State.String(), Since: f.Since.UTC(), LastError: f.Error, Advice: f.Advice}
		if !f.ErrorAt.IsZero() {
			at := f.ErrorAt.UTC()
			list[i].LastErrorAt = &at
		}
	}
	return list
}
