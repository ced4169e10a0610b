package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/internal/testkit"
)

// TestLoop: a request that comes back to its gateway, through whatever stands between, is refused
// in plain words, and sent no second time. One that passes several gateways is answered.
func TestLoop(t *testing.T) {
	var back atomic.Pointer[httputil.ReverseProxy]
	var came atomic.Int64
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			came.Add(1)
		}
		p := back.Load()
		if p == nil {
			http.NotFound(w, r)
			return
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(between.Close)
	const service = "upstreams:\n- {name: up, protocol: %s, base_url: '%s', models: [m]}\n"
	_, second := run(t, loadYAML(t, fmt.Sprintf(service, "openai", between.URL+"/v1")), io.Discard)
	_, first := run(t, loadYAML(t, fmt.Sprintf(service, "openai", second+"/v1")), io.Discard)
	to, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	back.Store(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	for path, body := range map[string]string{"/v1/chat/completions": chatAsked, "/v1/messages": messageAsked, "/v1/embeddings": `{"model":"m","input":"a"}`} {
		before := came.Load()
		resp, text := tell(t, first+path, body)
		if resp.StatusCode != 508 || !strings.Contains(text, "has come back to the gateway that sent it") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, text)
		}
		if n := came.Load() - before; n != 1 {
			t.Errorf("%s: sent %d times", path, n)
		}
	}

	var passed atomic.Value
	end := upstreamThat(t, func(w http.ResponseWriter, r *http.Request) {
		passed.Store(strings.Join(r.Header.Values("Cdn-Loop"), ", "))
		replies(chatReply)(w)
	})
	_, near := run(t, loadYAML(t, fmt.Sprintf(service, "openai", end+"/v1")), io.Discard)
	_, far := run(t, loadYAML(t, fmt.Sprintf(service, "openai", near+"/v1")), io.Discard)
	resp, text := tell(t, far+"/v1/chat/completions", chatAsked, "CDN-Loop", "sluice-another;a=b")
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	testkit.Until(t, "the service is asked", func() bool { return passed.Load() != nil })
	hops := strings.Split(passed.Load().(string), ", ")
	if len(hops) != 3 || hops[0] != "sluice-another;a=b" || !strings.HasPrefix(hops[1], "sluice-") || !strings.HasPrefix(hops[2], "sluice-") || hops[1] == hops[2] {
		t.Errorf("passed %q", hops)
	}
	// Who has no keys serves nobody whom a proxy on the same machine lets through.
	if resp, text := tell(t, far+"/v1/chat/completions", chatAsked, "CDN-Loop", "cdn.example"); resp.StatusCode != 403 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}
