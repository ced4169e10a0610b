package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/config"
	"sluice/internal/simulator"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// load makes a configuration as a file would.
func load(t *testing.T, env ...string) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.LoadOptions{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Port = 0
	return cfg
}

// model runs a simulator to be configured as an upstream.
func model(t *testing.T) (*simulator.Server, string) {
	t.Helper()
	sim := simulator.New(simulator.Config{})
	addr, err := sim.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); sim.Serve() }()
	t.Cleanup(func() { sim.Close(); <-done })
	return sim, "http://" + addr.String() + "/v1"
}

// pausing puts something before a model that keeps what comes after the first event
// of each stream until it is released.
func pausing(t *testing.T, base string) (before string, release func()) {
	t.Helper()
	to, err := url.Parse(strings.TrimSuffix(base, "/v1"))
	if err != nil {
		t.Fatal(err)
	}
	let := make(chan struct{})
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			// A server closes the body of a request once it answers, and with it what
			// is sent on of it, though all has been read but the end.
			body, _ := io.ReadAll(r.In.Body)
			r.Out.Body = io.NopCloser(bytes.NewReader(body))
		},
		FlushInterval: -1,
		ModifyResponse: func(resp *http.Response) error {
			if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
				resp.Body = &heldBody{ReadCloser: resp.Body, until: let}
			}
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	release = sync.OnceFunc(func() { close(let) })
	t.Cleanup(func() { release(); server.Close() })
	return server.URL + "/v1", release
}

type heldBody struct {
	io.ReadCloser
	until chan struct{}
	lines int // that were read
}

func (b *heldBody) Read(p []byte) (int, error) {
	if b.lines == 2 {
		<-b.until
		return b.ReadCloser.Read(p)
	}
	n, err := b.ReadCloser.Read(p[:1])
	b.lines += bytes.Count(p[:n], []byte("\n"))
	return n, err
}

// run starts a Gateway and ends it with the test.
func run(t *testing.T, cfg *config.Config, stdout io.Writer) (*Gateway, string) {
	t.Helper()
	g, err := New(cfg, Options{Version: "test", Stdout: stdout})
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, g)
}

// serve has a Gateway answer requests and ends it with the test.
func serve(t *testing.T, g *Gateway) (*Gateway, string) {
	t.Helper()
	addr, err := g.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		defer func() {
			if t.Failed() {
				t.Log(&g.memory.Budget)
			}
		}()
		testkit.Until(t, "all memory was given back", func() bool { return g.memory.Budget.Used() == 0 })
	})
	return g, "http://" + addr.String()
}

func chat(url, model string) (int, string, error) {
	resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}]}`, model)))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func TestNothingConfigured(t *testing.T) {
	var text testkit.Buffer
	_, url := run(t, load(t), &text)
	status, body, err := chat(url, "sim-echo")
	if err != nil || status != 200 || !strings.Contains(body, `"hi"`) {
		t.Fatalf("%d %s %v", status, body, err)
	}
	for _, want := range []string{url, "SIMULATED", "curl "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in %q", want, text.String())
		}
	}
}

// A key that nobody is asked with is named: the model would else be simulated in
// silence.
func TestUnusedKeysAreNamed(t *testing.T) {
	_, base := model(t)
	for _, c := range []struct {
		env   []string
		want  string
		using string // whom; "" for none, so that the model is simulated
	}{
		{[]string{"MISTRALL_API_KEY=sk-hidden"}, "MISTRALL_API_KEY is not used; did you mean MISTRAL_API_KEY?", ""},
		{[]string{"MISTRALL_API_KEY=sk-hidden", "ACME_API_KEY=sk-hidden", "ONE_API_KEY=sk-hidden", "ONE_BASE_URL=" + base}, "MISTRALL_API_KEY is not used; did you mean MISTRAL_API_KEY?", "one"},
		{[]string{"ACME_API_KEY=sk-hidden", "EXA_API_KEY=sk-hidden", "OPENAI2_API_KEY=sk-hidden", "OPENAI_API_KEY=sk-hidden", "OPENAI_BASE_URL=" + base}, "", "openai"},
		{[]string{"ACME_API_KEY=sk-hidden", "STRIPE_API_KEY=sk-hidden"}, "for want of an address: ACME_API_KEY, STRIPE_API_KEY. To use one say where it belongs, as ACME_BASE_URL=https://", ""},
	} {
		var text testkit.Buffer
		_, url := run(t, load(t, c.env...), &text)
		model := strings.TrimPrefix(c.using+"/sim-echo", "/")
		if status, body, err := chat(url, model); err != nil || status != 200 { // it was said before
			t.Fatalf("%d %s %v", status, body, err)
		}
		out := text.String()
		if !strings.Contains(out, c.want) || strings.Contains(out, "not used") != (c.want != "" && c.want[0] == 'M') ||
			strings.Contains(out, "SIMULATED") != (c.using == "") || strings.Contains(out, "hidden") || c.using != "" && strings.Contains(out, "ACME") {
			t.Errorf("no %q in %q", c.want, out)
		}
	}
}

func TestReloadDropsNothing(t *testing.T) {
	sim, base := model(t)
	base, release := pausing(t, base)
	_, second := model(t)
	one := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+base)
	g, url := run(t, one, nil)

	// A stream that spans both reloads, and calls all the time.
	stream, err := http.Post(url+"/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"one/sim-chat?tokens=60","stream":true,"messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	stop := make(chan struct{})
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, body, err := chat(url, "one/sim-chat"); err != nil || status != 200 {
					t.Errorf("during reload: %d %s %v", status, body, err)
					return
				}
			}
		})
	}
	kept := members(g.chain.parts)[0]
	both := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+base, "TWO_API_KEY=k2-secret", "TWO_BASE_URL="+second)
	if err := g.Reload(both); err != nil {
		t.Fatal(err)
	}
	if members(g.chain.parts)[0] != kept {
		t.Error("an upstream that did not change lost its connections")
	}
	if status, body, err := chat(url, "two/sim-chat"); err != nil || status != 200 {
		t.Errorf("new upstream: %d %s %v", status, body, err)
	}
	changed := load(t, "ONE_API_KEY=k3-secret", "ONE_BASE_URL="+base)
	if err := g.Reload(changed); err != nil {
		t.Fatal(err)
	}
	if members(g.chain.parts)[0] == kept {
		t.Error("an upstream with another key kept its handler")
	}
	if status, body, err := chat(url, "two/sim-chat"); err != nil || status != 404 {
		t.Errorf("upstream that was removed: %d %s %v", status, body, err)
	}
	release()
	whole, err := io.ReadAll(stream.Body)
	if err != nil || !bytes.HasSuffix(whole, []byte("data: [DONE]\n\n")) {
		t.Errorf("stream across reloads: %v, ends %q", err, whole[max(0, len(whole)-80):])
	}
	close(stop)
	calls.Wait()

	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	if !strings.Contains(string(page), `connections_open{upstream="one"}`) || strings.Contains(string(page), `connections_open{upstream="two"}`) {
		t.Error("figures are not those of the upstreams that there are")
	}
	if sim.Stats().Cancelled != 0 {
		t.Errorf("%d calls were cancelled", sim.Stats().Cancelled)
	}
}

// A reload takes up a schema file that changed, keeps what was uploaded and what
// is cached, and is refused where the file is broken.
func TestReloadOfSchemas(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.proto")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`syntax = "proto3"; message A { string x = 1; }`)
	cfg := load(t)
	cfg.Protobuf.Catalog.Schemas = []string{file}
	g, url := run(t, cfg, nil)
	call := func(method, path, kind, body string) (status int, cache string) {
		t.Helper()
		req, err := http.NewRequest(method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, resp.Header.Get("X-Cache")
	}
	encode := func(name, json string) int {
		t.Helper()
		status, _ := call("POST", "/v1/protobuf/encode?type="+name, "application/json", json)
		return status
	}
	if status, _ := call("PUT", "/v1/protobuf/schemas/up", "text/plain", `syntax = "proto3"; message Up {}`); status != 200 {
		t.Fatalf("upload: %d", status)
	}
	const hello = `{"model":"sim-chat","messages":[{"role":"user","content":"hi"}]}`
	if status, cache := call("POST", "/v1/chat/completions", "application/json", hello); status != 200 || cache != "MISS" {
		t.Errorf("%d %s", status, cache)
	}
	write(`syntax = "proto3"; message A { string y = 1; }`)
	same := load(t)
	same.Protobuf.Catalog.Schemas = []string{file}
	if err := g.Reload(same); err != nil {
		t.Fatal(err)
	}
	if x, y, up := encode("A", `{"x":""}`), encode("A", `{"y":""}`), encode("Up", `{}`); x != 400 || y != 200 || up != 200 {
		t.Errorf("after a reload %d %d %d", x, y, up)
	}
	other := load(t)
	other.Protobuf.Catalog.Schemas, other.Protobuf.MaxItems, other.Cache.MaxSize = []string{file}, 10, 100
	if err := g.Reload(other); err != nil {
		t.Fatal(err)
	}
	if up := encode("Up", `{}`); up != 200 {
		t.Errorf("another configuration: %d", up)
	}
	if status, cache := call("POST", "/v1/chat/completions", "application/json", hello); status != 200 || cache != "HIT" {
		t.Errorf("another configuration: %d %s", status, cache)
	}
	write("broken")
	again := load(t)
	again.Protobuf.Catalog.Schemas, again.Protobuf.MaxItems, again.Cache.MaxSize = []string{file}, 10, 100
	if err := g.Reload(again); err == nil || !strings.Contains(err.Error(), "a.proto") {
		t.Errorf("a broken file: %v", err)
	}
	if y := encode("A", `{"y":""}`); y != 200 {
		t.Errorf("after a broken file: %d", y)
	}
	off := load(t)
	off.Protobuf.Enabled, off.Cache.Enabled = false, false
	if err := g.Reload(off); err != nil {
		t.Fatal(err)
	}
	if status, cache := call("POST", "/v1/chat/completions", "application/json", hello); status != 200 || cache != "" {
		t.Errorf("off: %d %s", status, cache)
	}
	for _, path := range []string{"/v1/cache", "/v1/protobuf/schemas/up"} {
		if status, _ := call("DELETE", path, "", ""); status != 404 {
			t.Errorf("DELETE %s: %d", path, status)
		}
	}
}

func TestReloadRefusedKeepsTheOld(t *testing.T) {
	_, base := model(t)
	g, url := run(t, load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+base), nil)
	bad := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+base)
	bad.Server.Port = 1 // needs a restart
	if err := g.Reload(bad); err == nil {
		t.Error("a change of the port was taken")
	}
	if status, body, err := chat(url, "sim-chat"); err != nil || status != 200 {
		t.Errorf("%d %s %v", status, body, err)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := load(t)
	cfg.Server.Port = l.Addr().(*net.TCPAddr).Port
	g, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(context.Background()); err == nil {
		t.Error("Run did not fail")
	}
	if err := g.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestCloseEndsStreams(t *testing.T) {
	g, url := run(t, load(t), nil)
	resp, err := http.Post(url+"/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"simulator/sim-chat?stall=2","stream":true,"messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { g.Close(); close(closed) }()
	rest, _ := io.ReadAll(resp.Body)
	if bytes.Contains(rest, []byte("[DONE]")) {
		t.Error("a stream that was ended looks complete")
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("Close hangs")
	}
}
