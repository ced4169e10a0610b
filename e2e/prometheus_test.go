package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/testkit"
)

// prometheus is a server that scrapes an instance every two seconds.
type prometheus struct{ url string }

func startPrometheus(t *testing.T, in *instance, flags ...string) *prometheus {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		need(t, fmt.Errorf("%w: install the Debian package prometheus", err))
	}
	addr := testkit.Vacant(t)
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 2s}\nscrape_configs: [{job_name: sluice, static_configs: [{targets: [%q]}]}]\n", strings.TrimPrefix(in.url, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log testkit.Buffer
	cmd := exec.Command(path, append([]string{"--config.file=" + dir + "/prometheus.yml", "--storage.tsdb.path=" + dir + "/data", "--web.listen-address=" + addr}, flags...)...)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return &prometheus{"http://" + addr}
}

// ask runs a query and returns how many series its result has, -1 while the
// server does not answer.
func (p *prometheus) ask(t *testing.T, query string) int {
	t.Helper()
	resp, err := http.PostForm(p.url+"/api/v1/query", url.Values{"query": {query}})
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	var reply struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if resp.StatusCode == http.StatusServiceUnavailable { // it starts
		return -1
	}
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil || reply.Status != "success" {
		t.Errorf("%s: %v %s", query, err, reply.Error)
	}
	return len(reply.Data.Result)
}

// TestPrometheus: a real one scrapes a real Sluice, with classic and with native
// histograms, and every query of the dashboard and of the rules is answered.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	in := everything(t)
	for name, flags := range map[string][]string{"classic": nil, "native": {"--enable-feature=native-histograms,exemplar-storage"}} {
		t.Run(name, func(t *testing.T) {
			p := startPrometheus(t, in, flags...)
			testkit.Until(t, "two scrapes with all figures", func() bool {
				exercise(t, in)
				time.Sleep(200 * time.Millisecond)
				return p.ask(t, `up{job="sluice"} == 1 and on () count_over_time(sluice_requests_in_flight[1m]) > 2`) == 1
			})
			if n := p.ask(t, "sluice_request_duration_seconds_bucket"); (n > 0) != (name == "classic") {
				t.Errorf("%d classic buckets", n)
			}
			if n := p.ask(t, "histogram_count(sluice_request_duration_seconds)"); (n > 0) != (name == "native") {
				t.Errorf("%d native histograms", n)
			}
			replace := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$instance", ".*")
			// What did not happen here has no rate.
			silent := map[string]bool{"Making connections, P95": true, "Loaded ahead": true, "Redis round trips": true, "Raised by Prometheus": true, "Failures": true}
			missing := map[string]string{} // the panel by its query
			for _, panel := range panels(t) {
				for _, q := range panel.Targets {
					if query := replace.Replace(q.Expr); p.ask(t, query) == 0 && !silent[panel.Title] {
						missing[query] = panel.Title
					}
				}
			}
			// A scrape that takes longer than its two seconds, as on a busy machine, leaves
			// nothing of what was before it: what is missing is asked for again.
			for end := time.Now().Add(3 * time.Minute); len(missing) > 0 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				for query := range missing {
					if p.ask(t, query) > 0 {
						delete(missing, query)
					}
				}
			}
			for query, panel := range missing {
				t.Errorf("%s: nothing for %s", panel, query)
			}
			for _, r := range alerts(t) {
				p.ask(t, r.Expr)
			}
		})
	}
}
