package front

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
)

const page = "https://chat.example"

func withPage(c *Config, sc *StreamConfig) {
	withAdmin(c, sc)
	c.CORSOrigins = []string{"http://localhost:3000", page}
}

// TestPreflight: a page that is named may ask, without a key; no other may.
func TestPreflight(t *testing.T) {
	everybody := func(c *Config, sc *StreamConfig) { withAdmin(c, sc); c.CORSOrigins = []string{"*"} }
	for _, c := range []struct {
		name    string
		setting setting
		origin  []string
		ok      bool
	}{
		{"named", withPage, []string{page}, true}, {"second", withPage, []string{"http://localhost:3000"}, true}, {"all", everybody, []string{"https://other.example"}, true},
		{"all, null", everybody, []string{"null"}, true},
		{"other", withPage, []string{"https://other.example"}, false}, {"other port", withPage, []string{page + ":8443"}, false}, {"null", withPage, []string{"null"}, false},
		{"other scheme", withPage, []string{"http://chat.example"}, false}, {"longer", withPage, []string{page + ".evil.example"}, false}, {"two", withPage, []string{page, page}, false},
		{"none named", withAdmin, []string{page}, false}, {"empty", withPage, []string{""}, false},
	} {
		s := start(t, unary(`{}`), c.setting)
		for _, e := range engines {
			for _, path := range []string{chatPath, "/v1/files/f", "/v1/performance", "/v1/models"} {
				req := newRequest(t, t.Context(), "OPTIONS", s.url(path), "")
				req.Header["Origin"] = c.origin
				req.Header.Set("Access-Control-Request-Method", "POST")
				req.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-stainless-lang,openai-beta,traceparent")
				req.Header.Set("Access-Control-Request-Private-Network", "true")
				resp, body := do(t, e.client(t, s), req)
				h := resp.Header
				if !strings.Contains(h.Get("Vary"), "Origin") {
					t.Errorf("%s %s: %v", c.name, path, h)
				}
				if !c.ok {
					if resp.StatusCode != 403 || apiError(t, body).Code != "origin_refused" || !strings.Contains(body, "server.cors_origins") || strings.Contains(strings.Join(keysOf(h), " "), "Access-Control") {
						t.Errorf("%s %s: %d %s %v", c.name, path, resp.StatusCode, body, h)
					}
					continue
				}
				if resp.StatusCode != 204 || body != "" || h.Get("Access-Control-Allow-Origin") != c.origin[0] || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "DELETE") ||
					!strings.Contains(h.Get("Access-Control-Allow-Headers"), "x-stainless-lang,openai-beta") || h.Get("Access-Control-Allow-Private-Network") != "true" ||
					h.Get("Access-Control-Max-Age") != "600" || h.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s %s: %d %v", c.name, path, resp.StatusCode, h)
				}
			}
		}
	}
}

func keysOf(h http.Header) (names []string) {
	for name := range h {
		names = append(names, name)
	}
	return names
}

// TestPreflightIsOne: what only looks like one is answered as before, and what is
// not of the API has none.
func TestPreflightIsOne(t *testing.T) {
	s := start(t, unary(`{}`), withPage)
	client := h1(t, s)
	for _, c := range []struct {
		path, origin, method string
		status               int
	}{
		{"/v1/files", "", "POST", 401}, {"/v1/files", page, "", 401}, {"/healthz", page, "GET", 405}, {"/metrics", page, "GET", 405}, {"/nothing", page, "GET", 404},
	} {
		req := newRequest(t, t.Context(), "OPTIONS", s.url(c.path), "")
		for name, value := range map[string]string{"Origin": c.origin, "Access-Control-Request-Method": c.method} {
			if value != "" {
				req.Header.Set(name, value)
			}
		}
		resp, body := do(t, client, req)
		if resp.StatusCode != c.status || resp.Header.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("%+v: %d %s", c, resp.StatusCode, body)
		}
	}
	long := newRequest(t, t.Context(), "OPTIONS", s.url("/v1/files"), "")
	long.Header.Set("Origin", page)
	long.Header.Set("Access-Control-Request-Method", "POST")
	long.Header.Set("Access-Control-Request-Headers", strings.Repeat("x", maxAskedHeaders+1))
	if resp, _ := do(t, client, long); resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Headers") != corsHeaders {
		t.Errorf("long: %d %v", resp.StatusCode, resp.Header)
	}
}

// TestAllowedOrigin: every kind of reply, errors too, may be read by a page that
// is named and by no other, whatever the upstream says.
func TestAllowedOrigin(t *testing.T) {
	s := startWith(t, func(ctx context.Context, req *llm.Request, out llm.Sink) error {
		head := llm.Head{Status: 200, Kind: llm.Unary, Length: 2, Header: []llm.Field{{Name: "Vary", Value: "Accept"}, {Name: "Access-Control-Allow-Origin", Value: "*"}}}
		switch {
		case req.Model == "fail":
			return &llm.Error{Status: 429, Upstream: "up", Reply: &llm.ErrorReply{Body: []byte(`{}`), Header: head.Header}}
		case req.Stream:
			time.Sleep(5 * time.Millisecond) // a heartbeat may be first, or not
			head.Kind, head.Length = llm.EventStream, -1
		case req.Op == llm.Passthrough:
			head.Kind = llm.Pieces
		}
		if err := out.Start(&head); err != nil {
			return err
		}
		return out.Send(events("{}"))
	}, Options{Routes: []Route{
		{Method: "GET", Path: ownPath, Handler: saying("{}")},
		{Method: "GET", Path: livePage, Live: true, Handler: streaming(func(_ context.Context, send func([]byte) error) error { return send([]byte("data: 1\n\n")) })},
	}, Metrics: saying("1")},
		withPage, func(_ *Config, sc *StreamConfig) { sc.Heartbeat = 3 * time.Millisecond })
	for _, e := range engines {
		client := e.client(t, s)
		for _, c := range []struct {
			method, path, body, key string
			status                  int
		}{
			{"POST", chatPath, chatBody, "key-boss", 200}, {"POST", chatPath, streamBody, "key-boss", 200}, {"POST", "/v1/files", "{}", "key-boss", 200},
			{"GET", ownPath, "", "key-boss", 200}, {"GET", livePage, "", "key-boss", 200}, {"GET", ownPath, "", "key-team", 403},
			{"POST", chatPath, chatBody, "wrong", 401}, {"POST", chatPath, "{", "key-boss", 400}, {"POST", chatPath, `{"model":"fail"}`, "key-boss", 429}, {"PUT", chatPath, "", "key-boss", 405},
		} {
			for origin, allowed := range map[string]string{page: page, "https://other.example": "", "": ""} {
				req := newRequest(t, t.Context(), c.method, s.url(c.path), c.body)
				req.Header.Set("Authorization", "Bearer "+c.key)
				if origin != "" {
					req.Header.Set("Origin", origin)
				}
				resp, body := do(t, client, req)
				if got := strings.Join(resp.Header.Values("Access-Control-Allow-Origin"), "|"); resp.StatusCode != c.status || got != allowed {
					t.Errorf("%s: %s %s from %q: %d, allows %q: %s", e.name, c.method, c.path, origin, resp.StatusCode, got, body)
				}
				if vary := strings.Join(resp.Header.Values("Vary"), ", "); !strings.HasPrefix(vary, "Origin") {
					t.Errorf("%s: %s %s from %q: Vary %q", e.name, c.method, c.path, origin, vary)
				}
				if shown := resp.Header.Get("Access-Control-Expose-Headers"); (shown != "") != (allowed != "") || shown != "" && !strings.Contains(shown, "X-Request-Id") {
					t.Errorf("%s: %s %s from %q: exposes %q", e.name, c.method, c.path, origin, shown)
				}
			}
		}
		for _, path := range []string{"/metrics", "/healthz", "/nothing"} {
			req := newRequest(t, t.Context(), "GET", s.url(path), "")
			req.Header.Set("Origin", page)
			req.Header.Set("Authorization", "Bearer key-boss")
			if resp, _ := do(t, client, req); resp.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: %s may be read by a page", e.name, path)
			}
		}
	}
}

func TestOriginsConfig(t *testing.T) {
	for _, good := range []string{"*", page, "http://localhost:3000", "http://[::1]:3000", "http://127.0.0.1", "chrome-extension://abcdef", "app://obsidian.md", "https://chat.example:80"} {
		if err := checkOrigin(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"", "null", "chat.example", "localhost:3000", "//chat.example", "https://", "https://chat.example/", "https://chat.example/path", "https://chat.example?x", "https://chat.example#x",
		"https://user@chat.example", "https://*.example", "https://Chat.example", "HTTPS://chat.example", "https://chat.example:443", "http://chat.example:80", "https://chat.example:",
		"https://:443", "https://chat.example, https://b.example", " https://chat.example",
	} {
		if checkOrigin(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	cfg, _ := testConfig(func(c *Config, _ *StreamConfig) { c.CORSOrigins, c.Insecure = []string{page}, true })
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "cors_origins: ") || !strings.Contains(err.Error(), "server.api_keys") {
		t.Errorf("without keys: %v", err)
	}
}
