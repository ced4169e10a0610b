package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/perf"
)

// invention is a stage that nothing but a test knows of. It notes what becomes of
// its parts.
type invention struct {
	mu   sync.Mutex
	keys map[*config.Config]string // where there is none it is off
	fail error                     // of the next build
	made []*invented
}

// invented is one of its parts.
type invented struct {
	key       string
	before    any
	committed bool
	handler   atomic.Pointer[llm.Handler] // of the last use; nil for none
	runs      atomic.Int32
	started   chan struct{} // takes something at each run
	running   atomic.Bool
	served    atomic.Int32
	closed    chan struct{} // closed by close
}

func (p *invented) Figures(r perf.Reporter) {
	r.Counter("invented_total", "Requests that passed through.", float64(p.served.Load()), "key", p.key)
}

// second is another source of the same part.
type second struct{ *invented }

func (s second) Figures(r perf.Reporter) {
	r.Gauge("invented_runs", "How often it was started.", float64(s.runs.Load()), "key", s.key)
}

func (i *invention) stage() stage {
	return stage{name: "invention", key: i.key, build: i.build}
}

func (i *invention) key(cfg *config.Config) any {
	i.mu.Lock()
	defer i.mu.Unlock()
	if key, ok := i.keys[cfg]; ok {
		return key
	}
	return nil
}

func (i *invention) build(a *assembly) (*part, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fail != nil {
		return nil, i.fail
	}
	p := &invented{key: i.keys[a.cfg], started: make(chan struct{}, 10), closed: make(chan struct{})}
	i.made = append(i.made, p)
	return &part{
		is:      p,
		figures: []figures{{"invention", p}, {"invention_l2", second{p}}},
		stage: func(_ *chain, next llm.Handler) llm.Handler {
			return llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
				p.served.Add(1)
				return next.Serve(ctx, req, out)
			})
		},
		commit: func(before any) { p.before, p.committed = before, true },
		use: func(h llm.Handler) {
			p.handler.Store(nil)
			if h != nil {
				p.handler.Store(&h)
			}
		},
		run: func(ctx context.Context) {
			p.runs.Add(1)
			p.running.Store(true)
			p.started <- struct{}{}
			<-ctx.Done()
			p.running.Store(false)
		},
		close: func() { close(p.closed) },
	}, nil
}

// with gives a configuration in which the invention has a key, "" for none.
func (i *invention) with(t *testing.T, key string, env ...string) *config.Config {
	cfg := load(t, env...)
	if key != "" {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.keys == nil {
			i.keys = map[*config.Config]string{}
		}
		i.keys[cfg] = key
	}
	return cfg
}

// runStages is run with other stages.
func runStages(t *testing.T, cfg *config.Config, o Options, list []stage) (*Gateway, string) {
	t.Helper()
	g, err := newGateway(cfg, o, list)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, g)
}

// before gives the stages with another one in front of one of them.
func before(t *testing.T, name string, another stage) []stage {
	t.Helper()
	list := stages()
	at := slices.IndexFunc(list, func(s stage) bool { return s.name == name })
	if at < 0 {
		t.Fatalf("there is no stage %s", name)
	}
	return slices.Insert(list, at, another)
}

// systems lists the systems whose figures are registered, sorted.
func systems(g *Gateway) (list []string) {
	g.figures.Each(func(system string, _ perf.Source) { list = append(list, system) })
	slices.Sort(list)
	return list
}

// passed gives how often a part was passed by requests, by its figures.
func passed(t *testing.T, url, key string) string {
	t.Helper()
	_, page := get(t, url+"/metrics")
	_, rest, ok := strings.Cut(page, fmt.Sprintf("sluice_invented_total{key=%q} ", key))
	if !ok {
		return "none"
	}
	n, _, _ := strings.Cut(rest, "\n")
	return n
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A stage is added by its line in the list, and everything else follows: its place,
// its figures, and what reloads do to it.
func TestInventedStage(t *testing.T) {
	i := &invention{}
	_, base := model(t)
	base, release := pausing(t, base)
	env := []string{"ONE_API_KEY=k1-secret", "ONE_BASE_URL=" + base}
	// Between the codec, which answers its own requests, and the cache.
	g, url := runStages(t, i.with(t, "a", env...), Options{}, before(t, "cache", i.stage()))
	reload := func(key string, env ...string) {
		t.Helper()
		if err := g.Reload(i.with(t, key, env...)); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() {
		t.Helper()
		if status, body, err := chat(url, "one/sim-chat"); err != nil || status != 200 {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	ask()
	ask() // the cache answers
	if status, body := get(t, url+"/v1/protobuf/schemas"); status != 200 {
		t.Fatalf("the codec's paths are not its own any more: %d %s", status, body)
	}
	if n := passed(t, url, "a"); n != "2" {
		t.Errorf("%s requests passed", n)
	}
	if list := systems(g); !slices.Contains(list, "invention") || !slices.Contains(list, "invention_l2") {
		t.Errorf("systems: %v", list)
	}
	a := i.made[0]
	<-a.started
	if !a.committed || a.before != nil || a.runs.Load() != 1 || a.handler.Load() == nil {
		t.Errorf("the first part: %+v", a)
	}

	// It is shared while its configuration stays the same, whatever else changes.
	first := a.handler.Load()
	reload("a", append(env, "TWO_API_KEY=k2-secret", "TWO_BASE_URL="+base)...)
	ask()
	if len(i.made) != 1 || a.runs.Load() != 1 || passed(t, url, "a") != "3" {
		t.Errorf("%d were made, started %d times", len(i.made), a.runs.Load())
	}
	if h := a.handler.Load(); h == nil || h == first {
		t.Error("it does not know the handler of the new chain")
	}

	// The last chain that holds it closes it: here one with a request.
	stream, err := http.Post(url+"/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"one/sim-chat?tokens=40","stream":true,"messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	reload("b", env...)
	b := i.made[1]
	<-b.started
	if b.before != any(a) || b.runs.Load() != 1 || a.handler.Load() != nil {
		t.Errorf("the second part: %+v", b)
	}
	if passed(t, url, "a") != "none" || passed(t, url, "b") == "none" {
		t.Error("the figures are not those of the part in use")
	}
	select {
	case <-a.closed:
		t.Error("closed with a request under way")
	default:
	}
	release()
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Fatal(err)
	}
	<-a.closed
	if a.running.Load() || a.runs.Load() != 1 {
		t.Errorf("closed while it runs, or started %d times", a.runs.Load())
	}

	// Off it is not there at all.
	reload("", env...)
	<-b.closed
	ask()
	if list := systems(g); slices.Contains(list, "invention") || b.handler.Load() != nil || b.served.Load() != 0 {
		t.Errorf("off: %v", list)
	}
	reload("c", env...)
	c := i.made[2]
	<-c.started
	if c.before != nil || c.runs.Load() != 1 {
		t.Errorf("on again: %+v", c)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	<-c.closed
}

// A part that uses another one is not shared when that is another.
func TestPartsThatAreUsed(t *testing.T) {
	i := &invention{}
	var built int
	user := stage{name: "user", key: func(*config.Config) any { return "same" }, build: func(a *assembly) (*part, error) {
		built++
		return &part{is: use[*invented](a, "invention")}, nil
	}}
	g, _ := runStages(t, i.with(t, "a"), Options{}, slices.Concat([]stage{i.stage(), user}, stages()))
	for n, step := range []struct {
		key   string
		built int
	}{{"a", 1}, {"b", 2}, {"b", 2}, {"", 3}, {"", 3}, {"b", 4}} {
		if err := g.Reload(i.with(t, step.key)); err != nil {
			t.Fatal(err)
		}
		if p := held[*invented](g.chain, "user"); built != step.built || (p != nil) != (step.key != "") || p != nil && p.key != step.key {
			t.Errorf("step %d: built %d times, uses %+v", n, built, p)
		}
	}
}

// A part that cannot be built leaves nothing behind.
func TestStageThatFails(t *testing.T) {
	i := &invention{fail: errors.New("no such thing")}
	_, err := newGateway(i.with(t, "a"), Options{}, append(stages(), i.stage()))
	if err == nil || !strings.Contains(err.Error(), "set up invention: no such thing") {
		t.Errorf("%v", err)
	}
}

// Every part has a name of its own: sharing goes by names.
func TestStageNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range slices.Concat(upstreamStages(load(t)), stages()) {
		if s.name == "" || seen[s.name] {
			t.Errorf("two parts are called %q", s.name)
		}
		seen[s.name] = true
	}
}

// docs/ARCHITECTURE.md draws the way of a request as it is with all stages on.
func TestStagesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	cfg := load(t)
	cfg.RateLimit.RequestsPerMinute = 1 // no key has a limit by default
	cfg.Responses.Store = true          // nor are they kept
	g, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	way := []string{"client", "front"}
	for _, p := range g.chain.parts {
		if p.stage != nil {
			way = append(way, p.name)
		}
	}
	if want := strings.Join(way, " ─▶ ") + " ─▶ admit ─▶ translate ─▶ upstream"; !strings.Contains(string(page), want) {
		t.Errorf("docs/ARCHITECTURE.md does not have %s", want)
	}
}

// answerable is a stage with paths of its own.
type answerable struct {
	llm.Handler
	path string
}

func (a answerable) Answers(path string) bool { return path == a.path }

// Each stage's own paths are the chain's, wherever it stands.
func TestAnswers(t *testing.T) {
	wrap := func(path string) func(*chain, llm.Handler) llm.Handler {
		return func(_ *chain, next llm.Handler) llm.Handler { return answerable{next, path} }
	}
	plain := func(_ *chain, next llm.Handler) llm.Handler {
		return llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error { return next.Serve(ctx, req, out) })
	}
	for name, stages := range map[string][]func(*chain, llm.Handler) llm.Handler{
		"first, last": {wrap("/a"), plain, wrap("/b")}, "neighbours": {wrap("/b"), wrap("/a"), plain}, "behind": {plain, wrap("/a"), wrap("/b")},
	} {
		c := &chain{}
		for _, s := range stages {
			c.parts = append(c.parts, &part{stage: s})
		}
		c.join()
		a, ok := c.handler.(answerer)
		if !ok || !a.Answers("/a") || !a.Answers("/b") || a.Answers("/c") {
			t.Errorf("%s: not all of the stages' paths are answered", name)
		}
	}
}

// A gateway that is closed before it runs begins nothing.
func TestRunClosed(t *testing.T) {
	cfg, err := config.Load(config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Port = 0
	g, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := g.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
