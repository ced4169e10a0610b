package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/protobuf/presets"
	"sluice/internal/testkit/rpc"
)

// spoken are the upstreams that the SDKs are tried over: each one's name, what an entry of the
// configuration says of it, and what the path of a conversation has. The last one is asked in
// protobuf; all others are a sluice before simulated models, which takes every dialect.
func spoken() [][3]string {
	return [][3]string{
		{"openai", "protocol: openai, responses: translate, messages: translate", "/v1/chat/completions"},
		{"responses", "protocol: responses", "/v1/responses"},
		{"anthropic", "protocol: anthropic", "/v1/messages"},
		{"gemini", "protocol: gemini", ":generateContent"},
		{"grpc", "protocol: grpc, preset: xai", "xai_api.Chat/GetCompletion"},
	}
}

// chained is a sluice before one that serves simulated models: it asks it in another
// dialect than OpenAI's.
func chained(t *testing.T, protocol string) *instance {
	t.Helper()
	behind := start(t, "")
	return start(t, fmt.Sprintf("upstreams: [{name: up, protocol: %s, base_url: '%s', models: [sim-*, simulator/*]}]\nroute: {breaker: {failures: 1000}}\n", protocol, behind.url+versionOf(protocol)))
}

// versionOf is the path below which a protocol's routes are.
func versionOf(protocol string) string {
	if strings.HasPrefix(protocol, "gemini") {
		return "/v1beta"
	}
	return "/v1"
}

// origin stands between the gateway and simulated models, in the place of every upstream: it
// knows what each was asked last, and whether it still has something to do.
type origin struct {
	behind *httputil.ReverseProxy

	mu    sync.Mutex
	asked map[string]string // the path, or the call, and the body
	busy  map[string]int
}

// begin notes that an upstream has something to do, until end.
func (o *origin) begin(upstream, asked string) (end func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked[upstream] = asked
	o.busy[upstream]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.busy[upstream]--
	}
}

func (o *origin) last(upstream string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[upstream]
}

func (o *origin) isBusy(upstream string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.busy[upstream] > 0
}

// idle waits until an upstream has nothing to do any more, for some 20 s: far less than the
// minute and more that what it is asked for would take.
func (o *origin) idle(upstream string) bool {
	for range 2000 {
		if !o.isBusy(upstream) {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// ServeHTTP answers /NAME/… as an upstream, and the programs of the SDKs.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	first, rest, _ := strings.Cut(r.URL.Path[1:], "/")
	switch first {
	case "asked":
		fmt.Fprint(w, o.last(rest))
	case "busy":
		fmt.Fprint(w, o.isBusy(rest))
	case "idle":
		fmt.Fprint(w, o.idle(rest))
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the gateway is gone
		}
		defer o.begin(first, "/"+rest+" "+string(body))()
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.URL.Path, r.URL.RawPath = "/"+rest, ""
		o.behind.ServeHTTP(w, r)
	}
}

// sdkGateway is a sluice before each of the upstreams. A model UPSTREAM-DOES is one that does
// so, UPSTREAM-hasty-DOES one whose upstream is given up early.
func sdkGateway(t *testing.T) (in *instance, o *origin, at string) {
	t.Helper()
	const once = "route:\n  retry: {max_attempts: 1}\n  breaker: {failures: 1000}\n"
	behind := start(t, once)
	o = &origin{behind: reverse(t, behind.url), asked: make(map[string]string), busy: make(map[string]int)}
	at = serve(t, o)
	var ups, aliases strings.Builder
	for _, up := range spoken() {
		name, protocol := up[0], up[1]
		for _, hasty := range []string{"", "-hasty"} {
			base := at + "/" + name + versionOf(name)
			if name == "grpc" {
				base = "http://" + rpc.Serve(t, (&bridge{o, behind.url}).answer, schemaOf(t, "xai"))
			}
			timeouts := ""
			if hasty != "" {
				timeouts = ", http_client: {response_header_timeout: 250ms, idle_timeout: 250ms}"
			}
			fmt.Fprintf(&ups, "  - {name: %s%s, %s, base_url: '%s', models: [sim-*, simulator/*]%s}\n", name, hasty, protocol, base, timeouts)
			for does, model := range map[string]string{
				"echo": "sim-echo", "chat": "sim-chat", "embed": "sim-embed", "reasoner": "sim-reasoner", "script": "sim-script",
				"400": "simulator/sim-chat?status=400", "401": "simulator/sim-chat?status=401", "404": "simulator/sim-chat?status=404",
				"429": "simulator/sim-chat?status=429", "500": "simulator/sim-chat?status=500",
				"cut": "simulator/sim-chat?cut=3&tokens=100", "endless": "simulator/sim-chat?pace=20ms&tokens=10000",
				"late": "simulator/sim-chat?latency=60s", "stalled": "simulator/sim-chat?stall=3&tokens=100",
			} {
				fmt.Fprintf(&aliases, "    %s%s-%s: '%s%s/%s'\n", name, hasty, does, name, hasty, model)
			}
		}
	}
	in = start(t, "upstreams:\n"+ups.String()+once+"  aliases:\n"+aliases.String()+
		"cache: {enabled: false}\nserver: {api_keys: [{name: sdk, hash: \""+hashOf(t, "sk-right")+"\"}]}\n")
	return in, o, at
}

func reverse(t *testing.T, to string) *httputil.ReverseProxy {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
}

func schemaOf(t *testing.T, preset string) (file string) {
	t.Helper()
	p, err := presets.Get(preset)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, preset+".proto", string(p.Schema))
}

// deed is what an SDK did over an upstream.
type deed struct {
	SDK, Upstream, Deed string
	Refused             bool // the upstream has nothing of the kind, and the SDK is told so
	Error               string
}

// deeds is the table of them.
type deeds struct {
	mu   sync.Mutex
	done []deed
}

func (d *deeds) add(one deed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(d.done, one)
}

// TestSDKs has the official SDKs do all that they have over every kind of upstream, and
// compares what was done with the table of docs/dialects.md.
func TestSDKs(t *testing.T) {
	in, o, at := sdkGateway(t)
	var all deeds
	t.Run("javascript", func(t *testing.T) { sdksOfNPM(t, in, at, &all) })
	t.Run("go", func(t *testing.T) { sdksOfGo(t, in, o, &all) })
	if !t.Failed() {
		replaceTable(t, "sdks", all.table())
	}
}

// sdksOfNPM runs js/sdks.js, which tells of each deed on a line.
func sdksOfNPM(t *testing.T, in *instance, at string, all *deeds) {
	path, err := exec.LookPath("node")
	need(t, err)
	for _, name := range []string{"openai", "@anthropic-ai/sdk", "@google/genai"} {
		_, err = os.Stat("js/node_modules/" + name)
		need(t, err)
	}
	var names []string
	for _, up := range spoken() {
		names = append(names, up[0])
	}
	cmd := exec.CommandContext(t.Context(), path, "sdks.js")
	cmd.Dir = "js"
	cmd.Env = append(os.Environ(), "UPSTREAMS="+strings.Join(names, ","), "ORIGIN_URL="+at,
		"OPENAI_BASE_URL="+in.url+"/v1", "OPENAI_API_KEY=sk-right", "ANTHROPIC_BASE_URL="+in.url, "ANTHROPIC_API_KEY=sk-right", "GEMINI_URL="+in.url, "GEMINI_API_KEY=sk-right")
	var out, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &told
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), told.String())
	}
	for sc := newLines(&out); sc.Scan(); {
		var one deed
		if err := json.Unmarshal(sc.Bytes(), &one); err != nil {
			t.Fatalf("%v: %s", err, sc.Text())
		}
		all.add(one)
		t.Run(one.SDK+"/"+one.Upstream+"/"+one.Deed, func(t *testing.T) {
			if one.Error != "" {
				t.Error(one.Error)
			}
		})
	}
}

// table says of each SDK and deed over which upstreams it was done.
func (d *deeds) table() string {
	var columns, rows []string
	over := make(map[[2]string][]string)
	for _, one := range d.done {
		cell := [2]string{one.SDK, one.Deed}
		if !one.Refused {
			over[cell] = append(over[cell], one.Upstream)
		}
		if !slices.Contains(rows, one.Deed) {
			rows = append(rows, one.Deed)
		}
		if !slices.Contains(columns, one.SDK) {
			columns = append(columns, one.SDK)
		}
	}
	slices.Sort(columns)
	var b strings.Builder
	b.WriteString("| | " + strings.Join(columns, " | ") + " |\n| --- |" + strings.Repeat(" --- |", len(columns)) + "\n")
	for _, row := range rows {
		b.WriteString("| " + row)
		for _, column := range columns {
			var cell []string
			for _, up := range spoken() {
				if slices.Contains(over[[2]string{column, row}], up[0]) {
					cell = append(cell, up[0])
				}
			}
			if len(cell) == len(spoken()) {
				cell = []string{"all"}
			}
			b.WriteString(" | " + strings.Join(cell, ", "))
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// replaceTable compares a table of docs/dialects.md with what it should be, or writes it.
func replaceTable(t *testing.T, name, table string) {
	t.Helper()
	const file, end = "../docs/dialects.md", "<!-- end -->"
	begin := "<!-- " + name + " -->\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	old, after, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		t.Fatalf("%s has no place for the table %s", file, name)
	case *update:
		if err := os.WriteFile(file, []byte(before+begin+table+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	case old != table:
		t.Errorf("%s says otherwise; go test ./e2e -run %s -update writes\n%s", file, t.Name(), table)
	}
}
