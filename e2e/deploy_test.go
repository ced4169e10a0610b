package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const (
	deploy    = "../deploy"
	rulesFile = deploy + "/prometheus/alerts.yml"
	dashFile  = deploy + "/grafana/dashboards/sluice.json"
)

func TestPromtool(t *testing.T) {
	tool := promtool(t)
	for _, args := range [][]string{
		{"check", "config", "--syntax-only", deploy + "/prometheus/prometheus.yml"},
		{"check", "rules", rulesFile},
		{"test", "rules", deploy + "/prometheus/alerts_test.yml"},
	} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// parse reads a YAML file of deploy.
func parse(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deploy, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestCompose: what the services mount is there, and each alert has been made to
// fire by a test.
func TestCompose(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Volumes   []string
			Ports     []string
			DependsOn map[string]struct{ Condition string } `yaml:"depends_on"`
			ReadOnly  bool                                  `yaml:"read_only"`
			CapDrop   []string                              `yaml:"cap_drop"`
		}
		Volumes map[string]any
	}
	parse(t, "docker-compose.yml", &compose)
	if len(compose.Services) != 3 {
		t.Errorf("%d services", len(compose.Services))
	}
	for name, s := range compose.Services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := compose.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join(deploy, from)); err != nil {
				t.Errorf("%s mounts %s: %v", name, from, err)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s listens on %s", name, p)
			}
		}
	}
	if s := compose.Services["sluice"]; !s.ReadOnly || len(s.CapDrop) != 1 || compose.Services["prometheus"].DependsOn["sluice"].Condition != "service_healthy" {
		t.Errorf("%+v", compose.Services)
	}
	var sources struct {
		Datasources []struct{ Type, URL, UID string }
	}
	parse(t, "grafana/provisioning/datasources/prometheus.yaml", &sources)
	if len(sources.Datasources) != 1 || sources.Datasources[0].URL != "http://prometheus:9090" {
		t.Errorf("data sources: %+v", sources)
	}
	tests, err := os.ReadFile(deploy + "/prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range alerts(t) {
		if !strings.Contains(string(tests), `{labels: '{alertname="`+r.Alert+`"}', value: 1}`) {
			t.Errorf("no test has %s fire", r.Alert)
		}
	}
}

type rule struct{ Alert, Expr string }

func alerts(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	parse(t, "prometheus/alerts.yml", &file)
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 10 {
		t.Fatalf("rules: %+v", file)
	}
	return file.Groups[0].Rules
}

// panel is one of the Grafana dashboard.
type panel struct {
	ID          int
	Title, Type string
	Targets     []struct {
		Expr       string
		Datasource struct{ UID string }
	}
	FieldConfig struct{ Defaults struct{ Unit string } }
	GridPos     struct{ X, Y, W, H int }
}

func panels(t *testing.T) []panel {
	t.Helper()
	b, err := os.ReadFile(dashFile)
	if err != nil {
		t.Fatal(err)
	}
	var board struct{ Panels []panel }
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatal(err)
	}
	if len(board.Panels) < 30 {
		t.Errorf("%d panels", len(board.Panels))
	}
	return board.Panels
}

func TestGrafanaDashboard(t *testing.T) {
	seen, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range panels(t) {
		if seen[p.ID] {
			t.Errorf("%s: panel %d is there twice", p.Title, p.ID)
		}
		seen[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("%s lies on %q or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("%s: unit %q, %d queries", p.Title, p.FieldConfig.Defaults.Unit, len(p.Targets))
		}
		for _, q := range p.Targets {
			if q.Datasource.UID != "${datasource}" {
				t.Errorf("%s asks %q and not the data source that was chosen", p.Title, q.Datasource.UID)
			}
			unit, seconds := p.FieldConfig.Defaults.Unit, strings.HasPrefix(q.Expr, "histogram_quantile")
			if seconds != (unit == "s") && !strings.Contains(q.Expr, "scheduler_latency") {
				t.Errorf("%s shows %s in %q", p.Title, q.Expr, unit)
			}
		}
	}
}

// TestDeployNames: rules and dashboard ask for nothing that there is not.
func TestDeployNames(t *testing.T) {
	names, used := documentedNames(t), 0
	suffix := regexp.MustCompile(`_(bucket|count|sum)$`)
	for _, file := range []string{rulesFile, deploy + "/prometheus/alerts_test.yml", dashFile} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\bsluice_([a-z0-9_]+)`).FindAllStringSubmatch(string(b), -1) {
			used++
			if !names[m[1]] && !names[suffix.ReplaceAllString(m[1], "")] {
				t.Errorf("%s has %s, which is no figure", file, m[0])
			}
			if strings.HasSuffix(m[1], "_ratio") && m[1] != "process_memory_used_ratio" {
				t.Errorf("%s has %s, which Prometheus does not get", file, m[0])
			}
		}
	}
	if used < 100 {
		t.Errorf("only %d names", used)
	}
}

// TestDashboardStates: each state that a part of the gateway can be in, such as that of a
// breaker, is on the dashboard.
func TestDashboardStates(t *testing.T) {
	b, err := os.ReadFile(dashFile)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for name := range documentedNames(t) {
		if !strings.HasSuffix(name, "_state") {
			continue
		}
		if n++; !strings.Contains(string(b), "sluice_"+name+"{") {
			t.Errorf("%s is on no panel", name)
		}
	}
	if n < 2 {
		t.Errorf("%d states are documented", n)
	}
}

// TestDeployConfig: the configuration of the compose file takes the key that its
// README makes, and lets nobody in without.
func TestDeployConfig(t *testing.T) {
	b, err := os.ReadFile(deploy + "/sluice.yaml")
	if err != nil {
		t.Fatal(err)
	}
	in := start(t, string(b), fmt.Sprintf("SLUICE_KEY_HASH=sha256:%x", sha256.Sum256([]byte("secret"))),
		fmt.Sprintf("SLUICE_METRICS_HASH=sha256:%x", sha256.Sum256([]byte("scrape"))))
	for key, want := range map[string]int{"scrape": 200, "secret": 200, "else": 401} {
		if a := request(t, "GET", in.url+"/metrics", "", "Authorization", "Bearer "+key); a.status != want {
			t.Errorf("the figures for %s: %v", key, a)
		}
	}
	if a := request(t, "GET", in.url+"/v1/models", "", "Authorization", "Bearer scrape"); a.status != 401 {
		t.Error(a)
	}
	if a := request(t, "GET", in.url+"/v1/models", "", "Authorization", "Bearer secret"); a.status != 200 {
		t.Error(a)
	}
	if a := request(t, "GET", in.url+"/v1/performance", "", "Authorization", "Bearer secret"); a.status != 200 {
		t.Error(a)
	}
	if a := request(t, "GET", in.url+"/v1/models", ""); a.status != 401 {
		t.Error(a)
	}
}
