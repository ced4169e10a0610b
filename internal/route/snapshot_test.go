package route

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// restart makes a Router over fakes, each of identity "id", from lists that an
// earlier one kept.
func restart(t *testing.T, lists []List, before *Router, fakes ...*fake) *Router {
	t.Helper()
	var ups []Upstream
	for _, f := range fakes {
		ups = append(ups, Upstream{Name: f.name, Handler: f, Identity: "id"})
	}
	r, err := New(Default(), ups, Options{Lists: lists, Before: before})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// What JSON packages like to change stays as it is.
		list := lists(`{"data":[ {"id" : "m<&>", "created":1.50e1 },{"id":"n"}]}`)
		old := restart(t, nil, nil, &fake{name: "a", list: list}, &fake{name: "b"})
		start(t, old)
		want := ask(t, old, &llm.Request{Op: llm.ListModels})
		group := idOf(t, old, "n")
		time.Sleep(100 * time.Second)
		kept, err := json.Marshal(old.Lists())
		if err != nil {
			t.Fatal(err)
		}
		var read []List
		if err := json.Unmarshal(kept, &read); err != nil {
			t.Fatal(err)
		}
		if len(read) != 1 || read[0].Upstream != "a" || read[0].Identity != "id" || read[0].Age != 100*time.Second {
			t.Fatalf("kept %s", kept)
		}
		read[0].Age += 500 * time.Second // for which nothing ran

		// The list serves at once, before the upstream is asked.
		a := &fake{name: "a", list: slowly(func(int) bool { return true })}
		r := restart(t, read, nil, a)
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
		is(t, "list", ask(t, r, &llm.Request{Op: llm.ListModels}), want)
		is(t, "its state", models(t, r, "", llm.CachePolicy{}), "STALE 600")
		is(t, "chat", ask(t, r, chat("n")), "a:n")
		if idOf(t, r, "n") != group {
			t.Error("another group")
		}
		if again := r.Lists(); !reflect.DeepEqual(again, read) {
			t.Errorf("kept again as %v", again)
		}
		// It is read in the background.
		start(t, r)
		is(t, "while read", models(t, r, "", llm.CachePolicy{}), "STALE 600")
		time.Sleep(time.Second)
		synctest.Wait()
		is(t, "read", models(t, r, "", llm.CachePolicy{}), "HIT 0")
		is(t, "new list", ask(t, r, &llm.Request{Op: llm.ListModels}), `{"object":"list","data":[{"id":"m","object":"model"}]}`)
	})
}

// Only the list of the same upstream is taken over, and only if it is one and
// nothing newer is known.
func TestForeignLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := List{Upstream: "a", Identity: "id", Models: []byte(`[{"id":"m"}]`)}
		with := func(change func(*List)) []List {
			l := good
			change(&l)
			return []List{l}
		}
		for name, c := range map[string]struct {
			lists []List
			want  int
		}{
			"right":           {[]List{good}, 1},
			"age of the past": {with(func(l *List) { l.Age = 1<<63 - 1 }), 1},
			"age to come":     {with(func(l *List) { l.Age = -time.Hour }), 1},
			"none":            {nil, 0},
			"another name":    {with(func(l *List) { l.Upstream = "b" }), 0},
			"other identity":  {with(func(l *List) { l.Identity = "" }), 0},
			"damaged":         {with(func(l *List) { l.Models = l.Models[:5] }), 0},
			"no list":         {with(func(l *List) { l.Models = nil }), 0},
			"too large":       {with(func(l *List) { l.Models = fmt.Appendf(nil, "[%*d]", maxListBytes, 1) }), 0},
		} {
			r := restart(t, c.lists, nil, &fake{name: "a"})
			if h := r.Health()[0]; h.Models != c.want || (r.Ready() == nil) != (c.want > 0) {
				t.Errorf("%s: %d models, ready: %v", name, h.Models, r.Ready())
			}
			if c.want > 0 {
				if age := r.Lists()[0].Age; age < 0 {
					t.Errorf("%s: age %v", name, age)
				}
			}
		}
		before := restart(t, nil, nil, &fake{name: "a", list: having("new", "er")})
		start(t, before)
		a := before.ups[0].Handler.(*fake)
		if r := restart(t, []List{good}, before, a); r.Health()[0].Models != 2 {
			t.Error("an old list took the place of what was known")
		}
		if r := setupStatic(t, Default(), map[string][]string{"a": {"m", "n"}}, a); len(r.Lists()) != 0 {
			t.Error("configured models are kept")
		}
	})
}
