package report

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/perf/timeline"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway reports the figures of the summary, and some of every kind.
type gateway struct {
	mu                     sync.Mutex
	requests, failed, hits float64
	response, sizes        perf.Histogram
}

func (g *gateway) Figures(r perf.Reporter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.Counter("requests_total", "Requests.", g.requests-g.failed, "operation", "chat", "status", "2xx")
	if g.failed > 0 {
		r.Counter("requests_total", "Requests.", g.failed, "operation", "chat", "status", "5xx")
	}
	r.Ratio("request_error_ratio", "Part that failed.", g.failed, g.requests)
	r.Gauge("requests_in_flight", "Under way.", 2)
	r.Gauge("cache_bytes", "Bytes.", 3<<20)
	for class, n := range map[string]float64{"cut": g.failed, "timeout": 0} {
		r.Counter("requests_failed_total", "Failed.", n, "operation", "chat", "class", class)
	}
	r.Gauge("process_resident_bytes", "Bytes.", 90<<20)
	r.Counter("go_gc_cycles_total", "Cycles.", 7)
	r.Gauge("client_connections_open", "Open.", 3)
	r.Gauge("upstream_connections_open", "Open.", 2, "upstream", "a")
	r.Gauge("upstream_connections_open", "Open.", 4, "upstream", "b")
	r.Ratio("upstream_connection_reuse_ratio", "Reused.", g.requests/2, g.requests, "upstream", "a")
	r.Histogram("request_duration_seconds", "Time.", &g.response, "operation", "chat")
	r.Histogram("model_tokens", "Tokens.", &g.sizes, "model", `a"b`)
	r.Counter("cache_requests_total", "Look-ups.", g.hits, "result", "hit")
	r.Counter("cache_requests_total", "Look-ups.", 1, "result", "coalesced")
	r.Counter("cache_requests_total", "Look-ups.", 5, "result", "miss")
}

func (g *gateway) Examine(report func(perf.Condition)) {
	report(perf.Condition{Component: "redis", State: perf.Degraded, Error: "no route", Advice: "Look."})
	report(perf.Condition{Component: "upstream/a"})
}

// run lets a report tell of a gateway while f runs.
func run(t *testing.T, change func(*Options), f func(*Report, *gateway)) {
	synctest.Test(t, func(t *testing.T) {
		g, reg := &gateway{}, perf.New()
		reg.Register("requests", g)
		o := Options{Registry: reg, Version: "1.2.3", Started: time.Now()}
		var err error
		if o.Timeline, err = timeline.New(reg, timeline.Options{Config: timeline.Default()}); err != nil {
			t.Fatal(err)
		}
		reg.Register("perf", o.Timeline)
		if change != nil {
			change(&o)
		}
		ctx, stop := context.WithCancel(context.Background())
		var done sync.WaitGroup
		defer done.Wait()
		defer stop()
		done.Go(func() { o.Timeline.Run(ctx) })
		synctest.Wait()
		f(New(o), g)
	})
}

func (g *gateway) work() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests, g.failed, g.hits = 40, 10, 3
	for range 40 {
		g.response.Observe(100 * time.Millisecond)
		g.sizes.ObserveCount(7)
	}
}

func ask(t *testing.T, r *Report, query string) string {
	t.Helper()
	return string(testkit.Ask(t, r, &llm.Request{Method: "GET", Path: "/v1/performance", RawQuery: query}).Body)
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("../../../docs/performance.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, body string) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, body)
	}
}

// The schema is true of reports young and old, of all windows and of one, with
// and without a history, alarms and a system that has left.
func TestSchema(t *testing.T) {
	s := schema(t)
	alarms := func(o *Options) {
		o.Large = func() []Large {
			return []Large{{Part: "request_body", ID: "req_1", Bytes: 5 << 20, Since: time.Now().UTC()}, {Part: "reply", Bytes: 2 << 20, Since: time.Now().UTC()}}
		}
		o.Alarms = func() any { return []map[string]any{{"name": "slow", "state": "firing", "message": "P99 is 1 s"}} }
	}
	run(t, alarms, func(r *Report, g *gateway) {
		validate(t, s, ask(t, r, ""))
		g.work()
		time.Sleep(10 * time.Minute)
		leave := r.o.Registry.Register("gone", &other{})
		time.Sleep(2 * time.Second)
		leave()
		time.Sleep(2 * time.Second)
		for _, query := range []string{"", "window=1m", "window=1h&format=json"} {
			validate(t, s, ask(t, r, query))
		}
		b, err := r.Live()
		if err != nil || strings.Contains(string(b), `"history"`) || bytes.Count(b, []byte("\n")) != 1 {
			t.Errorf("%v: %s", err, b)
		}
		validate(t, s, string(b))
	})
	// And it is not true of anything.
	for _, bad := range []string{
		`{}`, `{"object":"performance","version":"","time":"2026-01-01T00:00:00Z","started":"yesterday","uptime_seconds":1,"status":"healthy","summary":{},"systems":{},"components":[]}`,
		`{"object":"performance","version":"","time":"2026-01-01T00:00:00Z","started":"2026-01-01T00:00:00Z","uptime_seconds":1,"status":"healthy","summary":{},"components":[],
		  "systems":{"a":{"n":{"kind":"gauge","unit":"","help":"","series":[{"labels":{},"total":1}]}}}}`,
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil || s.Validate(v) == nil {
			t.Errorf("%v; valid: %s", err, bad)
		}
	}
}

type other struct{}

func (*other) Figures(r perf.Reporter) {
	var h perf.Histogram
	h.Observe(time.Second)
	r.Gauge("gone", "", 1)
	r.Counter("gone_total", "", 1)
	r.Histogram("gone_seconds", "", &h)
	r.Ratio("gone_ratio", "", 1, 2)
}

// The whole report, to the byte, but for what time it is.
func TestReport(t *testing.T) {
	run(t, nil, func(r *Report, g *gateway) {
		time.Sleep(time.Second)
		g.work()
		time.Sleep(9 * time.Second)
		synctest.Wait()
		var got struct {
			Status, Version string
			Uptime          float64 `json:"uptime_seconds"`
			Summary         json.RawMessage
			Systems         map[string]map[string]json.RawMessage
			Components      json.RawMessage
		}
		if err := json.Unmarshal([]byte(ask(t, r, "window=1m")), &got); err != nil {
			t.Fatal(err)
		}
		const spread = `{"count":40,"per_second":4,"mean":0.1,"p50":0.0995714,"p90":0.0995714,"p95":0.0995714,"p99":0.0995714,"max":0.0995714}`
		for what, c := range map[string][2]string{
			"head": {got.Status + " " + got.Version, "degraded 1.2.3"},
			"summary": {string(got.Summary), `{"requests":{"total":40,"in_flight":2,"windows":{"1m":{"count":40,"per_second":4,"error_ratio":0.25,"by_status":{"2xx":30,"5xx":10}}}},` +
				`"failed":{"total":{"cut":10,"timeout":0},"windows":{"1m":{"cut":10,"timeout":0}}},` +
				`"response_seconds":{"1m":` + spread + `},"saved":{"upstream_calls":4},"memory":{"resident_bytes":94371840,"cache_bytes":3145728},` +
				`"gc":{"cycles":7},"connections":{"clients":3,"upstream_open":6,"reuse_ratio":{"1m":0.5}}}`},
			"gauge":     {string(got.Systems["requests"]["cache_bytes"]), `{"kind":"gauge","unit":"bytes","help":"Bytes.","series":[{"labels":{},"value":3145728}]}`},
			"ratio":     {string(got.Systems["requests"]["request_error_ratio"]), `{"kind":"ratio","unit":"ratio","help":"Part that failed.","series":[{"labels":{},"windows":{"1m":{"value":0.25,"whole":40}}}]}`},
			"histogram": {string(got.Systems["requests"]["request_duration_seconds"]), `{"kind":"histogram","unit":"seconds","help":"Time.","series":[{"labels":{"operation":"chat"},"count":40,"sum":4,"windows":{"1m":` + spread + `}}]}`},
			"counter": {string(got.Systems["requests"]["requests_total"]), `{"kind":"counter","unit":"","help":"Requests.","series":[` +
				`{"labels":{"operation":"chat","status":"2xx"},"total":30,"windows":{"1m":{"count":30,"per_second":3}}},` +
				`{"labels":{"operation":"chat","status":"5xx"},"total":10,"windows":{"1m":{"count":10,"per_second":1}}}]}`},
			"components": {string(got.Components), `[{"name":"redis","status":"degraded","since":"2000-01-01T00:00:10Z","last_error":"no route","last_error_at":"2000-01-01T00:00:10Z","advice":"Look."},` +
				`{"name":"upstream/a","status":"healthy","since":"2000-01-01T00:00:10Z"}]`},
		} {
			if c[0] != c[1] {
				t.Errorf("%s: got %s\nwant %s", what, c[0], c[1])
			}
		}
		if got.Uptime != 10 || got.Systems["perf"]["timeline_series"] == nil {
			t.Errorf("up %g; own figures %s", got.Uptime, got.Systems["perf"])
		}
	})
}

// The documentation has every field that the schema has; it leaves those of
// alarms to theirs.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("../../../docs/performance.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	fields := 0
	var walk func(node map[string]any)
	walk = func(node map[string]any) {
		for key, v := range node {
			child, ok := v.(map[string]any)
			if !ok || key == "alarm" || key == "component" {
				continue
			}
			if key == "properties" {
				for name := range child {
					if fields++; !regexp.MustCompile("`[^`\n]*\\b" + name + "\\b").Match(page) {
						t.Errorf("%s is not documented", name)
					}
				}
			}
			walk(child)
		}
	}
	walk(root)
	if fields < 40 {
		t.Errorf("only %d fields were looked for", fields)
	}
}

// A report knows what ended before it was asked for, in all windows and formats.
func TestReportIsFresh(t *testing.T) {
	run(t, nil, func(r *Report, g *gateway) {
		time.Sleep(time.Millisecond) // the process is that young
		g.work()
		live, err := r.Live()
		for _, body := range []string{ask(t, r, ""), string(live)} {
			var got struct{ Summary summary }
			if jerr := json.Unmarshal([]byte(body), &got); err != nil || jerr != nil {
				t.Fatal(err, jerr)
			}
			for _, w := range timeline.Windows() {
				if s := got.Summary; s.Requests.Total != 40 || s.Requests.Windows[w.Name].Count != 40 || s.Response[w.Name].Count != 40 || s.Failed.Windows[w.Name]["cut"] != 10 {
					t.Errorf("%s: %+v", w.Name, s)
				}
			}
		}
		if got := ask(t, r, "format=text&window=1h"); !strings.Contains(got, "P99       99.6 ms") {
			t.Error(got)
		}
	})
}

// What nobody reports is not there: no zero, no empty object.
func TestNothing(t *testing.T) {
	run(t, nil, func(r *Report, _ *gateway) {
		r.o.Timeline, _ = timeline.New(perf.New(), timeline.Options{Config: timeline.Default()})
		if got := ask(t, r, ""); !strings.Contains(got, `"summary":{},"systems":{},`) || strings.Contains(got, "alarms") {
			t.Error(got)
		}
	})
}

func TestWrongQuery(t *testing.T) {
	run(t, nil, func(r *Report, _ *gateway) {
		for query, param := range map[string]string{"window=": "window", "window=2m": "window", "window=1m&format=xml": "format", "format=text&all=2": "all", "format=text&all": "all", "format=": "format", "a=%zz": ""} {
			err := r.Serve(context.Background(), &llm.Request{RawQuery: query}, new(testkit.Reply))
			if e := llm.AsError(err); e.Status != 400 || e.Param != param {
				t.Errorf("%q: %v", query, err)
			}
		}
	})
}

// Where points come more often than at the default interval, some stand for all,
// at the same distance and up to the newest one.
func TestHistoryIsThinned(t *testing.T) {
	often := func(o *Options) {
		var err error
		o.Timeline, err = timeline.New(o.Registry, timeline.Options{Config: timeline.Config{ReportInterval: 10 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
	}
	run(t, often, func(r *Report, g *gateway) {
		g.work()
		time.Sleep(2*time.Hour + time.Second) // 720 points
		var got struct {
			History struct {
				Interval float64 `json:"interval_seconds"`
				Points   []struct {
					Time    time.Time
					Figures map[string]float64
				}
			}
		}
		body := ask(t, r, "")
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		h := got.History
		if h.Interval != 30 || len(h.Points) != 240 || time.Since(h.Points[239].Time) != time.Second || h.Points[1].Time.Sub(h.Points[0].Time) != 30*time.Second {
			t.Errorf("%d points, every %g s", len(h.Points), h.Interval)
		}
		if f := h.Points[239].Figures; f["cache_bytes"] != 3<<20 || f["requests_total.rate"] != 0 {
			t.Errorf("figures %v", f)
		}
		validate(t, schema(t), body)
	})
}
