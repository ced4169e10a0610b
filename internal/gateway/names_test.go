package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// labels collects the values of all labels.
type labels map[string]bool

func (l labels) add(list []string) {
	for i := 1; i < len(list); i += 2 {
		l[list[i]] = true
	}
}
func (l labels) Counter(_, _ string, _ float64, list ...string)           { l.add(list) }
func (l labels) Gauge(_, _ string, _ float64, list ...string)             { l.add(list) }
func (l labels) Histogram(_, _ string, _ *perf.Histogram, list ...string) { l.add(list) }
func (l labels) Ratio(_, _ string, _, _ float64, list ...string)          { l.add(list) }

// TestOddNames: whatever a client calls a model, the upstream is asked for that, and
// all that shows figures has a name that is short and UTF-8.
func TestOddNames(t *testing.T) {
	asked := make(chan string, 10)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/v1/models" { // it has no list, so any name is good
			w.WriteHeader(http.StatusNotFound)
			return
		}
		asked <- r.URL.EscapedPath() + string(b)
		_, _ = io.WriteString(w, `{"text":"hi"}`)
	}))
	t.Cleanup(up.Close)
	var log testkit.Buffer
	cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+up.URL+"/v1")
	g, err := New(cfg, Options{Version: "test", AccessLog: &log})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := g.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	stop := func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	base := "http://" + addr.String()
	get := func(path string) string {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	long := strings.Repeat("ü", 5<<10)
	for _, name := range []string{"a\nb\"c", long + "1", long + "2"} {
		if status, body, err := chat(base, name); err != nil || status != 200 {
			t.Fatalf("%d %.200s %v", status, body, err)
		}
		if got := <-asked; !strings.Contains(got, name[len(name)-1:]+`","messages"`) || len(got) < len(name) {
			t.Errorf("the upstream was asked for %.200q", got)
		}
	}
	form := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\xff\r\n--b--\r\n"
	resp, err := http.Post(base+"/v1/audio/transcriptions", "multipart/form-data; boundary=b", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := <-asked; resp.StatusCode != 200 || !strings.Contains(got, form) {
		t.Errorf("%d, the upstream was asked %q", resp.StatusCode, got)
	}
	get("/v1/models/m%ff")
	if got := <-asked; got != "/v1/models/m%ff" {
		t.Errorf("the upstream was asked %q", got)
	}
	get("/v1/files/" + url.PathEscape(long))
	<-asked

	all := labels{}
	g.figures.Each(func(_ string, s perf.Source) { s.Figures(all) })
	for l := range all {
		if perf.Label(l) != l {
			t.Errorf("a label is %.200q", l)
		}
	}
	cut := strings.Repeat("ü", 62) + "…"
	for _, want := range []string{"m\ufffd", cut, "a\ufffdb\"c"} {
		if !all[want] {
			t.Errorf("no label is %q", want)
		}
	}
	metrics := get("/metrics")
	if !utf8.ValidString(metrics) || strings.Contains(metrics, cut+"ü") || !strings.Contains(metrics, `model="`+cut+`"`) {
		t.Error("/metrics does not have the short names")
	}
	for _, path := range []string{"/v1/performance", "/v1/performance?format=text", "/v1/performance/requests"} {
		b := get(path)
		if !utf8.ValidString(b) || strings.Contains(b, strings.Repeat("ü", 64)) || len(b) < 100 {
			t.Errorf("%s has odd names: %.200s", path, b)
		}
	}
	stop()
	for line := range strings.Lines(log.String()) {
		if !utf8.ValidString(line) || len(line) > 1000 {
			t.Errorf("log: %.1200q", line)
		}
	}
	if n := strings.Count(log.String(), "model="); n < 5 {
		t.Errorf("%d lines of the access log name a model", n)
	}
}
