package gateway

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/protobuf/catalog"
	"sluice/internal/testkit"
)

// values collects figures as "system name labels": value.
type values struct {
	system string
	all    map[string]float64
}

func (v values) add(name string, value float64, labels []string) {
	v.all[v.system+" "+name+" "+strings.Join(labels, " ")] = value
}
func (v values) Counter(name, _ string, value float64, labels ...string) { v.add(name, value, labels) }
func (v values) Gauge(name, _ string, value float64, labels ...string)   { v.add(name, value, labels) }
func (v values) Histogram(name, _ string, h *perf.Histogram, labels ...string) {
	v.add(name, float64(h.Distribution().Count), labels)
}
func (v values) Ratio(name, _ string, part, whole float64, labels ...string) {
	v.add(name+" part", part, labels)
	v.add(name, whole, labels)
}

// stable are the values of all parts of the chain and of the front; those of the
// process, its past and its logs go their own way.
func stable(g *Gateway) map[string]float64 {
	all := map[string]float64{}
	g.figures.Each(func(system string, s perf.Source) {
		if system != "process" && system != "perf" && system != "alarms" {
			s.Figures(values{system, all})
		}
	})
	return all
}

// situation is all that a reload which is refused must leave as it is.
type situation struct {
	live     *chain
	systems  []string
	figures  map[string]float64
	health   []string
	schemas  []string
	files    map[string]string // in the state directory, with digests
	opened   []string          // sockets, and files there
	log      string
	routines int
}

func (g *Gateway) situation(t *testing.T, log *testkit.Buffer) situation {
	t.Helper()
	s := situation{live: g.live.Load(), systems: systems(g), figures: stable(g), files: map[string]string{}}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, "health changed") { // which comes when it comes
			s.log += line
		}
	}
	for _, f := range g.figures.Examine().Findings {
		if !strings.HasPrefix(f.Component, "process") {
			s.health = append(s.health, fmt.Sprint(f.Component, f.State, f.Error))
		}
	}
	for _, known := range held[*catalog.Catalog](g.chain, "schemas").List() {
		s.schemas = append(s.schemas, fmt.Sprintf("%s %x", known.Name, known.Digest))
	}
	err := filepath.WalkDir(g.cfg.StateDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			s.files[path] = "folder"
			return err
		}
		b, err := os.ReadFile(path)
		s.files[path] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	open, _ := os.ReadDir("/proc/self/fd") // where there is no such thing nothing is compared
	for _, fd := range open {
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && (strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, g.cfg.StateDir)) { // the runtime opens others
			s.opened = append(s.opened, to)
		}
	}
	slices.Sort(s.opened)
	s.routines = runtime.NumGoroutine()
	return s
}

// diff says in what another situation differs, "" for nothing.
func (s situation) diff(o situation) string {
	var list []string
	note := func(differs bool, format string, args ...any) {
		if differs {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	note(s.live != o.live, "another chain")
	note(!slices.Equal(s.systems, o.systems), "systems %v, then %v", s.systems, o.systems)
	for name := range maps.Keys(s.figures) {
		note(s.figures[name] != o.figures[name], "%s: %v, then %v", name, s.figures[name], o.figures[name])
	}
	note(len(s.figures) != len(o.figures), "%d figures, then %d", len(s.figures), len(o.figures))
	note(!slices.Equal(s.health, o.health), "health %q, then %q", s.health, o.health)
	note(!slices.Equal(s.schemas, o.schemas), "schemas %q, then %q", s.schemas, o.schemas)
	note(!maps.Equal(s.files, o.files), "files %q, then %q", s.files, o.files)
	note(!slices.Equal(s.opened, o.opened), "opened %q, then %q", s.opened, o.opened)
	note(s.log != o.log, "log:\n%s", strings.TrimPrefix(o.log, s.log))
	note(o.routines > s.routines, "%d goroutines, then %d", s.routines, o.routines)
	return strings.Join(list, "\n")
}

// nobody listens and counts who comes.
func nobody(t *testing.T) (addr string, came *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String(), came
}

// A reload that is refused, at whichever point, has changed nothing at all.
func TestRefusedReloadChangesNothing(t *testing.T) {
	_, base := model(t)
	elsewhere, came := nobody(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close() // what is there no more
	file := filepath.Join(t.TempDir(), "a.proto")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const sound = `syntax = "proto3"; message A { string x = 1; }`
	write(sound)

	i, log := &invention{}, &testkit.Buffer{}
	dir := t.TempDir()
	// configuration makes the one in use again, or another one.
	configuration := func(key string) *config.Config {
		cfg := i.with(t, key, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+base, "DOWN_API_KEY=k2-secret", "DOWN_BASE_URL=http://"+gone.Addr().String()+"/v1")
		cfg.StateDir = dir
		cfg.Protobuf.Catalog.Schemas = []string{file}
		cfg.Route.Breaker.OpenFor = time.Hour
		for n := range cfg.Upstreams {
			cfg.Upstreams[n].Models = []string{cfg.Upstreams[n].Name + "-*", "sim-chat"}
			cfg.Upstreams[n].HTTPClient.WarmConnections, cfg.Upstreams[n].HTTPClient.KeepaliveExpiry = 0, time.Hour
		}
		return cfg
	}
	g, url := runStages(t, configuration("a"), Options{Logger: slog.New(slog.NewTextHandler(log, nil))}, append(stages(), i.stage()))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // leaves no goroutine
	do := func(method, path, kind, body string) (status int, cache string) {
		t.Helper()
		req, err := http.NewRequest(method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("X-Cache")
	}
	ask := func(model, said string) (int, string) {
		t.Helper()
		return do("POST", "/v1/chat/completions", "application/json", fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]}`, model, said))
	}
	if status, _ := do("PUT", "/v1/protobuf/schemas/up", "text/plain", `syntax = "proto3"; message Up {}`); status != 200 {
		t.Fatalf("upload: %d", status)
	}
	if status, cache := ask("one/sim-chat", "before"); status != 200 || cache != "MISS" {
		t.Fatalf("%d %s", status, cache)
	}
	for range 10 { // until the breaker of what is gone is open
		ask("down/down-1", "anybody?")
	}
	if !strings.Contains(log.String(), "left alone") {
		t.Fatalf("no breaker is open:\n%s", log.String())
	}

	last := situation{}
	testkit.Until(t, "what the requests began has ended", func() bool {
		now := g.situation(t, log)
		same := last.diff(now) == ""
		last = now
		return same && now.figures["front client_connections_open "] == 0
	})

	// everything is a configuration in which nothing is as it was.
	everything := func(cfg *config.Config) {
		cfg.Cache.MaxSize, cfg.Cache.Redis.URL = 7, llm.NewSecret("redis://"+elsewhere)
		cfg.Protobuf.MaxItems, cfg.Protobuf.Catalog.Schemas = 7, []string{file, "up=" + file}
		cfg.Upstreams[0].HTTPClient.WarmConnections = 3
		cfg.Upstreams[1].Settings = configuration("").Upstreams[0].Settings
		cfg.Route.Breaker.OpenFor *= 2
		cfg.Stream.FlushInterval *= 2
		cfg.Server.MaxConnections = 1 << 29 // more than there are descriptors for: said when it is so
		write(`syntax = "proto3"; message A { string y = 1; }`)
	}
	for _, c := range []struct {
		name, want string
		change     func(cfg *config.Config)
	}{
		{"the front, which needs a restart", "port", func(cfg *config.Config) { cfg.Server.Port = 1 }},
		{"the front, by its limits", "max_body_bytes", func(cfg *config.Config) { cfg.Server.MaxBodyBytes = 0 }},
		{"the front, last of all", "idle_timeout", func(cfg *config.Config) { everything(cfg); cfg.Server.IdleTimeout *= 2 }},
		{"a schema, nothing else having changed", "a.proto", func(*config.Config) { write("broken") }},
		{"a schema, with everything else", "a.proto", func(cfg *config.Config) { everything(cfg); write("broken") }},
		{"no room for schemas", "no room for more schemas", func(cfg *config.Config) { cfg.Protobuf.Catalog.MaxSchemas = 1 }},
		{"another state directory", "idle_timeout", func(cfg *config.Config) {
			everything(cfg)
			cfg.StateDir, cfg.Server.IdleTimeout = filepath.Join(dir, "other"), 1
		}},
		{"an upstream", "set up upstream one", func(cfg *config.Config) {
			everything(cfg)
			cfg.Upstreams[len(cfg.Upstreams)-1].HTTPClient.MaxConnections = -1
		}},
		{"the cache", "set up cache", func(cfg *config.Config) { everything(cfg); cfg.Cache.MaxSize, cfg.Cache.MaxBytes = 10, 1 }},
		{"the second level", "set up cache", func(cfg *config.Config) {
			everything(cfg)
			cfg.Cache.Redis.URL = llm.NewSecret("nonsense://" + elsewhere)
		}},
		{"routing", "set up route", func(cfg *config.Config) { everything(cfg); cfg.Route.DefaultUpstream = "nobody" }},
		{"the simulator in place of upstreams", "port", func(cfg *config.Config) { everything(cfg); cfg.Upstreams, cfg.Server.Port = nil, 1 }},
		{"a stage that is the last", "no such thing", func(cfg *config.Config) { everything(cfg); i.fail = errors.New("no such thing") }},
		{"all that can be turned off", "port", func(cfg *config.Config) {
			cfg.Cache.Enabled, cfg.Protobuf.Enabled, cfg.Server.Port = false, false, 1
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := "b"
			if c.want == "a.proto" {
				key = "a"
			}
			cfg := configuration(key)
			write(sound)
			c.change(cfg)
			before := g.situation(t, log)
			err := g.Reload(cfg)
			i.fail = nil
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("refused with %v, want %s", err, c.want)
			}
			var diff string
			defer func() {
				if diff != "" {
					t.Error(diff)
				}
			}()
			testkit.Until(t, "all is as it was", func() bool { // what was built may still be ending
				diff = before.diff(g.situation(t, log))
				return diff == ""
			})
		})
		if n := came.Load(); n > 0 {
			t.Fatalf("%d connections were made to where a refused configuration says", n)
		}
	}

	// The chain that answers is the old one, with what it knew.
	if status, cache := ask("one/sim-chat", "before"); status != 200 || cache != "HIT" {
		t.Errorf("what was cached: %d %s", status, cache)
	}
	if status, cache := ask("one/sim-chat", "after"); status != 200 || cache != "MISS" {
		t.Errorf("what was not: %d %s", status, cache)
	}
	if status, _ := do("POST", "/v1/protobuf/encode?type=A", "application/json", `{"x":""}`); status != 200 {
		t.Errorf("the schema: %d", status)
	}
	if status, _ := do("POST", "/v1/protobuf/encode?type=Up", "application/json", `{}`); status != 200 {
		t.Errorf("the upload: %d", status)
	}
}

// TestReloadsLetGo: nothing of a chain is kept that others have taken the place of, however
// long their parts live. What each reload left behind would be a leak.
func TestReloadsLetGo(t *testing.T) {
	_, base := model(t)
	configured := func(n int) *config.Config {
		cfg := load(t, "ONE_API_KEY=k", "ONE_BASE_URL="+base)
		cfg.StateDir = t.TempDir()
		switch n % 5 { // in turn, so that there are always parts of several chains
		case 0:
			cfg.Cache.MaxSize += n
		case 1:
			cfg.Batch.MaxBatchSize += n
		case 2:
			cfg.Dedup.MinBlock += n
		case 3:
			cfg.RateLimit.RequestsPerMinute = int64(1000 + n)
		case 4:
			cfg.Protobuf.MaxItems += n
		}
		return cfg
	}
	first := configured(1)
	dir := first.StateDir
	g, url := run(t, first, io.Discard)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var chains []weak.Pointer[chain]
	var parts []weak.Pointer[part]
	for n := range 12 {
		resp, err := client.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"sim-chat","messages":[{"role":"user","content":"`+fmt.Sprint(n)+`"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		old := g.live.Load()
		chains = append(chains, weak.Make(old))
		for _, p := range old.parts {
			parts = append(parts, weak.Make(p))
		}
		next := configured(n)
		next.StateDir = dir
		if err := g.Reload(next); err != nil {
			t.Fatal(err)
		}
	}
	live := g.live.Load().parts
	testkit.Until(t, "what is replaced is let go", func() bool {
		runtime.GC()
		for _, c := range chains {
			if c.Value() != nil {
				return false
			}
		}
		return !slices.ContainsFunc(parts, func(p weak.Pointer[part]) bool { return p.Value() != nil && !slices.Contains(live, p.Value()) })
	})
}
