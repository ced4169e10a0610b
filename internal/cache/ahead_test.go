package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

func withCompletions(c *Config, _ *Options) { c.Preload.Completions = true }

// A hot entry is asked for anew before it expires, once a life, and one that
// nobody asks for is not.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, withCompletions)
		defer f.run()()
		f.ask(t, chat("cold"))
		for range 3 {
			f.ask(t, chat("hot"))
		}
		time.Sleep(119 * time.Second)
		f.expect(t, chat("hot"), "HIT "+chatReply(" 3"))
		if f.up.count() != 3 {
			t.Errorf("%d calls", f.up.count())
		}
		if last := f.up.last(); string(last.Body) != string(chat("hot").Body) || last.ModelSpan != chat("hot").ModelSpan || last.Model != "gpt" {
			t.Errorf("asked with %+v", last)
		}
		time.Sleep(60 * time.Second)
		f.expect(t, chat("hot"), "HIT "+chatReply(" 3"))
		// It has two hits now, and is hot again.
		time.Sleep(60 * time.Second)
		f.expect(t, chat("hot"), "HIT "+chatReply(" 4"))
		if got := f.figures.used[refreshed].Load(); got != 2 || f.figures.loaded[refreshed].Load() != 2 {
			t.Errorf("%d of %d used", got, f.figures.loaded[refreshed].Load())
		}
	})
}

// Replies that cost money are not asked for ahead unless that is configured.
func TestNoCompletionsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.attach(t, newShared())
		defer f.run()()
		for range 5 {
			f.ask(t, chat("a"))
			f.ask(t, chat("b"))
		}
		time.Sleep(119 * time.Second)
		f.expect(t, chat("b"), "HIT "+chatReply(" 2"))
		if f.up.count() != 2 {
			t.Errorf("%d calls", f.up.count())
		}
	})
}

// The calls ahead keep to their budget, and a failed one is not tried again.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config, _ *Options) {
			c.Preload = PreloadConfig{Completions: true, Budget: 6, HotSetInterval: time.Hour}
		})
		defer f.run()()
		for i := range 20 {
			for range 3 {
				f.ask(t, chat(fmt.Sprint(i)))
			}
		}
		f.up.then(func(context.Context, int, *llm.Request, llm.Sink) error { return errors.New("down") })
		time.Sleep(119 * time.Second)
		synctest.Wait()
		if n := f.up.count() - 20; n != 6 || f.figures.failed.Load() != 6 {
			t.Errorf("%d calls ahead, %d failed", n, f.figures.failed.Load())
		}
		f.expect(t, chat("7"), "HIT "+chatReply(" 8"))
	})
}

// What tends to follow is there before it is asked for: from the second level,
// with no call to an upstream.
func TestSuccessorFromSecondLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second, m := machines(t, 1, nil)
		f := m[0]
		defer f.run()()
		turn := func() {
			for i := range 4 {
				f.ask(t, chat(fmt.Sprint(i)))
				synctest.Wait()
			}
		}
		for range 3 {
			turn()
			f.ask(t, chat("something else"))
		}
		f.store.purge(Purge{}) // memory alone
		second.gets = 0
		turn()
		loaded, used := f.figures.loaded[predicted].Load(), f.figures.used[predicted].Load()
		if loaded < 3 || used != 3 || f.figures.gained[predicted].Load() != 3 || f.up.count() != 5 {
			t.Errorf("%d loaded, %d used, %d calls", loaded, used, f.up.count())
		}
	})
}

// From the upstream, where that is configured.
func TestSuccessorFromUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, withCompletions)
		defer f.run()()
		ask := func(text string) *client {
			synctest.Wait() // what the one before has let foresee is there
			return f.ask(t, chat(text))
		}
		for range 3 {
			ask("a")
			ask("b")
			time.Sleep(200 * time.Second)
		}
		before := f.figures.used[predicted].Load()
		ask("a")
		if c := ask("b"); c.head.Cache != llm.CacheHit || f.figures.used[predicted].Load() != before+1 {
			t.Errorf("%s, %d used before, %d after", c, before, f.figures.used[predicted].Load())
		}
	})
}

// A newer reply that another machine has stored takes the place of one that is
// about to expire.
func TestRefreshFromSecondLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m := machines(t, 2, nil)
		defer m[0].run()()
		for range 3 {
			m[0].ask(t, chat("hi"))
		}
		time.Sleep(100 * time.Second)
		m[1].up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			return answer(out, chatReply("new"))
		}
		m[1].ask(t, chat("hi", policy(llm.CachePolicy{NoCache: true})))
		time.Sleep(15 * time.Second)
		synctest.Wait()
		m[0].expect(t, chat("hi"), "HIT "+chatReply("new"))
		if m[0].up.count() != 1 {
			t.Errorf("%d calls", m[0].up.count())
		}
	})
}

// One who asks while it is being loaded joins that call.
func TestJoinRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, withCompletions)
		defer f.run()()
		for range 3 {
			f.ask(t, chat("hi"))
		}
		f.up.then(func(_ context.Context, n int, _ *llm.Request, out llm.Sink) error {
			time.Sleep(30 * time.Second)
			return answer(out, chatReply(fmt.Sprint(n)))
		})
		time.Sleep(121 * time.Second)
		f.expect(t, chat("hi"), "COALESCED "+chatReply("2"))
		synctest.Wait() // until it is stored as well
		f.expect(t, chat("hi"), "HIT "+chatReply("2"))
	})
}

// Nothing is asked ahead by a chain that has gone, or with another
// configuration than the one that the key was made under.
func TestAheadAfterReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, withCompletions)
		defer f.run()()
		for range 3 {
			f.ask(t, chat("hi"))
		}
		f.Use(f.Stage(f.up, others{}, false))
		time.Sleep(115 * time.Second)
		synctest.Wait()
		for range 2 {
			f.ask(t, chat("ho"))
			f.ask(t, chat("ho"))
		}
		f.Use(nil)
		time.Sleep(115 * time.Second)
		synctest.Wait()
		if f.up.count() != 2 {
			t.Errorf("%d calls", f.up.count())
		}
	})
}

type others struct{}

func (others) Group(model string) (id [32]byte, name string, ok bool) {
	return [32]byte{1}, model, true
}

// reports is a perf.Reporter.
type reports map[string]float64

func (r reports) Counter(name, _ string, value float64, labels ...string) { r.put(name, value, labels) }
func (r reports) Gauge(name, _ string, value float64, labels ...string)   { r.put(name, value, labels) }
func (r reports) Ratio(name, _ string, part, whole float64, labels ...string) {
	r.put(name, part, append(labels, "part"))
	r.put(name, whole, append(labels, "whole"))
}
func (r reports) Histogram(string, string, *perf.Histogram, ...string) {}
func (r reports) put(name string, value float64, labels []string) {
	for _, l := range labels {
		name += " " + l
	}
	r[name] = value
}

func TestFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, inDir(t.TempDir()))
		f.ask(t, chat("a"))
		f.ask(t, chat("a"))
		f.ask(t, chat("a"))
		f.ask(t, chat("a", policy(llm.CachePolicy{NoStore: true})))
		time.Sleep(200 * time.Second)
		f.ask(t, chat("a", policy(llm.CachePolicy{MaxStale: time.Hour})))
		f.up.serve = embedded("")
		f.ask(t, embed(`["a","b"]`))
		f.ask(t, embed(`["a","c"]`))
		r := reports{}
		f.Figures(r)
		for name, want := range map[string]float64{
			"cache_requests_total result hit":           3,
			"cache_requests_total result miss":          3,
			"cache_requests_total result bypass":        1,
			"cache_requests_total result coalesced":     0,
			"cache_stale_total":                         1,
			"cache_items_total result hit":              1,
			"cache_items_total result miss":             3,
			"cache_entries":                             5, // with what stood around several vectors
			"cache_evictions_total cause capacity":      0,
			"cache_preload_loaded_total kind refreshed": 0,
			"cache_preload_used_total kind predicted":   0,
			"cache_hot_set_writes_total":                0,
			"cache_l2_damaged_total":                    0,
			"cache_preload_predicted_total":             0,
			"cache_evictions_total cause expired":       0,
			"cache_preload_hits_total kind restored":    0,
			"cache_hit_ratio part":                      3,
			"cache_hit_ratio whole":                     6,
			"cache_saved_ratio part":                    3,
			"cache_saved_ratio whole":                   7,
			"cache_item_hit_ratio part":                 1,
			"cache_item_hit_ratio whole":                4,
			"cache_max_entries":                         2000,
			"cache_max_bytes":                           128 << 20,
			"cache_expired_total":                       0,
			"cache_expired_bytes_total":                 0,
		} {
			if got, ok := r[name]; !ok || got != want {
				t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
			}
		}
		if b := r["cache_bytes"]; b < 4*100 || b > 4*1000 {
			t.Errorf("%v bytes", b)
		}
	})
}

// What was loaded ahead was of use or is gone: only then is it judged.
func TestPrecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, withCompletions)
		defer f.run()()
		for _, text := range []string{"used", "wasted"} {
			for range 3 {
				f.ask(t, chat(text))
			}
		}
		time.Sleep(119 * time.Second)
		if c := f.ask(t, chat("used")); c.head.Cache != llm.CacheHit {
			t.Errorf("got %v", c.head.Cache)
		}
		r := reports{}
		f.Figures(r)
		const ratio = "cache_preload_precision_ratio kind refreshed "
		if r[ratio+"part"] != 1 || r[ratio+"whole"] != 1 {
			t.Errorf("%v of %v while one may still be of use", r[ratio+"part"], r[ratio+"whole"])
		}
		time.Sleep(10 * time.Minute)
		f.Tidy(t.Context())
		f.Figures(r)
		if r[ratio+"part"] != 1 || r[ratio+"whole"] != 2 || r["cache_preload_wasted_total kind refreshed"] != 1 {
			t.Errorf("%v of %v, %v wasted", r[ratio+"part"], r[ratio+"whole"], r["cache_preload_wasted_total kind refreshed"])
		}
		if n, bytes := r["cache_expired_total"], r["cache_expired_bytes_total"]; n != 2 || bytes < 2*overhead || r["cache_bytes"] != 0 {
			t.Errorf("%v replies with %v bytes were freed, %v are left", n, bytes, r["cache_bytes"])
		}
	})
}
