package alarm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"sluice/internal/llm"
)

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	c.Alarms = BuiltIn() // which are checked as any rule is
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestConfigKeys(t *testing.T) {
	var c Config
	err := yaml.UnmarshalWithOptions([]byte(`
alarms:
  - {name: slow, figure: upstream_wait_seconds, each: upstream, stat: p99, window: 5m, above: 2s, clear: 1.5s, for: 0s, clear_for: 2m,
     min_samples: 5, severity: critical, advice: "Look.", labels: {model: m}}
  - {name: memory, off: true}
  - {name: hits, figure: cache_hit_ratio, below: 90%}
webhooks:
  - {url: "https://chat.example/T/secret", format: slack, secret: s, min_interval: 5s, headers: {X-Team: a}}
anomalies: {enabled: true, history: 2h, score: 5, min_change: 20%, figures: [{figure: requests_total, labels: {operation: chat}, each: status, stat: rate, direction: below}]}
dashboard_url: https://gateway.example/dashboard
`), &c, yaml.Strict())
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(c)
	want := `{[{slow false upstream_wait_seconds map[model:m] upstream p99 5m0s 2s  1.5s 0s 2m 5 critical Look.} {memory true  map[]   0s      0  } ` +
		`{hits false cache_hit_ratio map[]   0s  90%    0  }] [{[redacted] slack [redacted] 5s map[X-Team:a]}] ` +
		`{true [{requests_total map[operation:chat] status rate below}] 2h0m0s 5 20%} https://gateway.example/dashboard}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFaults(t *testing.T) {
	c := Default()
	ok := func(change func(*Rule)) Rule {
		r := Rule{Name: fmt.Sprintf("r%d", len(c.Alarms)), Figure: "wait_seconds", Stat: "p99", Above: quantity("1s")}
		change(&r)
		return r
	}
	for _, change := range []func(*Rule){
		func(r *Rule) { r.Name = "two words" },
		func(r *Rule) { r.Name = "anomaly_x" },
		func(r *Rule) { r.Name, r.Off = "unheard_of", true },
		func(r *Rule) { r.Figure = "sluice_wait_seconds" },
		func(r *Rule) { r.Figure = "Wait_seconds" },
		func(r *Rule) { r.Stat = "p98" },
		func(r *Rule) { r.Window = 2 * time.Minute },
		func(r *Rule) { r.Above = Quantity{} },
		func(r *Rule) { r.Below = quantity("1") },
		func(r *Rule) { r.Above = quantity("5%") },
		func(r *Rule) { r.Clear = quantity("2s") },
		func(r *Rule) { r.Above, r.Below, r.Clear = Quantity{}, quantity("2s"), quantity("1s") },
		func(r *Rule) { r.For = quantity("-1s") },
		func(r *Rule) { r.ClearFor = quantity("25h") },
		func(r *Rule) { r.MinSamples = -1 },
		func(r *Rule) { r.Severity = "page" },
		func(r *Rule) { r.Labels = map[string]string{"a-b": "c"} },
		func(r *Rule) { r.Each, r.Labels = "upstream", map[string]string{"upstream": "a"} },
		func(r *Rule) { r.Figure, r.Above, r.Stat = "calls_total", quantity("1"), "" },
		func(r *Rule) { r.Figure, r.Above, r.Stat = "hit_ratio", quantity("1"), "p99" },
		func(r *Rule) { r.Name = "r0" }, func(r *Rule) { r.Name = "r0" },
	} {
		c.Alarms = append(c.Alarms, ok(change))
	}
	c.Webhooks = []Webhook{
		{URL: llm.NewSecret("ftp://token@x")},
		{URL: llm.NewSecret("https://x/token"), Format: "teams", MinInterval: 2 * time.Hour, Headers: map[string]string{"content-type": "x", "A B": "x", "X-A": "a\nb"}},
	}
	c.Anomalies = Anomalies{Figures: []Watched{{Figure: "a_seconds", Stat: "p99"}, {Figure: "a_seconds", Stat: "p99", Direction: "up"}}, History: time.Minute, MinChange: quantity("5s")}
	c.DashboardURL = "/dashboard"
	err := c.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{
		`alarms[0].name: "two words" is not`, "alarms[1].name: names with anomaly_", `alarms[2].off: there is no built-in alarm "unheard_of"`,
		"alarms[3].figure: give wait_seconds without sluice_", `alarms[4].figure: "Wait_seconds"`, `alarms[5].stat: "p98" is none of`,
		"alarms[6].window: 2m0s is none of", "alarms[7].above: give exactly one", "alarms[8].above: give exactly one", "alarms[9].above: 5% is not of the unit",
		"alarms[10].clear: 2s is more than above (1s)", "alarms[11].clear: 1s is less than below (2s)", "alarms[12].for: -1s", "alarms[13].clear_for: 25h",
		"alarms[14].min_samples: ", `alarms[15].severity: "page"`, `alarms[16].labels: "a-b"`, "alarms[17].each: upstream has one value",
		"alarms[18].stat: a counter has", "alarms[19].stat: a ratio has", `alarms[21].name: there is another alarm "r0"`,
		"webhooks[0].url: ", `webhooks[1].format: "teams"`, "webhooks[1].min_interval: ", "webhooks[1].headers: content-type", `webhooks[1].headers: "A B"`,
		"webhooks[1].headers: the value of X-A", `anomalies.figures[1].direction: "up"`, "anomalies.figures[1].figure: p99 of a_seconds is there",
		"anomalies.history: 1m0s", "anomalies.score: 0", `anomalies.min_change: "5s"`, `dashboard_url: "/dashboard"`,
	} {
		if strings.Count(err.Error(), want) != 1 {
			t.Errorf("no single fault %q", want)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 33 {
		t.Errorf("%d faults:\n%v", n, err)
	}
	if strings.Contains(err.Error(), "token") {
		t.Error("a fault shows a URL")
	}
}

func TestRulesReplaceBuiltIn(t *testing.T) {
	c := Config{Alarms: []Rule{{Name: "memory", Off: true}, {Name: "gateway_overhead", Figure: "own"}, {Name: "more"}}}
	var got []string
	for _, r := range c.rules() {
		got = append(got, r.Name+":"+r.Figure)
	}
	if want := "upstream_errors:route_failure_ratio leak:leak_verdict gateway_overhead:own more:"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
