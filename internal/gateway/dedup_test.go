package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/internal/config"
	"sluice/internal/front"
	"sluice/internal/testkit"
)

// TestDedup: a conversation is made shorter on its way by the mode of the request, the key, the
// model, or all; equal conversations meet in the cache; the figures have it.
func TestDedup(t *testing.T) {
	var got atomic.Pointer[http.Request]
	var body atomic.Pointer[string]
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Method != "POST" {
			http.NotFound(w, r)
			return
		}
		text := string(b)
		got.Store(r)
		body.Store(&text)
		if strings.Contains(text, `"stream":true`) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}`)
	}))
	t.Cleanup(up.Close)
	cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+up.URL+"/v1")
	cfg.Server.APIKeys = []front.APIKey{{Name: "plain", Hash: front.HashKey("sk-plain")}, {Name: "off", Hash: front.HashKey("sk-off"), Dedup: "off"}, {Name: "blocks", Hash: front.HashKey("sk-blocks"), Dedup: "blocks"}}
	cfg.Server.OpenMetrics = true
	cfg.Dedup.Models = map[string]string{"one/b*": "blocks", "one/big": "off", "cat": "off"}
	cfg.Route.Aliases = map[string]string{"large": "one/big", "pet": "one/cat"}
	g, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, g)
	prompt := strings.Repeat("Answer in one line. ", 10)
	var file strings.Builder
	for i := range 60 {
		fmt.Fprintf(&file, "line %d of a file\\n", i)
	}
	conversation := func(model, rest string) string {
		said := func(role, text string) string { return fmt.Sprintf(`{"role":%q,"content":"%s"}`, role, text) }
		return fmt.Sprintf(`{"model":%q,%s"messages":[%s]}`, model, rest, strings.Join([]string{said("system", prompt), said("user", "a"), said("assistant", file.String()),
			said("system", prompt), said("user", "b"), said("assistant", file.String()), said("user", "c")}, ","))
	}
	ask := func(key, mode, request string) (saved, status string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/chat/completions", strings.NewReader(request))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		if mode != "" {
			req.Header.Set("X-Sluice-Dedup", mode)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, b)
		}
		return resp.Header.Get("X-Sluice-Dedup"), resp.Header.Get("X-Cache")
	}
	const safe, blocks = "messages=1, bytes=231, ", "messages=2, bytes="
	n := 0
	for _, c := range []struct{ key, model, mode, saved string }{
		{"sk-plain", "one/m", "", safe},
		{"sk-plain", "one/m", "off", ""},
		{"sk-plain", "one/m", "blocks", blocks},
		{"sk-plain", "one/base", "", blocks},
		{"sk-plain", "one/big", "", ""},
		{"sk-plain", "one/big", "blocks", blocks},
		{"sk-off", "one/m", "", ""},
		{"sk-off", "one/base", "", ""},
		{"sk-blocks", "one/m", "", blocks},
		{"sk-blocks", "one/big", "", ""},
		{"sk-plain", "large", "", ""},
		{"sk-plain", "one/cat", "", ""},
		{"sk-plain", "pet", "", ""},
		{"sk-plain", "pet", "blocks", blocks},
	} {
		for _, stream := range []string{"", `"stream":true,`} {
			n++
			request := conversation(c.model, fmt.Sprintf(`"seed":%d,`, n)+stream)
			saved, _ := ask(c.key, c.mode, request)
			sent := *body.Load()
			if !strings.HasPrefix(saved, c.saved) || (c.saved == "") != (saved == "") || (saved == "") != (len(sent) >= len(request)-len("one/")) {
				t.Errorf("%v: saved %q, want %q; %d of %d bytes are sent", c, saved, c.saved, len(sent), len(request))
			}
			if len(got.Load().Header["X-Sluice-Dedup"]) > 0 {
				t.Error("the upstream sees the client's header")
			}
		}
	}
	if first, _ := ask("sk-plain", "", conversation("one/m", "")); first == "" {
		t.Error("nothing was saved")
	}
	short := strings.Replace(conversation("one/m", ""), fmt.Sprintf(`{"role":"system","content":"%s"},{"role":"user","content":"b"}`, prompt), `{"role":"user","content":"b"}`, 1)
	if saved, status := ask("sk-plain", "", short); saved != "" || status != "HIT" {
		t.Errorf("what the same becomes shorter to: %q, %s", saved, status)
	}
	wrong, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/chat/completions", strings.NewReader(short))
	if err != nil {
		t.Fatal(err)
	}
	wrong.Header = http.Header{"Authorization": {"Bearer sk-plain"}, "X-Sluice-Dedup": {"all"}}
	resp, err := http.DefaultClient.Do(wrong)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 400 || !strings.Contains(string(b), "invalid_dedup") {
		t.Errorf("a mode that there is not: %d %s", resp.StatusCode, b)
	}
	_, page := get(t, url+"/metrics")
	if a, b := testkit.Total(t, page, "sluice_dedup_saved_bytes_total"), testkit.Total(t, page, "sluice_dedup_messages_total"); a < 10_000 || b < 10 {
		t.Errorf("%d bytes, %d messages", a, b)
	}
}

// TestDedupOff: what is never used is not in the way.
func TestDedupOff(t *testing.T) {
	for _, c := range []struct {
		set func(*config.Config)
		in  bool
	}{
		{func(*config.Config) {}, true},
		{func(c *config.Config) { c.Dedup.Mode = "off" }, true}, // clients may ask for it
		{func(c *config.Config) { c.Dedup.Mode, c.Dedup.Override = "off", false }, false},
		{func(c *config.Config) {
			c.Dedup.Mode, c.Dedup.Override, c.Server.APIKeys = "off", false, []front.APIKey{{Name: "a", Hash: front.HashKey("a"), Dedup: "safe"}}
		}, true},
		{func(c *config.Config) {
			c.Dedup.Mode, c.Dedup.Override, c.Dedup.Models = "off", false, map[string]string{"m": "blocks"}
		}, true},
	} {
		cfg := load(t)
		c.set(cfg)
		if in := dedupStage().key(cfg) != nil; in != c.in {
			t.Errorf("%+v: in the chain: %v", cfg.Dedup, in)
		}
	}
}

// TestDedupTranslated: what names messages and lines by number is not put into a request that
// may be written anew in another dialect, where they have others.
func TestDedupTranslated(t *testing.T) {
	var asked atomic.Value
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked.Store(string(b))
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer up.Close()
	entry := func(name, protocol, more string) string {
		return fmt.Sprintf("  - {name: %s, protocol: %s, base_url: %s/v1, api_key: k, models: [m-%s]%s}\n", name, protocol, up.URL, name, more)
	}
	_, url := run(t, loadYAML(t, "cache: {enabled: false}\ndedup: {mode: blocks}\nroute: {fallbacks: {far: [m-claude]}, aliases: {far: m-open}}\nupstreams:\n"+
		entry("open", "openai", "")+entry("chats", "openai", ", responses: translate")+entry("claude", "anthropic", "")+entry("google", "gemini", "")), io.Discard)
	var file strings.Builder
	for i := range 60 {
		fmt.Fprintf(&file, "line %d of a file\\n", i)
	}
	said := func(role, text string) string { return fmt.Sprintf(`{"role":%q,"content":"%s"}`, role, text) }
	turns := strings.Join([]string{said("user", "a"), said("assistant", file.String()), said("user", "b"), said("assistant", file.String()), said("user", "c")}, ",")
	list := "[" + said("system", "be short") + "," + turns + "]"
	contents := "[" + strings.NewReplacer(`"content":"`, `"parts":[{"text":"`, `"}`, `"}]}`, `"assistant"`, `"model"`).Replace(turns) + "]"
	for _, c := range []struct {
		model, path, member string
		refers              bool
	}{
		{"m-open", "chat/completions", "messages", true},
		{"m-open", "responses", "input", false}, {"m-open", "responses", "input", true}, // it has answered one, and so has the route {"open/m-open", "chat/completions", "messages", true},
		{"m-chats", "chat/completions", "messages", true}, {"m-chats", "responses", "input", false},
		{"m-claude", "chat/completions", "messages", false}, {"m-google", "chat/completions", "messages", false}, {"claude/m-claude", "chat/completions", "messages", false},
		{"far", "chat/completions", "messages", false}, // its fallback may answer
		{"m-claude", "messages", "messages", true}, {"far", "messages", "messages", false}, {"m-open", "messages", "messages", true}, {"m-google", "messages", "messages", false}, {"far", "messages", "messages", true},
		{"m-google", "", "contents", true}, {"m-claude", "", "contents", false}, {"m-open", "", "contents", false},
	} {
		asked.Store("")
		switch path, body := "/v1/"+c.path, fmt.Sprintf(`{"model":%q,%q:%s}`, c.model, c.member, list); c.member {
		case "contents":
			posted(t, url, "/v1beta/models/"+c.model+":generateContent", `{"contents":`+contents+`}`)
		default:
			if c.path == "messages" {
				body = fmt.Sprintf(`{"model":%q,"max_tokens":9,"system":"be short","messages":[%s]}`, c.model, turns)
			}
			posted(t, url, path, body)
		}
		got, _ := asked.Load().(string)
		if !strings.Contains(got, "line 59 of a file") || strings.Contains(got, "[[Sluice") != c.refers {
			t.Errorf("%s, %s: want a reference %v: %s", c.model, c.path, c.refers, got)
		}
	}
}
