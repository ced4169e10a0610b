package front

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/internal/llm"
)

func TestPassthroughPatterns(t *testing.T) {
	list := Passthrough{"/v1/files", "GET /v1/files/*", "/v1/fine_tuning/jobs/*/events", "POST /v1/images/*"}
	if err := list.faults(); err != nil {
		t.Fatal(err)
	}
	some, all, none := newPassthrough(list), newPassthrough(Passthrough{"all"}), newPassthrough(Passthrough{"none"})
	for _, c := range []struct {
		request string
		ok      bool
	}{
		{"GET /v1/files", true}, {"POST /v1/files", true}, {"DELETE /v1/files", true}, {"GET /v1/files/f", true}, {"HEAD /v1/files/f", true}, {"GET /v1/files/f/content", true},
		{"GET /v1/fine_tuning/jobs/j/events", true}, {"POST /v1/images/edits", true},
		{"GET /v1/files/", false}, {"DELETE /v1/files/f", false}, {"GET /v1/filesystem", false}, {"GET /v1/Files", false}, {"GET /v1/fine_tuning/jobs", false},
		{"GET /v1/fine_tuning/jobs/j", false}, {"GET /v1/fine_tuning/jobs//events", false}, {"GET /v1/fine_tuning/jobs/j/k/events", false}, {"GET /v1/fine_tuning/jobs/j/events/", false},
		{"GET /v1/fine_tuning/jobs/j/events/e", false}, {"GET /v1/images/edits", false}, {"POST /v1/images", false}, {"GET /v1/batches", false}, {"GET /v1/", false}, {"GET /v2/files", false},
		{"GET /v1/files/a%2Fb", false}, {"GET /v1/files/%2e%2e/batches", false}, {"GET /v1/files/..;/batches", false}, {`GET /v1/files/..\batches`, false}, {"GET /v1/files/%252e%252e/batches", false},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		if some.allows(method, path) != c.ok || !all.allows(method, path) || none.allows(method, path) {
			t.Errorf("%s: %v", c.request, !c.ok)
		}
	}
	if n := testing.AllocsPerRun(100, func() { some.allows("GET", "/v1/fine_tuning/jobs/j/events") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	for _, bad := range []Passthrough{
		{}, {"all", "none"}, {"none", "/v1/files"}, {"files"}, {"/files"}, {"/v1"}, {"/v1/"}, {"/v1/files/"}, {"/v1//files"}, {"/v1/fi*"}, {"/v1/**"}, {"/v1/../x"}, {"/v1/a%2Fb"}, {"get /v1/files"},
		{"OPTIONS /v1/files"}, {"GET  /v1/files"}, {"GET /v1/files "}, {"/v1/files?x"}, {""}, {"*"},
	} {
		if bad.faults() == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzPassthrough: whatever a pattern matches has its literal segments where it
// has them.
func FuzzPassthrough(f *testing.F) {
	f.Add("GET /v1/files/*", "/v1/files/x")
	f.Add("/v1/a/*/b", "/v1/a/c/b")
	f.Fuzz(func(t *testing.T, text, path string) {
		p, err := parsePattern(text)
		if err != nil {
			return
		}
		if !(&passthrough{list: []pattern{p}}).allows("GET", path) {
			return
		}
		segments := strings.Split(strings.TrimPrefix(path, "/v1/"), "/")
		for i, want := range p.segments {
			if i >= len(segments) || segments[i] == "" || want != "*" && segments[i] != want {
				t.Fatalf("%q matches %q", text, path)
			}
		}
		if p.segments[len(p.segments)-1] != "*" && len(segments) != len(p.segments) {
			t.Fatalf("%q matches %q", text, path)
		}
	})
}

// answering is a handler that has paths of its own.
type answering struct{ llm.HandlerFunc }

func (answering) Answers(path string) bool { return strings.HasPrefix(path, "/v1/protobuf/") }

// TestPassthroughPolicy: a key's own setting wins, and what the gateway answers
// itself is never refused.
func TestPassthroughPolicy(t *testing.T) {
	reached := ""
	handler := llm.HandlerFunc(func(_ context.Context, req *llm.Request, out llm.Sink) error {
		reached = req.Tenant
		return sendUnary(out, `{}`)
	})
	cfg, sc := testConfig(func(c *Config, _ *StreamConfig) {
		c.Passthrough = Passthrough{"GET /v1/files/*"}
		c.APIKeys = []APIKey{{Name: "plain", Hash: HashKey("plain")}, {Name: "none", Hash: HashKey("none"), Passthrough: Passthrough{"none"}}, {Name: "all", Hash: HashKey("all"), Passthrough: Passthrough{"all"}}}
	})
	own := []Route{{Method: "GET", Path: ownPath, Handler: saying("{}")}}
	for _, h := range []llm.Handler{handler, answering{handler}} {
		s, err := New(cfg, sc, h, Options{Routes: own})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		_, codec := h.(answering)
		for _, c := range []struct {
			request          string
			plain, none, all bool
		}{
			{"POST " + chatPath, true, true, true}, {"POST /v1/embeddings", true, true, true}, {"POST /v1/responses", true, true, true}, {"GET /v1/models", true, true, true}, {"GET /v1/models/m", true, true, true},
			{"GET /v1/files/f", true, false, true}, {"GET /v1/files/f/content", true, false, true}, {"HEAD /v1/files/f", true, false, true},
			{"DELETE /v1/files/f", false, false, true}, {"POST /v1/files", false, false, true}, {"GET " + chatPath, false, false, true}, {"GET /v1/responses/r", false, false, true},
			{"DELETE /v1/models/m", false, false, true}, {"POST /v1/responses/r/cancel", false, false, true}, {"GET /v1/files/a%2Fb", false, false, true},
			{"POST /v1/protobuf/encode", codec, codec, true},
		} {
			method, target, _ := strings.Cut(c.request, " ")
			for key, want := range map[string]bool{"plain": c.plain, "none": c.none, "all": c.all} {
				reached = ""
				r := httptest.NewRequest(method, target, strings.NewReader(`{"model":"m"}`))
				r.Header.Set("Authorization", "Bearer "+key)
				w := httptest.NewRecorder()
				serve(s, w, r)
				if w.Code == 405 { // where there is no HEAD
					continue
				}
				if want {
					if w.Code != 200 || reached != key {
						t.Errorf("%s for %s: %d %s", c.request, key, w.Code, w.Body)
					}
					continue
				}
				if e := apiError(t, w.Body.String()); w.Code != 403 || reached != "" || e.Code != "passthrough_refused" || e.Type != llm.TypePermission ||
					!strings.Contains(e.Message, "passthrough") || !strings.Contains(e.Message, "server.api_keys") {
					t.Errorf("%s for %s: %d %s", c.request, key, w.Code, w.Body)
				}
			}
		}
	}
}

func TestWarnings(t *testing.T) {
	key := func(name string, admin bool, p ...string) APIKey {
		return APIKey{Name: name, Hash: HashKey(name), Admin: admin, Passthrough: p}
	}
	for _, c := range []struct {
		all  string
		keys []APIKey
		want string
	}{
		{"all", nil, ""}, {"all", []APIKey{key("a", false)}, ""}, {"all", []APIKey{key("a", true), key("b", true)}, ""}, {"none", []APIKey{key("a", false), key("b", false)}, ""},
		{"all", []APIKey{key("a", false, "all"), key("b", false, "none")}, ""},
		{"all", []APIKey{key("a", false), key("b", false)}, "a, b may"}, {"all", []APIKey{key("boss", true), key("b", false)}, "b may"},
		{"all", []APIKey{key("a", false), key("b", false), key("c", false), key("d", false), key("e", false), key("f", false)}, "a, b, c, d, e and 1 more may"},
	} {
		cfg, _ := testConfig(func(cfg *Config, _ *StreamConfig) { cfg.Passthrough, cfg.APIKeys = Passthrough{c.all}, c.keys })
		got := cfg.Warnings()
		if (len(got) == 0) != (c.want == "") || len(got) == 1 && (!strings.HasPrefix(got[0], "api_keys: "+c.want) || !strings.Contains(got[0], "deleted")) {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestMetricsKey: the figures are for administrators and for who has their key.
func TestMetricsKey(t *testing.T) {
	hash := func(c *Config, _ *StreamConfig) { c.MetricsKey = HashKey("key-metrics") }
	opened := func(c *Config, _ *StreamConfig) { c.OpenMetrics = true }
	for _, c := range []struct {
		name     string
		settings []setting
		want     map[string]int
	}{
		{"no keys", nil, map[string]int{"": 200, "Bearer x": 200}},
		{"metrics key alone", []setting{hash}, map[string]int{"": 401, "Bearer x": 401, "Bearer key-metrics": 200}},
		{"keys", []setting{withAdmin}, map[string]int{"": 401, "Bearer x": 401, "Bearer key-team": 403, "Bearer key-boss": 200, "Bearer key-metrics": 401, "Basic key-boss": 401}},
		{"both", []setting{withAdmin, hash}, map[string]int{"": 401, "Bearer x": 401, "Bearer key-team": 403, "Bearer key-boss": 200, "Bearer key-metrics": 200, "Basic key-metrics": 401}},
		{"opened", []setting{withAdmin, opened}, map[string]int{"": 200, "Bearer x": 200}},
	} {
		var reached int
		s := guarded(t, &reached, c.settings...)
		for auth, want := range c.want {
			for _, method := range []string{"GET", "HEAD"} {
				reached = 0
				r := httptest.NewRequest(method, "/metrics", nil)
				r.RemoteAddr, r.Host = "127.0.0.1:5", "localhost"
				if auth != "" {
					r.Header.Set("Authorization", auth)
				}
				w := httptest.NewRecorder()
				serve(s, w, r)
				if w.Code != want || (reached == 1) != (want == 200) || (want == 401) != (w.Result().Header.Get("Www-Authenticate") == "Bearer") {
					t.Errorf("%s, %q: %d %s", c.name, auth, w.Code, w.Body)
				}
				if want != 200 && apiError(t, w.Body.String()).Message == "" {
					t.Errorf("%s, %q: %s", c.name, auth, w.Body)
				}
			}
		}
		// The key is for nothing else.
		r := httptest.NewRequest("POST", chatPath, strings.NewReader(`{"model":"m"}`))
		r.RemoteAddr, r.Host = "192.0.2.1:5", "gateway.example"
		r.Header.Set("Authorization", "Bearer key-metrics")
		w := httptest.NewRecorder()
		if serve(s, w, r); w.Code != 401 && w.Code != 403 {
			t.Errorf("%s: the metrics key gets a chat: %d", c.name, w.Code)
		}
	}
	cfg, _ := testConfig(withAdmin, hash, opened)
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "open_metrics: ") {
		t.Errorf("both: %v", err)
	}
	cfg.MetricsKey, cfg.OpenMetrics = "key-metrics", false
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "metrics_key: ") {
		t.Errorf("no hash: %v", err)
	}
}
