package route

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// static makes a Router of upstreams "name identity: models", in that order.
func static(t *testing.T, cfg Config, weights []int, specs ...string) *Router {
	t.Helper()
	var ups []Upstream
	for i, spec := range specs {
		about, models, _ := strings.Cut(spec, ": ")
		name, id, _ := strings.Cut(about, " ")
		u := Upstream{Name: name, Identity: id, Handler: quick(), Models: strings.Fields(models)}
		if weights != nil {
			u.Weight = weights[i]
		}
		ups = append(ups, u)
	}
	r, err := New(cfg, ups, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func idOf(t *testing.T, r *Router, model string) [32]byte {
	t.Helper()
	id, _, ok := r.Group(model)
	if !ok || id == [32]byte{} {
		t.Fatalf("no group for %q", model)
	}
	return id
}

// What does not change who may answer does not change the group.
func TestGroupIsTheSame(t *testing.T) {
	cfg := Default()
	cfg.Aliases = map[string]string{"fast": "m", "quick": "fast", "one": "a/m"}
	cfg.Fallbacks = map[string][]string{"m": {"x", "y"}}
	r := static(t, cfg, nil, "a i: m x", "b j: m y", "c k: x")
	want := idOf(t, r, "m")
	other := cfg
	other.Aliases = map[string]string{"unrelated": "a/x"}
	other.Fallbacks = map[string][]string{"m": {"y", "x"}, "x": {"y"}}
	other.Retry.MaxAttempts = 1
	for name, id := range map[string][32]byte{
		"again":           idOf(t, r, "m"),
		"alias":           idOf(t, r, "fast"),
		"alias of alias":  idOf(t, r, "quick"),
		"another machine": idOf(t, static(t, cfg, nil, "a i: m x", "b j: m y", "c k: x"), "m"),
		"order, weights":  idOf(t, static(t, other, []int{1, 9, 2}, "c k: x", "b j: y m", "a i: x m"), "m"),
		"models besides":  idOf(t, static(t, cfg, nil, "a i: m x z*", "b j: m y more", "c k: x"), "m"),
	} {
		if id != want {
			t.Errorf("%s: another group", name)
		}
	}
	for range cfg.Breaker.Failures {
		r.byName["a"].fails(unreachable, new(llm.Error), false)
	}
	r.table.Store(r.newTable())
	if r.Health()[0].Breaker != "open" || idOf(t, r, "m") != want {
		t.Error("how an upstream does changes the group")
	}
	if idOf(t, r, "one") != idOf(t, r, "a/m") {
		t.Error("an alias of a/m has another group")
	}
}

// Who may answer, and as what, is never the same for two different groups.
func TestGroupsDiffer(t *testing.T) {
	seen := make(map[[32]byte]string)
	differs := func(what string, id [32]byte) {
		t.Helper()
		if other, ok := seen[id]; ok {
			t.Errorf("%s is the same as %s", what, other)
		}
		seen[id] = what
	}
	cfg := Default()
	for _, c := range []struct{ specs, what string }{
		{"a i: m", "a"}, {"a j: m", "identity"}, {"b i: m", "name"}, {"a i: m|b i: m", "a and b"}, {"a i: m|b j: m", "identity of b"},
		{"ai : m", "name and identity joined"}, {"a : m", "no identity"}, {"a m: m|b i: x", "model and identity"},
	} {
		differs(c.what, idOf(t, static(t, cfg, nil, strings.Split(c.specs, "|")...), "m"))
	}
	r := static(t, cfg, nil, "a i: m n", "b i: m n")
	differs("another model", idOf(t, r, "n"))
	differs("another model of a", idOf(t, r, "a/n"))
	differs("the default upstream", idOf(t, r, ""))

	falling := func(model string, fallbacks map[string][]string) [32]byte {
		cfg.Fallbacks = fallbacks
		return idOf(t, static(t, cfg, nil, "a i: m", "b i: n", "c i: o"), model)
	}
	differs("fallback", falling("m", map[string][]string{"m": {"n"}}))
	differs("another fallback", falling("m", map[string][]string{"m": {"o"}}))
	differs("two fallbacks", falling("m", map[string][]string{"m": {"n", "o"}}))
	differs("the model is the fallback", falling("n", map[string][]string{"n": {"m"}}))

	cfg.Fallbacks, cfg.Aliases = nil, map[string]string{"w": "a/x"}
	before := static(t, cfg, nil, "a i: x", "b i: x")
	cfg.Aliases = map[string]string{"w": "b/x"}
	differs("alias", idOf(t, before, "w"))
	differs("alias that was changed", idOf(t, static(t, cfg, nil, "a i: x", "b i: x"), "w"))
}

func TestResolvedNames(t *testing.T) {
	cfg := Default()
	cfg.Aliases = map[string]string{"fast": "a/m", "lost": "nobody/x"}
	cfg.Fallbacks = map[string][]string{"gone": {"b/n"}}
	r := static(t, cfg, nil, "a: m org/m", "b: n m")
	for _, c := range []struct {
		name, want string
		known      bool
	}{
		{"m", "m", true}, {"a/m", "m", true}, {"fast", "m", true}, {"a/org/m", "org/m", true}, {"org/m", "org/m", true},
		{"gone", "gone", true}, // by its fallback alone
		{"", "", true},         // the default upstream
		{"none", "none", false}, {"a/none", "a/none", false}, {"lost", "nobody/x", false},
	} {
		for range 2 { // made, then kept
			_, name, ok := r.Group(c.name)
			if ok != c.known || ok && name != c.want {
				t.Errorf("group of %q: %q %v", c.name, name, ok)
			}
			is(t, c.name, r.ResolveModel(c.name), c.want)
		}
	}
}

// While a list is not known that a request would wait for there is no group;
// it comes, and changes, with the lists. Group itself waits for nothing.
func TestGroupFollowsLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", list: having("m")}
		b := &fake{name: "b", list: func(ctx context.Context, n int, out llm.Sink) error {
			return having([]string{"n", "m"}[:n]...)(ctx, n, out) // the second time with m
		}}
		r := setup(t, Default(), a, b)
		begin := time.Now()
		if _, _, ok := r.Group("m"); ok || a.lists() > 0 {
			t.Error("a group before any list is known")
		}
		pinned := idOf(t, r, "a/m") // needs no list
		is(t, "resolved", r.ResolveModel("a/m"), "m")
		start(t, r)
		first := idOf(t, r, "m")
		if first != idOf(t, r, "a/m") || first != pinned {
			t.Error("a alone has another group under each name")
		}
		if _, _, ok := r.Group("x"); ok || a.lists() != 1 {
			t.Errorf("a group that nobody is in; %d lists read", a.lists())
		}
		if time.Since(begin) != 0 {
			t.Errorf("waited %v", time.Since(begin))
		}
		time.Sleep(defaultTTL)
		if idOf(t, r, "m") == first {
			t.Error("b, which has the model now, is not in its group")
		}
	})
}

// An upstream without a list takes any name: of those few are kept, and the
// others are worked out each time.
func TestGroupsAreBounded(t *testing.T) {
	r := setup(t, Default(), &fake{name: "a"})
	seen := make(map[[32]byte]bool)
	for i := range 2 * maxGroups {
		seen[idOf(t, r, fmt.Sprint("m", i))] = true
	}
	long := strings.Repeat("x", maxModelName+1)
	seen[idOf(t, r, long)] = true
	kept := *r.table.Load().groups.kept.Load()
	if len(seen) != 2*maxGroups+1 || len(kept) != maxGroups {
		t.Errorf("%d groups, %d kept", len(seen), len(kept))
	}
	r = setup(t, Default(), &fake{name: "a"})
	idOf(t, r, long)
	if r.table.Load().groups.kept.Load() != nil {
		t.Error("an endless name is kept")
	}
}

func TestGroupConcurrently(t *testing.T) {
	r := quickRouter(t)
	want := idOf(t, quickRouter(t), "m")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				if id, _, ok := r.Group("m"); !ok || id != want {
					t.Error("another group")
				}
				r.Group(fmt.Sprint("a/", i*j))
				r.mu.Lock()
				r.table.Store(r.newTable())
				r.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestGroupAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	var r llm.Groups = quickRouter(t)
	for _, model := range []string{"m", "alias", "a/m"} {
		n := testing.AllocsPerRun(1000, func() {
			if _, _, ok := r.Group(model); !ok {
				t.Fatal("no group")
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations", model, n)
		}
	}
}

func BenchmarkGroup(b *testing.B) {
	r := quickRouter(b)
	b.Run("kept", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Group("m")
		}
	})
	b.Run("made", func(b *testing.B) {
		t := r.table.Load()
		b.ReportAllocs()
		for b.Loop() {
			r.group(t, "m")
		}
	})
}
