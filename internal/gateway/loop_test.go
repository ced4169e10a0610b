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
	resp, text := tell(t, far+"/v1/chat/completions", chatAsked, "CDN-Loop", "sluice-abcdefghijkl;a=b")
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	testkit.Until(t, "the service is asked", func() bool { return passed.Load() != nil })
	hops := strings.Split(passed.Load().(string), ", ")
	if len(hops) != 3 || hops[0] != "sluice-abcdefghijkl" || !strings.HasPrefix(hops[1], "sluice-") || !strings.HasPrefix(hops[2], "sluice-") || hops[1] == hops[2] {
		t.Errorf("passed %q", hops)
	}
	// Who has no keys serves nobody whom a proxy on the same machine lets through.
	if resp, text := tell(t, far+"/v1/chat/completions", chatAsked, "CDN-Loop", "cdn.example"); resp.StatusCode != 403 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestHopsOfClients: what a client says that its request has passed is its own affair: what no
// gateway has written is not handed on, and whom it makes an upstream refuse is that client alone.
func TestHopsOfClients(t *testing.T) {
	var passed atomic.Value
	var second atomic.Int64
	end := upstreamThat(t, func(w http.ResponseWriter, r *http.Request) {
		hops := strings.Join(r.Header.Values("Cdn-Loop"), ", ")
		if passed.Store(hops); strings.Contains(hops, "cloudflare") {
			http.Error(w, "loop", http.StatusBadGateway)
			return
		}
		replies(chatReply)(w)
	})
	other := upstreamThat(t, func(w http.ResponseWriter, _ *http.Request) {
		second.Add(1)
		replies(chatReply)(w)
	})
	_, near := run(t, loadYAML(t, fmt.Sprintf("server: {insecure: true}\nupstreams:\n- {name: up, base_url: '%s/v1', models: [m]}\n", end)), io.Discard)
	_, far := run(t, loadYAML(t, fmt.Sprintf("server: {insecure: true}\nupstreams:\n- {name: up, base_url: '%s/v1', models: [m]}\n- {name: other, base_url: '%s/v1', models: [o]}\n"+
		"route: {fallbacks: {m: [other/o]}}\n", near, other)), io.Discard)
	resp, text := tell(t, far+"/v1/chat/completions", chatAsked, "CDN-Loop", "cloudflare; loops=1, cloudflare, sluice-abcdefghijkl, sluice-cloudflare")
	hops := strings.Split(passed.Load().(string), ", ")
	if resp.StatusCode != 200 || len(hops) != 3 || hops[0] != "sluice-abcdefghijkl" {
		t.Fatalf("%d %s, passed %q", resp.StatusCode, text, hops)
	}
	for i, said := range []string{hops[2], strings.Repeat("sluice-abcdefghijkl,", 9)} {
		for range 10 {
			asked := strings.Replace(chatAsked, "{", fmt.Sprintf(`{"seed":%d,`, i), 1)
			if resp, text := tell(t, far+"/v1/chat/completions", asked, "CDN-Loop", said); resp.StatusCode != 508 || !strings.Contains(text, "loop_detected") {
				t.Errorf("%q: %d %s", said, resp.StatusCode, text)
			}
		}
		if resp, text := tell(t, far+"/v1/chat/completions", strings.Replace(chatAsked, "{", fmt.Sprintf(`{"seed":%d,`, 3+i), 1)); resp.StatusCode != 200 {
			t.Errorf("the next client after %q: %d %s", said, resp.StatusCode, text)
		}
	}
	if n := second.Load(); n > 0 {
		t.Errorf("the fallback was asked %d times", n)
	}
}
