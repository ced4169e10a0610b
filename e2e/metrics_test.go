package e2e

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/internal/perf/alarm"
	"sluice/internal/testkit"
)

var update = flag.Bool("update", false, "write the tables of docs/metrics.md and docs/dialects.md")

const (
	metricsPage = "../docs/metrics.md"
	// allFigures begins the part of that page that is written by the test.
	allFigures = "without `-update` the test compares.\n"
)

// figure is one of GET /v1/performance.
type figure struct {
	Kind, Help string
	Series     []struct{ Labels map[string]string }
}

// everything starts a Sluice in which every part that has figures is on and has
// done something.
func everything(t *testing.T) *instance {
	redis := newRedis(t)
	accepting := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	models := start(t, "").url + "/v1"
	in := start(t, fmt.Sprintf(`state_dir: %q
upstreams:
  - {name: simulator, base_url: %q}
  - {name: replica, base_url: %q}
  - {name: delphi, protocol: grpc, base_url: "http://127.0.0.1:1", mapping: ../internal/gateway/testdata/oracle.yaml, schema: ../internal/gateway/testdata/oracle.proto, models: [pythia]}
responses: {store: true}
cache: {redis_url: %q, preload: {hot_set_interval: 1s}}
rate_limit: {requests_per_minute: 1000000, tokens_per_minute: 1000000000}
perf:
  webhooks: [{url: %q}]
  alarms: [{name: always, figure: process_cpus, above: 0, for: 0s, min_samples: 1}]
`, t.TempDir(), models, models, redis.url, accepting), "OTEL_EXPORTER_OTLP_ENDPOINT="+accepting, "OTEL_BSP_SCHEDULE_DELAY=100", "GOMEMLIMIT=4GiB")
	// Replies are kept by who may have given them, which changes with the second list.
	testkit.Until(t, "both model lists", func() bool { return strings.Count(in.log.String(), "model list read") == 2 })
	exercise(t, in)
	for model, want := range map[string]int{"simulator/simulator/sim-chat?status=500": 500, "none": 404} { // either's fault
		if a := request(t, "POST", in.url+"/v1/chat/completions", hello(model)); a.status != want {
			t.Fatal(a)
		}
	}
	return in
}

// exercise sends a request of each kind, some of them twice.
func exercise(t *testing.T, in *instance) {
	t.Helper()
	for _, call := range [][2]string{
		{"/v1/chat/completions", hello("sim-chat")}, {"/v1/chat/completions", hello("sim-chat")},
		{"/v1/chat/completions", strings.Replace(hello("sim-chat"), "{", `{"stream":true,`, 1)},
		{"/v1/embeddings", `{"model":"sim-embed","input":["a","b"]}`},
	} {
		if a := request(t, "POST", in.url+call[0], call[1]); a.status != 200 {
			t.Fatalf("%s: %v", call[0], a)
		}
	}
	if a := request(t, "GET", in.url+"/v1/models", ""); a.status != 200 {
		t.Fatal(a)
	}
}

// figures reads all systems' figures.
func (in *instance) figures(t *testing.T) map[string]map[string]figure {
	t.Helper()
	var report struct {
		Systems map[string]map[string]figure
	}
	if a := request(t, "GET", in.url+"/v1/performance", ""); a.status != 200 {
		t.Fatal(a)
	} else if err := json.Unmarshal([]byte(a.body), &report); err != nil {
		t.Fatal(err)
	}
	return report.Systems
}

// TestMetricsDocument: docs/metrics.md has each figure, with its labels, and no other.
func TestMetricsDocument(t *testing.T) {
	t.Parallel()
	in := everything(t)
	var systems map[string]map[string]figure
	testkit.Until(t, "all figures", func() bool {
		systems = in.figures(t)
		_, sent := systems["telemetry"]["otlp_export_seconds"]
		_, own := systems["front"]["own_requests_total"] // by the call before
		_, saved := systems["requests"]["tokens_saved_total"]
		return sent && own && saved && len(systems["requests"]) > 10 && systems["alarms"]["webhook_seconds"].Kind != ""
	})
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, documented, ok := strings.Cut(string(page), allFigures)
	if !ok {
		t.Fatalf("%s has no line that ends in %q", metricsPage, allFigures)
	}
	is := tables(systems)
	if *update {
		if err := os.WriteFile(metricsPage, []byte(before+allFigures+is), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := strings.Split(documented, "\n")
	for _, line := range strings.Split(is, "\n") {
		if i := slices.Index(want, line); i < 0 {
			t.Errorf("not in %s: %s", metricsPage, line)
		} else {
			want = slices.Delete(want, i, i+1)
		}
	}
	for _, line := range want {
		t.Errorf("%s has what Sluice does not report: %s", metricsPage, line)
	}
	if names := documentedNames(t); len(names) < 100 {
		t.Errorf("only %d figures", len(names))
	}

	// What judges figures has to name them as they are.
	names := documentedNames(t)
	for _, r := range alarm.BuiltIn() {
		if !names[r.Figure] {
			t.Errorf("the built-in alarm %s is on %s, which is no figure", r.Name, r.Figure)
		}
	}
	for _, w := range alarm.Default().Anomalies.Figures {
		if !names[w.Figure] {
			t.Errorf("anomalies are looked for in %s, which is no figure", w.Figure)
		}
	}
	wellFormed(t, in, names)
}

// wellFormed checks the scrape: as it should be by promtool's standards, and every
// figure of Sluice documented.
func wellFormed(t *testing.T, in *instance, names map[string]bool) {
	page := request(t, "GET", in.url+"/metrics", "").body
	for _, m := range regexp.MustCompile(`(?m)^# TYPE sluice_(\S+)`).FindAllStringSubmatch(page, -1) {
		if !names[m[1]] {
			t.Errorf("%s is in the scrape alone", m[1])
		}
	}
	check := exec.Command(promtool(t), "check", "metrics")
	check.Stdin = strings.NewReader(page)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// documentedNames are the figures that docs/metrics.md has.
func documentedNames(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	_, documented, _ := strings.Cut(string(page), allFigures)
	names := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|").FindAllStringSubmatch(documented, -1) {
		names[m[1]] = true
	}
	return names
}

// tables writes figures as they stand on the page.
func tables(systems map[string]map[string]figure) string {
	var b strings.Builder
	for _, system := range slices.SortedFunc(maps.Keys(systems), cmp.Compare[string]) {
		fmt.Fprintf(&b, "\n### %s\n\n| name | kind | labels | meaning |\n| --- | --- | --- | --- |\n", system)
		for _, name := range slices.Sorted(maps.Keys(systems[system])) {
			f := systems[system][name]
			labels := map[string]bool{}
			for _, s := range f.Series {
				for l := range s.Labels {
					labels["`"+l+"`"] = true
				}
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, f.Kind, strings.Join(slices.Sorted(maps.Keys(labels)), " "), f.Help)
		}
	}
	return b.String()
}

// promtool is Prometheus' tool for checks, in the Debian package prometheus.
func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		need(t, fmt.Errorf("%w: install the Debian package prometheus", err))
	}
	return path
}
