package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/testkit"
)

// condition is what GET /v1/health/detailed says.
type condition struct {
	Status     string
	Version    string
	Uptime     float64 `json:"uptime_seconds"`
	Components []struct {
		Name, Status, Since, Advice string
		LastError                   string `json:"last_error"`
	}
}

func health(t *testing.T, in *instance) (status int, c condition, unwell string) {
	t.Helper()
	a := request(t, "GET", in.url+"/v1/health/detailed", "")
	if err := json.Unmarshal([]byte(a.body), &c); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	for _, p := range c.Components {
		if p.Since == "" || (p.Status != "healthy") != (p.Advice != "") {
			t.Errorf("component %+v", p)
		}
		if p.Status != "healthy" {
			unwell += p.Name + ":" + p.Status + " "
		}
	}
	return a.status, c, strings.TrimSpace(unwell)
}

// TestHealth: who reads it knows what is wrong, and with which part.
func TestHealth(t *testing.T) {
	t.Parallel()
	broken := false
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken {
			http.Error(w, `{"error":{"message":"the model is on fire"}}`, 500)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"object":"list","data":[{"id":"m"}]}`)
	}))
	r := newRedis(t)
	dir := filepath.Join(t.TempDir(), "state")
	in := start(t, fmt.Sprintf("upstreams: [{name: up, base_url: %q}]\nroute: {retry: {max_attempts: 1}, breaker: {failures: 3, open_for: 1h}}\n"+
		"cache: {redis_url: %q, redis_timeout: 1s, preload: {hot_set_interval: 0.2}}\nstate_dir: %q\n", up+"/v1", r.url, dir))
	in.l2up(t, "1")
	status, c, unwell := health(t, in)
	if status != 200 || c.Status != "healthy" || unwell != "" || c.Uptime <= 0 || len(c.Components) < 5 {
		t.Errorf("%d %+v", status, c)
	}
	await := func(what, want string) {
		t.Helper()
		testkit.Until(t, what, func() bool { _, _, unwell = health(t, in); return unwell == want })
	}
	r.end()
	for i := range 5 { // what is asked for finds out
		request(t, "POST", in.url+"/v1/embeddings", fmt.Sprintf(`{"model":"m","input":"%d"}`, i))
	}
	await("Redis gone", "cache/redis:degraded")
	if status, c, _ = health(t, in); status != 200 || c.Status != "degraded" {
		t.Errorf("%d %+v", status, c)
	}
	// The directory cannot be written any more. While it goes something may be written
	// into it still.
	testkit.Until(t, "the directory is gone", func() bool { return os.RemoveAll(dir) == nil })
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await("state directory", "cache/redis:degraded state_dir:degraded")
	broken = true
	for i := range 3 {
		chat(t, in.url, strings.Replace(hello("m"), "hello", fmt.Sprint(i), 1))
	}
	status, c, unwell = health(t, in)
	if status != 503 || c.Status != "unhealthy" || !strings.Contains(unwell, "upstream/up:unhealthy") {
		t.Errorf("%d %+v", status, c)
	}
	for _, p := range c.Components {
		if p.Name == "upstream/up" && p.LastError != "model `m`: the model is on fire" {
			t.Errorf("component %+v", p)
		}
	}
}
