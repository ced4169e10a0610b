package gateway

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"sluice/internal/front"
	"sluice/internal/memory/leak"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// TestReadLoad checks that what leaks are looked for in is what there is.
func TestReadLoad(t *testing.T) {
	g, url := run(t, load(t), nil)
	for range 2 {
		if status, body, err := chat(url, "sim-chat"); err != nil || status != 200 {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	var got leak.Reading
	testkit.Until(t, "both are done", func() bool {
		got = leak.Reading{}
		g.readLoad(&got)
		return got.Requests == 2
	})
	if got.Goroutines < 5 || got.Clients < 1 || got.Upstreams < 1 || got.Stored <= 0 {
		t.Errorf("%+v", got)
	}
	if runtime.GOOS == "linux" && got.Files < got.Clients+got.Upstreams {
		t.Errorf("%+v", got)
	}
	found := false
	for _, f := range g.figures.Examine().Findings {
		found = found || f.Component == "process/leaks" && f.State == perf.Healthy
	}
	if !found {
		t.Error("health has no process/leaks")
	}
}

// TestProfilesAreAdministrators has profiles go to administrators alone.
func TestProfilesAreAdministrators(t *testing.T) {
	cfg := load(t)
	cfg.Server.APIKeys = []front.APIKey{{Name: "team", Hash: HashKey("key-team")}, {Name: "boss", Hash: HashKey("key-boss"), Admin: true}}
	_, url := run(t, cfg, nil)
	for _, c := range []struct {
		path, key string
		status    int
		answer    string
	}{
		{"/debug/pprof", "key-boss", 200, "/debug/pprof/heap"},
		{"/debug/pprof/goroutine?debug=1", "key-boss", 200, "goroutine profile:"},
		{"/debug/pprof/cmdline", "key-boss", 404, "no_such_profile"},
		{"/debug/pprof/heap", "key-team", 403, "admin_key_required"},
		{"/debug/pprof/heap", "", 401, "no_api_key"},
		{"/debug/pprof", "", 401, "no_api_key"},
		{"/debug/vars", "key-boss", 404, ""},
		{"/debug/pprof/heap/more", "key-boss", 404, ""},
		{"/debug/pprof/../pprof/heap", "key-boss", 404, ""},
	} {
		req, err := http.NewRequest("GET", url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.key != "" {
			req.Header.Set("Authorization", "Bearer "+c.key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || !strings.Contains(string(b), c.answer) {
			t.Errorf("%s with %q: %d %.200s", c.path, c.key, resp.StatusCode, b)
		}
	}
}
