package route

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

func TestResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Aliases = map[string]string{
			"fast": "openai/gpt-4o-mini", "quick": "fast", "both": "shared", "gpt-4o": "router/big",
			"odd/name": "openai/gpt-4o-mini", "nowhere": "missing",
		}
		openai := &fake{name: "openai", list: having("gpt-4o", "gpt-4o-mini", "shared")}
		router := &fake{name: "router", list: having("openai/gpt-oss", "meta/llama-3/70b", "big", "shared", "ünï cödé\"\\")}
		r := setup(t, cfg, openai, router)
		start(t, r)
		synctest.Wait()
		for _, c := range []struct{ model, want string }{
			{"openai/gpt-4o", "openai:gpt-4o"},         // named
			{"openai/not-listed", "openai:not-listed"}, // its list may lag behind
			{"router/meta/llama-3/70b", "router:meta/llama-3/70b"},
			{"fast", "openai:gpt-4o-mini"},                  // alias
			{"quick", "openai:gpt-4o-mini"},                 // alias of an alias
			{"odd/name", "openai:gpt-4o-mini"},              // alias with a slash
			{"gpt-4o", "router:big"},                        // an alias wins over a model
			{"both", "openai:shared"},                       // alias of a listed model
			{"gpt-4o-mini", "openai:gpt-4o-mini"},           // listed
			{"meta/llama-3/70b", "router:meta/llama-3/70b"}, // listed, with slashes
			{"openai/gpt-oss", "router:openai/gpt-oss"},     // listed under a name that begins like an upstream
			{"ünï cödé\"\\", "router:ünï cödé\"\\"},
			{"missing", "404 model_not_found"},
			{"nowhere", "404 model_not_found"},
			{"openai/", "404 model_not_found"},
			{"/", "404 model_not_found"},
			{"OpenAI/gpt-4o", "404 model_not_found"}, // upstreams are named exactly
			{"\xff\x00\n", "404 model_not_found"},
			{strings.Repeat("é", 5000), "404 model_not_found"},
		} {
			is(t, c.model, ask(t, r, chat(c.model)), c.want)
		}
		is(t, "no model", ask(t, r, &llm.Request{Op: llm.Chat}), "400 missing_required_parameter")
		if openai.calls[0].Model != "openai/gpt-4o" {
			t.Errorf("Model was changed to %q", openai.calls[0].Model)
		}
	})
}

func TestNotFoundNamesNeighbours(t *testing.T) {
	r := setupStatic(t, Default(), map[string][]string{"a": {"zeta", "gpt-4o", "gpt-4o-mini", "claude"}}, &fake{name: "a"})
	_, e := askErr(t, r, chat("gpt-4o-mni"))
	want := "The model `gpt-4o-mni` does not exist. There is `gpt-4o-mini`, `gpt-4o`, `zeta`; GET /v1/models lists all."
	if e == nil || e.Message != want || e.Param != "model" || e.Type != llm.TypeInvalidRequest {
		t.Errorf("got %+v", e)
	}
	_, e = askErr(t, r, chat(strings.Repeat("é", 999)+"\xff"))
	if e == nil || len(e.Message) > 400 || !strings.HasPrefix(e.Message, "The model `éé") || strings.Contains(e.Message, "\ufffd") {
		t.Errorf("got %+v", e)
	}
}

func TestStaticModels(t *testing.T) {
	r := setupStatic(t, Default(), map[string][]string{"a": {"exact", "gpt-*"}, "b": {"gpt-4*"}}, &fake{name: "a"}, &fake{name: "b"})
	for model, want := range map[string]string{
		"exact": "a:exact", "gpt-3": "a:gpt-3", "gpt-4": "a:gpt-4", "b/gpt-4o": "b:gpt-4o", "gpt-": "a:gpt-",
		"a/other": "404 model_not_found", "gpt": "404 model_not_found", "b/gpt-3": "404 model_not_found",
	} {
		is(t, model, ask(t, r, chat(model)), want)
	}
	is(t, "list", ask(t, r, &llm.Request{Op: llm.ListModels}),
		`{"object":"list","data":[{"id":"exact","object":"model","created":0,"owned_by":"a"}]}`)
}

// A model that nobody lists goes to an upstream that could not say what it
// serves, the default one first.
func TestUnlistedUpstream(t *testing.T) {
	for _, c := range []struct{ def, want string }{{"", "b:x"}, {"a", "b:x"}, {"c", "c:x"}} {
		synctest.Test(t, func(t *testing.T) {
			cfg := Default()
			cfg.DefaultUpstream = c.def
			a := &fake{name: "a", list: having("m")}
			r := setup(t, cfg, a, &fake{name: "b"}, &fake{name: "c"})
			start(t, r)
			synctest.Wait()
			is(t, "listed", ask(t, r, chat("m")), "a:m")
			is(t, "default "+c.def, ask(t, r, chat("x")), c.want)
		})
	}
}

func TestPassthrough(t *testing.T) {
	cfg := Default()
	cfg.DefaultUpstream = "b"
	cfg.Aliases = map[string]string{"w": "a/m"}
	r := serving(t, cfg, &fake{name: "a"}, &fake{name: "b"})
	is(t, "no model", ask(t, r, &llm.Request{Op: llm.Passthrough, Path: "/v1/files"}), "b:")
	is(t, "response with a stored prompt", ask(t, r, &llm.Request{Op: llm.Response}), "b:")
	// In a form the name cannot be changed.
	is(t, "own name", ask(t, r, &llm.Request{Op: llm.Passthrough, Model: "m"}), "a:m")
	is(t, "alias", ask(t, r, &llm.Request{Op: llm.Passthrough, Model: "w"}), "400 model_name_not_replaceable")
	is(t, "prefix", ask(t, r, &llm.Request{Op: llm.Passthrough, Model: "a/m"}), "400 model_name_not_replaceable")
	cfg.DefaultUpstream = ""
	r = serving(t, cfg, &fake{name: "a"}, &fake{name: "b"})
	is(t, "no default", ask(t, r, &llm.Request{Op: llm.Passthrough}), "a:")
}

func TestRequestIsNotModified(t *testing.T) {
	r := setupStatic(t, Default(), map[string][]string{"a": {"m"}}, &fake{name: "a"})
	req := chat("a/m")
	req.BodyReader = strings.NewReader("x")
	before := *req
	ask(t, r, req)
	if req.UpstreamModel != before.UpstreamModel || req.BodyReader != before.BodyReader || req.Model != "a/m" {
		t.Errorf("request became %+v", req)
	}
}

func TestListIsMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Aliases = map[string]string{"zz": "a/x", "fast": "a/x", "y": "a/x", "lag": "b/new", "lost": "missing", "lost2": "lost"}
		// Numbers, key order, unknown fields and spaces stay as they are.
		a := &fake{name: "a", list: lists(` {"data" : [ {"created":1.50e1, "id":"\u0078","x":{ } }, {"id":"both","of":"a"},{"id":"both","of":"a again"} ],"object":"list"}`)}
		b := &fake{name: "b", list: lists(`[{"id":"both","of":"b"},{"id":"y"},{"no":"id"},{"id":7},{"id":""},"z",null,{"id":"` + strings.Repeat("l", 600) + `"}]`)}
		r := setup(t, cfg, a, b)
		start(t, r)
		synctest.Wait()
		own := func(id string) string { return `{"id":"` + id + `","object":"model","created":0,"owned_by":"sluice"}` }
		x := func(id string) string { return `{"created":1.50e1, "id":` + id + `,"x":{ } }` }
		// An alias wins over a model of its name, and one that leads nowhere is none.
		is(t, "list", ask(t, r, &llm.Request{Op: llm.ListModels}), `{"object":"list","data":[`+x(`"\u0078"`)+`,{"id":"both","of":"a"},`+x(`"y"`)+`,`+
			x(`"fast"`)+","+own("lag")+","+x(`"zz"`)+"]}")
		for id, want := range map[string]string{
			"x": x(`"\u0078"`), "a/both": `{"id":"a/both","of":"a"}`, "b/both": `{"id":"b/both","of":"b"}`, "lag": own("lag"),
			"fast": x(`"fast"`), "y": x(`"y"`), "lost": "404 model_not_found", "lost2": "404 model_not_found", "none": "404 model_not_found", "a/../both": "404 model_not_found", "..": "404 model_not_found",
		} {
			is(t, "get "+id, ask(t, r, &llm.Request{Op: llm.GetModel, Model: id}), want)
		}
		is(t, "by path", ask(t, r, &llm.Request{Op: llm.GetModel, Path: "/v1/models/a%2Fboth"}), `{"id":"a/both","of":"a"}`)
	})
}

func TestGetModelOfUnlistedUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a"}
		r := setup(t, Default(), a)
		is(t, "get", ask(t, r, &llm.Request{Op: llm.GetModel, Method: "GET", Model: "a/b c/d", Path: "/v1/models/a%2Fb%20c/d"}), "a:b c/d")
		is(t, "path", a.calls[0].Path, "/v1/models/b%20c/d")
		// Deleting a model concerns no fallback of it.
		cfg := Default()
		cfg.Fallbacks = map[string][]string{"a/m": {"b/n"}}
		a, b := &fake{name: "a", serve: always(refused)}, &fake{name: "b"}
		r = setup(t, cfg, a, b)
		remove := &llm.Request{Op: llm.Passthrough, Method: "DELETE", Model: "a/m", Path: "/v1/models/a/m"}
		is(t, "delete", ask(t, r, remove), "502 upstream_unreachable")
		is(t, "path", a.calls[2].Path, "/v1/models/m")
		is(t, "delete upwards", ask(t, r, &llm.Request{Op: llm.Passthrough, Method: "DELETE", Model: "a/..", Path: "/v1/models/a/.."}), "404 model_not_found")
		only := &fake{name: "a"}
		is(t, "delete", ask(t, setup(t, Default(), only), &llm.Request{Op: llm.Passthrough, Method: "DELETE", Model: "~x", Path: "/v1/models/%7Ex"}), "a:~x")
		is(t, "path that needs no change", only.calls[0].Path, "/v1/models/%7Ex")
		if b.count() != 0 {
			t.Errorf("%d calls", b.count())
		}
	})
}

func TestListsFailAndComeBack(t *testing.T) {
	long := func(ctx context.Context, _ int, _ llm.Sink) error { <-ctx.Done(); return ctx.Err() }
	for name, broken := range map[string]func(context.Context, int, llm.Sink) error{
		"dead":    func(context.Context, int, llm.Sink) error { return refused() },
		"hangs":   long,
		"garbage": lists(`<html>no</html>`),
		"empty":   lists(``),
		"object":  lists(`{"object":"list"}`),
		"null":    lists(`{"data":null}`),
		"cut":     lists(`{"data":[{"id":"m"`),
		"deep":    lists(strings.Repeat("[", 5000)),
		"huge":    lists(`{"data":["` + strings.Repeat("x", maxListBytes) + `"]}`),
		"stream": func(_ context.Context, _ int, out llm.Sink) error {
			return out.Start(&llm.Head{Status: 200, Kind: llm.EventStream})
		},
		"accepted": func(_ context.Context, _ int, out llm.Sink) error { return out.Start(&llm.Head{Status: 202}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			well := having("m")
			a := &fake{name: "a", list: func(ctx context.Context, n int, out llm.Sink) error {
				if n == 1 || n == 3 {
					return broken(ctx, n, out)
				}
				return well(ctx, n, out)
			}}
			r := setup(t, Default(), a, &fake{name: "b", list: having()})
			start(t, r)
			is(t, name+": nothing", ask(t, r, &llm.Request{Op: llm.ListModels}), "503 models_unavailable")
			is(t, name+": unlisted", ask(t, r, chat("x")), "a:x")
			if h := r.Health()[0]; h.ListError == nil {
				t.Errorf("%s: no error in %+v", name, h)
			}
			time.Sleep(failedEvery + time.Second)
			is(t, name+": listed", ask(t, r, &llm.Request{Op: llm.ListModels}), `{"object":"list","data":[{"id":"m","object":"model"}]}`)
			// A list that was known stays when it cannot be had again.
			time.Sleep(r.ttl + listTimeout)
			if a.lists() != 3 {
				t.Fatalf("%s: asked %d times", name, a.lists())
			}
			is(t, name+": kept", ask(t, r, &llm.Request{Op: llm.ListModels}), `{"object":"list","data":[{"id":"m","object":"model"}]}`)
		})
	}
}

// A service without model lists is not asked again all the time, and has an
// empty list, not an error.
func TestNoListEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a"}
		r := setup(t, Default(), a)
		start(t, r)
		is(t, "list", ask(t, r, &llm.Request{Op: llm.ListModels}), `{"object":"list","data":[]}`)
		time.Sleep(r.ttl - listTimeout - time.Second)
		if a.lists() != 1 {
			t.Errorf("asked %d times", a.lists())
		}
		time.Sleep(2 * time.Second)
		if a.lists() != 2 {
			t.Errorf("asked %d times", a.lists())
		}
	})
}

// An unknown name has the lists read again, at most once in ten seconds, and
// is then found if it is there.
func TestUnknownNameRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := []string{"old"}
		a := &fake{name: "a", list: func(ctx context.Context, n int, out llm.Sink) error {
			time.Sleep(time.Second)
			return having(ids...)(ctx, n, out)
		}}
		r := setup(t, Default(), a, &fake{name: "b", list: having()})
		if r.Ready() == nil {
			t.Error("ready before the lists were read")
		}
		// A request that comes before Run waits for it.
		early := make(chan string)
		go func() { early <- ask(t, r, chat("old")) }()
		synctest.Wait()
		start(t, r)
		if r.Ready() == nil {
			t.Error("ready before the lists were read")
		}
		is(t, "before the start", <-early, "a:old")
		is(t, "while the first list is read", ask(t, r, chat("old")), "a:old")
		synctest.Wait()
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
		begin := time.Now()
		ids = append(ids, "new")
		is(t, "new", ask(t, r, chat("new")), "a:new")
		for range 50 {
			is(t, "unknown", ask(t, r, chat("none")), "404 model_not_found")
		}
		if a.lists() != 2 || time.Since(begin) != time.Second {
			t.Errorf("%d lists read in %v", a.lists(), time.Since(begin))
		}
		time.Sleep(unknownEvery)
		for range 5 {
			go ask(t, r, chat("none"))
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if a.lists() != 3 {
			t.Errorf("%d lists read", a.lists())
		}
	})
}

// A slow list holds up neither a model that another upstream lists, nor, for
// longer than its time-out, one that nobody does, nor a client that leaves.
func TestSlowList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(ctx context.Context, _ int, _ llm.Sink) error { <-ctx.Done(); return ctx.Err() }
		r := setup(t, Default(), &fake{name: "a", list: slow}, &fake{name: "b", list: having("m")})
		start(t, r)
		begin := time.Now()
		is(t, "listed", ask(t, r, chat("m")), "b:m")
		if d := time.Since(begin); d != 0 {
			t.Errorf("listed model waited %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Serve(ctx, chat("x"), &recorder{}); err != context.DeadlineExceeded || time.Since(begin) != time.Second {
			t.Errorf("client that left: %v after %v", err, time.Since(begin))
		}
		is(t, "unlisted", ask(t, r, chat("x")), "a:x")
		if d := time.Since(begin); d != listTimeout {
			t.Errorf("unlisted model waited %v", d)
		}
	})
}

func TestRunEndsWhileListsAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, Default(), &fake{name: "a", list: func(ctx context.Context, _ int, _ llm.Sink) error { <-ctx.Done(); return ctx.Err() }}, &fake{name: "b"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		got := make(chan string)
		go func() { got <- ask(t, r, chat("x")) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s := <-got; s != "b:x" {
			t.Errorf("waiting request got %s", s)
		}
	})
}

func TestInherit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &fake{name: "a", list: having("m"), serve: always(refused)}, &fake{name: "b", list: having("n")}
		old := setup(t, Default(), a, b)
		start(t, old)
		synctest.Wait()
		for range 2 {
			ask(t, old, chat("m"))
		}
		other := &fake{name: "b", list: having("n")}
		r, err := New(Default(), []Upstream{{Name: "a", Handler: a}, {Name: "b", Handler: other}}, Options{Before: old})
		if err != nil {
			t.Fatal(err)
		}
		// a is known, open breaker included; b is another service now.
		is(t, "a", ask(t, r, chat("m")), "503 upstream_unavailable")
		if h := r.Health(); h[0].Models != 1 || h[0].Breaker != "open" || h[1].Models != 0 {
			t.Errorf("health %+v", h)
		}
		if _, err := New(Default(), []Upstream{{Name: "a", Handler: llm.HandlerFunc(a.Serve)}}, Options{Before: old}); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{`{"data":[{"id":"a"},{"id":"\ud800"},{"id":"a","again":1}]}`, `[{"id":"a"},1]`, `{"data":{}}`, `[`, ``, `{"data":[{}]}`, `  []`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		models, err := parseList(b)
		if err != nil && len(models) > 0 {
			t.Fatal("models and an error")
		}
		up := &upstream{Upstream: Upstream{Name: "u", Weight: 1}, models: models, known: listed}
		r := &Router{ups: []*upstream{up}, byName: map[string]*upstream{"u": up}, def: up}
		table := r.newTable()
		again, err := parseList(table.list)
		if err != nil || len(again) != len(models) {
			t.Fatalf("merged list %q: %d of %d models, %v", table.list, len(again), len(models), err)
		}
		for i, m := range models {
			if string(again[i].raw) != string(m.raw) || fmt.Sprint(table.resolve(nil, m.id, 0, false)) == "[]" {
				t.Fatalf("model %q was lost", m.id)
			}
		}
		if err == nil {
			restored := &upstream{Upstream: up.Upstream, router: r}
			restored.restore(r.Lists())
			if restored.known != listed || !reflect.DeepEqual(restored.models, models) {
				t.Fatalf("kept as %q, restored as %v", r.Lists(), restored.models)
			}
		}
	})
}

// Names out of the configuration and of lists are known, and none that a pattern
// or an upstream without a list would take.
func TestKnown(t *testing.T) {
	cfg := Default()
	cfg.Aliases = map[string]string{"prod": "a/m"}
	cfg.Fallbacks = map[string][]string{"old": {"m"}}
	a, b := &fake{name: "a"}, &fake{name: "b", list: having("listed")}
	r := setupStatic(t, cfg, map[string][]string{"a": {"m", "o*"}}, a, b)
	for name, want := range map[string]bool{
		"prod": true, "old": true, "m": true, "a/m": true, "b/m": false, "o1": false, "a/o1": false, "": false, "x": false, "a/": false, "listed": false,
	} {
		if r.Known(name) != want {
			t.Errorf("%q: got %v", name, !want)
		}
	}
	r.refresh(t.Context())
	if !r.Known("listed") || !r.Known("b/listed") || r.Known("a/listed") {
		t.Error("a model out of a list is not known")
	}
}

func TestModelQuery(t *testing.T) {
	for _, c := range [][3]string{
		{"", "m", ""}, {"model=a", "m", "model=m"}, {"a=1&model=a&b=%zz", "u/m x", "a=1&model=u%2Fm+x&b=%zz"}, {"model=m", "m", "model=m"},
		{"mod%65l=a%2Fb", "m", "model=m"}, {"model=%6d&x", "m", "model=%6d&x"}, {"model=%zz", "m", "model=m"}, {"xmodel=a&&model", "m", "xmodel=a&&model=m"},
	} {
		if got := modelQuery(c[0], c[1]); got != c[2] {
			t.Errorf("%q with %q: %q, want %q", c[0], c[1], got, c[2])
		}
	}
}
