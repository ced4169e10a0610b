package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"sluice/internal/testkit"
)

// shown is a figure of GET /v1/performance.
type shown struct {
	Kind, Help string
	Series     []struct {
		Labels  map[string]string
		Value   *float64
		Total   *float64
		Count   *float64
		Windows map[string]map[string]float64
	}
}

type performance struct {
	Status  string
	Summary struct {
		Requests struct {
			Total   float64
			Windows map[string]struct {
				Count    float64
				ByStatus map[string]float64 `json:"by_status"`
			}
		}
		Response map[string]map[string]float64 `json:"response_seconds"`
		Overhead map[string]map[string]float64 `json:"overhead_seconds"`
		Failed   struct {
			Total map[string]float64
		}
		ClientErrors struct {
			Windows map[string]map[string]float64
		} `json:"client_errors"`
		Cache struct {
			HitRatio map[string]float64 `json:"hit_ratio"`
		}
		Memory, Connections map[string]any
		GC                  struct{ Cycles float64 }
	}
	Systems map[string]map[string]shown
	Alarms  []struct {
		Name, State, Message string
		Labels               map[string]string
	}
	History struct {
		Points []struct {
			Figures map[string]any
		}
	}
}

// report reads GET /v1/performance, which keeps to its schema.
func report(t *testing.T, in *instance, query string, header ...string) (p performance) {
	t.Helper()
	a := request(t, "GET", in.url+"/v1/performance"+query, "", header...)
	if a.status != 200 {
		t.Fatalf("%s", a)
	}
	schema, err := jsonschema.NewCompiler().Compile("../docs/performance.schema.json")
	need(t, err)
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(a.body))
	need(t, err)
	if err := schema.Validate(document); err != nil {
		t.Errorf("the report is not as its schema says: %v", err)
	}
	need(t, json.Unmarshal([]byte(a.body), &p))
	return p
}

// sum adds up a number of the series of a figure that have a label's value.
func (f shown) sum(label, value string) (n float64) {
	for _, s := range f.Series {
		if label != "" && s.Labels[label] != value {
			continue
		}
		for _, v := range []*float64{s.Total, s.Count, s.Value} {
			if v != nil {
				n += *v
			}
		}
	}
	return n
}

// TestPerformance: the report has what clients saw, in every window, and says of
// each figure what it is.
func TestPerformance(t *testing.T) {
	t.Parallel()
	_, base := simulate(t)
	in := start(t, fmt.Sprintf("log: {level: error}\nupstreams: [{name: up, base_url: %q, models: [sim-*]}]\nroute: {retry: {max_attempts: 1}, breaker: {failures: 1000000}}\n", base))
	l := ledger{status: map[string]int{}, cache: map[string]int{}}
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for i := range 10 {
				l.call(in.url, "sim-chat?latency=300ms", fmt.Sprint(c, i/2), false, "", 0) // every other one is a hit
				l.call(in.url, "sim-chat?status=500", "x", true, "", 0)
				l.call(in.url, fmt.Sprint("nobody-", c, i), "x", false, "", 0)
			}
		})
	}
	clients.Wait()
	p := report(t, in, "") // at once: it knows all that clients have seen
	if got := p.Summary.Requests; got.Total != float64(l.sent) {
		t.Errorf("%g requests, %d were sent", got.Total, l.sent)
	}
	for _, w := range []string{"1m", "5m", "1h"} {
		for class, n := range l.status {
			if got := p.Summary.Requests.Windows[w].ByStatus[class]; got != float64(n) {
				t.Errorf("%s: %g replies of %s, clients saw %d", w, got, class, n)
			}
		}
		// What the upstream takes its time for is response time, and not the gateway's.
		if r, o := p.Summary.Response[w], p.Summary.Overhead[w]; r["count"] != float64(l.sent) || r["p99"] < 0.297 || o["count"] < 40 || o["p50"] >= 0.3 {
			t.Errorf("%s: response %v, overhead %v", w, r, o)
		}
	}
	if n := p.Systems["cache"]["cache_requests_total"].sum("result", "hit"); n != float64(l.cache["HIT"]) || n == 0 {
		t.Errorf("%g hits, clients saw %d", n, l.cache["HIT"])
	}
	durations := p.Systems["requests"]["model_request_duration_seconds"]
	if n := durations.sum("model", "sim-chat?latency=300ms"); n != 40 {
		t.Errorf("%g requests of the model that answers", n)
	}
	if n := durations.sum("model", "other"); n != 80 {
		t.Errorf("%g requests of models that never answered", n)
	}
	for system, figures := range p.Systems {
		for name, f := range figures {
			if f.Help == "" || len(f.Series) == 0 {
				t.Errorf("%s/%s says nothing: %+v", system, name, f)
			}
		}
	}
	for _, system := range []string{"requests", "front", "route", "upstream", "cache", "codec", "process", "perf", "alarms"} {
		if len(p.Systems[system]) == 0 {
			t.Errorf("nothing of %s", system)
		}
	}

	s := p.Summary
	if s.Memory["resident_bytes"] == nil || s.GC.Cycles == 0 || s.Connections["clients"] == 0. || s.Connections["reuse_ratio"] == nil || s.Cache.HitRatio["1m"] == 0 {
		t.Errorf("the summary has memory %v, %v collections, connections %v, cache %v", s.Memory, s.GC, s.Connections, s.Cache)
	}
	if s.Failed.Total["upstream_error"] != 40 || s.ClientErrors.Windows["1h"]["not_found"] != 40 {
		t.Errorf("failed: %v; client's errors: %v", s.Failed, s.ClientErrors)
	}

	one := report(t, in, "?window=5m")
	if w := one.Summary.Requests.Windows; len(w) != 1 || w["5m"].Count != float64(l.sent) {
		t.Errorf("of one window: %v", w)
	}
	if a := request(t, "GET", in.url+"/v1/performance?format=text", ""); !strings.Contains(a.body, "cache_hit_ratio") || strings.Contains(a.body, "route_unavailable_total") || !strings.Contains(a.body, "40 upstream error") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("text: %s", a)
	}
	for _, query := range []string{"?window=2m", "?format=xml"} {
		if a := request(t, "GET", in.url+"/v1/performance"+query, ""); a.status != 400 {
			t.Errorf("%s: %s", query, a)
		}
	}
}

// TestPerformanceIsForAdministrators: reports tell of all tenants.
func TestPerformanceIsForAdministrators(t *testing.T) {
	t.Parallel()
	in := start(t, keysYAML(t))
	for _, path := range []string{"/v1/performance", "/v1/performance/live", "/v1/performance/requests", "/v1/health/detailed"} {
		for key, want := range map[string]int{"": 401, "Bearer user-key": 403, "Bearer admin-key": 200} {
			req, err := http.NewRequest("GET", in.url+path, nil)
			need(t, err)
			if key != "" {
				req.Header.Set("Authorization", key)
			}
			resp, err := http.DefaultClient.Do(req)
			need(t, err)
			if resp.StatusCode != want {
				t.Errorf("%s with %q: %d", path, key, resp.StatusCode)
			}
			if want == 200 && path == "/v1/performance/live" {
				first := make([]byte, 40)
				if _, err := io.ReadFull(resp.Body, first); err != nil || !strings.HasPrefix(string(first), `data: {"object":"performance"`) {
					t.Errorf("live begins with %q, %v", first, err)
				}
			}
			resp.Body.Close()
		}
	}
}

// keysYAML is a configuration with the keys user-key and admin-key.
func keysYAML(t *testing.T) string {
	t.Helper()
	hash := func(key string) string {
		sum := sha256.Sum256([]byte(key))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	return fmt.Sprintf("server: {api_keys: [{name: user, hash: %q}, {name: boss, hash: %q, admin: true}]}\n", hash("user-key"), hash("admin-key"))
}

// TestAlarm: an upstream that becomes slow is told of wherever somebody may look.
func TestAlarm(t *testing.T) {
	t.Parallel()
	_, base := simulate(t)
	type message struct {
		signature string
		body      []byte
	}
	messages := make(chan message, 10)
	hook := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		messages <- message{r.Header.Get("X-Sluice-Signature"), b}
	}))
	in := start(t, fmt.Sprintf(`
upstreams: [{name: lame, base_url: %q, models: [sim-*]}]
perf:
  alarms: [{name: slow_upstream, figure: upstream_wait_seconds, each: upstream, stat: p95, window: 1m, above: 50ms, for: 0s, min_samples: 5, advice: Ask its operator.}]
  webhooks: [{url: %q, secret: signs-messages}]
`, base, hook+"/hook"))
	l := ledger{status: map[string]int{}, cache: map[string]int{}}
	for range 6 {
		l.call(in.url, "sim-chat?latency=100ms", "x", false, "no-store", 0)
	}
	var got message
	select {
	case got = <-messages:
	case <-time.After(60 * time.Second):
		t.Fatalf("no message came\n%s", in.log)
	}
	at, mac, _ := strings.Cut(strings.TrimPrefix(got.signature, "t="), ",v1=")
	h := hmac.New(sha256.New, []byte("signs-messages"))
	fmt.Fprintf(h, "%s.%s", at, got.body)
	if mac != hex.EncodeToString(h.Sum(nil)) {
		t.Errorf("the signature %q is not that of %s", got.signature, got.body)
	}
	if body := string(got.body); !strings.Contains(body, "slow_upstream") || !strings.Contains(body, "lame") {
		t.Errorf("the message is %s", body)
	}
	p := report(t, in, "")
	found := false
	for _, a := range p.Alarms {
		found = found || a.Name == "slow_upstream" && a.State == "firing" && a.Labels["upstream"] == "lame" && a.Message != ""
	}
	if !found || p.Status != "degraded" {
		t.Errorf("%s, alarms %+v", p.Status, p.Alarms)
	}
	if status, _, unwell := health(t, in); status != 200 || !strings.Contains(unwell, "slow_upstream") {
		t.Errorf("health: %d, %s", status, unwell)
	}
	if s := scrapeAll(t, in); s.sum("alarm_firing", `alarm="slow_upstream"`) != 1 {
		t.Error("the figures do not tell of it")
	}
	if log := in.log.String(); !strings.Contains(log, "slow_upstream") || !strings.Contains(log, "Ask its operator.") {
		t.Errorf("the log does not tell of it:\n%s", log)
	}
}

// TestTelemetry: a request's trace goes from its client through the gateway to
// the upstream, and a collector gets the gateway's part of it. A collector that
// is dead costs nothing.
func TestTelemetry(t *testing.T) {
	t.Parallel()
	spans := make(chan *tracepb.Span, 100)
	collector := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/v1/traces" {
			return
		}
		var req coltracepb.ExportTraceServiceRequest
		if err := proto.Unmarshal(b, &req); err != nil {
			t.Errorf("read export: %v", err)
		}
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					spans <- s
				}
			}
		}
	}))
	seen := make(chan string, 100)
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Traceparent")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"object":"chat.completion","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`)
	}))
	yaml := fmt.Sprintf("upstreams: [{name: up, base_url: %q, models: [m]}]\n", up+"/v1")
	in := start(t, yaml, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector, "OTEL_BSP_SCHEDULE_DELAY=100")
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	chat := `{"model":"m","messages":[{"role":"user","content":"a secret"}]}`
	a := request(t, "POST", in.url+"/v1/chat/completions", chat, "traceparent", "00-"+trace+"-"+parent+"-01")
	if a.status != 200 || !strings.Contains(strings.Join(a.header.Values("Server-Timing"), " "), "gateway;dur=") {
		t.Fatalf("%s", a)
	}
	var server, call *tracepb.Span
	for server == nil || call == nil {
		select {
		case s := <-spans:
			switch s.Kind {
			case tracepb.Span_SPAN_KIND_SERVER:
				server = s
			case tracepb.Span_SPAN_KIND_CLIENT:
				call = s
			}
		case <-time.After(60 * time.Second):
			t.Fatalf("the collector got no spans\n%s", in.log)
		}
	}
	if hex.EncodeToString(server.TraceId) != trace || hex.EncodeToString(server.ParentSpanId) != parent || string(call.ParentSpanId) != string(server.SpanId) {
		t.Errorf("the spans are\n%v\n%v", server, call)
	}
	if got, want := <-seen, "00-"+trace+"-"+hex.EncodeToString(call.SpanId)+"-01"; got != want {
		t.Errorf("the upstream saw %s, want %s", got, want)
	}
	if text := fmt.Sprint(server, call); strings.Contains(text, "secret") || !strings.Contains(text, "gen_ai.usage.input_tokens") {
		t.Errorf("the spans say %s", text)
	}

	dead := start(t, yaml, "OTEL_EXPORTER_OTLP_ENDPOINT="+"http://"+testkit.Vacant(t), "OTEL_BSP_SCHEDULE_DELAY=100")
	for range 20 {
		if a := request(t, "POST", dead.url+"/v1/chat/completions", chat, "Cache-Control", "no-store"); a.status != 200 {
			t.Fatalf("%s", a)
		}
	}
}

// TestAccessLog: a line says who asked for what and what became of it, and
// nothing of what was said.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	in := start(t, "log: {format: json, bodies: true}\n")
	a := request(t, "POST", in.url+"/v1/chat/completions", `{"model":"sim-chat","messages":[{"role":"user","content":"a secret"}]}`, "X-Request-Id", "mine-1")
	if a.status != 200 {
		t.Fatalf("%s", a)
	}
	var line map[string]any
	testkit.Until(t, "a line of the access log", func() bool {
		for text := range strings.SplitSeq(in.log.String(), "\n") {
			if strings.Contains(text, `"msg":"request"`) {
				return json.Unmarshal([]byte(text), &line) == nil
			}
		}
		return false
	})
	for key, want := range map[string]any{
		"request_id": "mine-1", "operation": "chat", "model": "sim-chat", "upstream": "simulator", "status": 200., "cache": "MISS",
		"request_body": `{"model":"sim-chat","messages":[{"role":"user","content":"<8 bytes>"}]}`,
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	for _, key := range []string{"duration_us", "overhead_us", "upstream_us", "input_tokens", "output_tokens", "reply_body"} {
		if line[key] == nil {
			t.Errorf("%s is missing in %v", key, line)
		}
	}
	if log := in.log.String(); strings.Contains(log, "secret") {
		t.Errorf("the log tells what was said:\n%s", log)
	}
}

// TestHistory: every interval leaves a line in the log and a point that outlives
// the process.
func TestHistory(t *testing.T) {
	t.Parallel()
	yaml := fmt.Sprintf("perf: {report_interval: 10s}\nstate_dir: %q\n", t.TempDir())
	in := start(t, yaml)
	l := ledger{status: map[string]int{}, cache: map[string]int{}}
	for range 5 {
		l.call(in.url, "sim-chat", "x", false, "", 0)
	}
	testkit.Until(t, "report", func() bool { return strings.Contains(in.log.String(), "msg=performance") })
	in.stop(t)
	in = start(t, yaml)
	points := report(t, in, "").History.Points
	if len(points) == 0 || len(points[0].Figures) == 0 {
		t.Errorf("the history after a restart is %+v", points)
	}
}

// TestModelNames: names that nobody has answered for leave nothing behind.
func TestModelNames(t *testing.T) {
	t.Parallel()
	_, base := simulate(t)
	in := start(t, fmt.Sprintf("log: {level: error}\nupstreams: [{name: up, base_url: %q, models: [sim-*]}]\n", base))
	l := ledger{status: map[string]int{}, cache: map[string]int{}}
	l.call(in.url, "sim-chat", "x", false, "", 0)
	l.call(in.url, "nobody", "x", false, "", 0)
	before := len(scrapeAll(t, in))
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Go(func() {
			for i := range 250 {
				l.call(in.url, fmt.Sprint("nobody-", c, "-", i), "x", false, "", 0)
			}
		})
	}
	clients.Wait()
	if after := len(scrapeAll(t, in)); after > before+5 { // series of the scrape and its connections
		t.Errorf("%d samples became %d", before, after)
	}
}
