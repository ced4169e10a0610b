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
	"sluice/internal/perf"
)

// byModel is an upstream whose models fail with what is set for them.
type byModel struct {
	mu   sync.Mutex
	fail map[string]func() error
}

func (b *byModel) set(model string, fail func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail[model] = fail
}

func (b *byModel) serve(_ context.Context, _ int, req *llm.Request, _ llm.Sink) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if fail := b.fail[req.UpstreamModel]; fail != nil {
		return fail()
	}
	return nil
}

// A model that fails is left alone, and no other one of its upstream.
func TestOneModelFailsAlone(t *testing.T) {
	for _, fail := range []func() error{status(500), status(503), transport(502, codeCut, false), transport(504, codeTimeout, false), transport(502, codeBadReply, false)} {
		synctest.Test(t, func(t *testing.T) {
			up := &byModel{fail: map[string]func() error{"bad": fail}}
			a := &fake{name: "a", serve: up.serve}
			cfg := oneAttempt()
			cfg.Aliases = map[string]string{"prod": "a/bad"}
			r := setupStatic(t, cfg, map[string][]string{"a": {"good", "bad"}}, a)
			for range 8 {
				ask(t, r, chat("prod"))
				is(t, "the other model", ask(t, r, chat("good")), "a:good")
			}
			if a.count() != 5+8 {
				t.Errorf("%d calls", a.count())
			}
			time.Sleep(200 * time.Millisecond)
			_, e := askErr(t, r, chat("prod"))
			if e == nil || e.Status != 503 || e.Code != "upstream_unavailable" || e.RetryAfter != time.Second {
				t.Fatalf("got %+v", e)
			}
			want := brief(fail().(*llm.Error)) + ", and is not asked for it for another 1s."
			if !strings.Contains(e.Message, "Upstream `a` failed 5 requests for `bad` in a row") || !strings.HasSuffix(e.Message, want) {
				t.Errorf("message %q, want %q", e.Message, want)
			}
			h := r.Health()[0]
			if h.Breaker != "closed" || len(h.Failing) != 1 || h.Failing[0].Model != "bad" || h.Failing[0].Breaker != "open" || h.Failing[0].Failures != 5 {
				t.Errorf("health %+v", h)
			}
			// One request at a time tries it, and its success is the model's.
			time.Sleep(425 * time.Millisecond)
			up.set("bad", nil)
			is(t, "probe", ask(t, r, chat("prod")), "a:bad")
			is(t, "closed", ask(t, r, chat("prod")), "a:bad")
			if h := r.Health()[0]; len(h.Failing) != 0 {
				t.Errorf("health %+v", h)
			}
		})
	}
}

// What keeps requests from an upstream altogether is held against all of it.
func TestUpstreamFailsWhole(t *testing.T) {
	for _, fail := range []func() error{refused, transport(504, codeTimeout, true), transport(502, "upstream_refused", true)} {
		synctest.Test(t, func(t *testing.T) {
			a := &fake{name: "a", serve: always(fail)}
			r := setupStatic(t, oneAttempt(), map[string][]string{"a": {"m", "n"}}, a)
			for range 5 {
				ask(t, r, chat("m"))
			}
			_, e := askErr(t, r, chat("n"))
			if e == nil || e.Status != 503 || !strings.Contains(e.Message, "Upstream `a` could not be reached 5 times in a row, last with "+fail().(*llm.Error).Code) || a.count() != 5 {
				t.Errorf("got %+v, %d calls", e, a.count())
			}
			if h := r.Health()[0]; h.Breaker != "open" || len(h.Failing) != 0 {
				t.Errorf("health %+v", h)
			}
		})
	}
}

// A probe of the upstream that gets through to a model that fails closes the one
// breaker and counts for the other; and one of a model that cannot connect leaves
// the model's next request a probe.
func TestTwoProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &byModel{fail: map[string]func() error{"m": status(500)}}
		a := &fake{name: "a", serve: up.serve}
		r := setupStatic(t, oneAttempt(), map[string][]string{"a": {"m", "n"}}, a)
		for range 5 {
			ask(t, r, chat("m")) // opens the model's
		}
		up.set("m", refused)
		up.set("n", refused)
		for range 5 {
			ask(t, r, chat("n")) // opens the upstream's
		}
		time.Sleep(10 * time.Second)
		is(t, "probe of both", ask(t, r, chat("m")), "502 upstream_unreachable")
		h := r.Health()[0]
		if h.Breaker != "open" || len(h.Failing) != 1 || h.Failing[0].Breaker != "half-open" {
			t.Fatalf("health %+v", h)
		}
		time.Sleep(10 * time.Second)
		up.set("m", status(500))
		is(t, "probe of both", ask(t, r, chat("m")), "500 upstream_error")
		h = r.Health()[0]
		if h.Breaker != "closed" || h.Failures != 0 || len(h.Failing) != 1 || h.Failing[0].Breaker != "open" {
			t.Fatalf("health %+v", h)
		}
		time.Sleep(10 * time.Second)
		up.set("m", nil)
		is(t, "the model's probe", ask(t, r, chat("m")), "a:m")
		if h = r.Health()[0]; h.Breaker != "closed" || len(h.Failing) != 0 {
			t.Fatalf("health %+v", h)
		}
	})
}

// A model whose breaker never opens may fail most of its calls all the same.
func TestModelFailsMostly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		a := &fake{name: "a", serve: func(context.Context, int, *llm.Request, llm.Sink) error {
			if n++; n%4 != 0 {
				return status(500)()
			}
			return nil
		}}
		r := setupStatic(t, oneAttempt(), map[string][]string{"a": {"m", "n"}}, a)
		for range 40 {
			ask(t, r, chat("m"))
		}
		examine := func() (c perf.Condition) {
			r.Examine(func(got perf.Condition) { c = got })
			return c
		}
		if c := examine(); c.State != perf.Degraded || c.Error != "model `m`: status 500" || !strings.Contains(c.Advice, "`m` fails most of its calls") || a.count() != 40 {
			t.Errorf("got %+v, %d calls", c, a.count())
		}
		time.Sleep(recent) // nobody has asked since
		if c := examine(); c.State != perf.Healthy {
			t.Errorf("got %+v", c)
		}
		ask(t, r, chat("m"))
		if c := examine(); c.State != perf.Degraded {
			t.Errorf("got %+v", c)
		}
		a.serve = nil
		for range 20 {
			ask(t, r, chat("m"))
		}
		if c := examine(); c.State != perf.Healthy {
			t.Errorf("got %+v", c)
		}
	})
}

// Names that clients think of do not take memory: those that are not there are
// not remembered, and of those that fail a bounded number is.
func TestCircuitsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := status(404)
		a := &fake{name: "a", serve: func(context.Context, int, *llm.Request, llm.Sink) error { return fail() }}
		r := setup(t, oneAttempt(), a)
		count := func() int {
			if kept := r.ups[0].circuits.kept.Load(); kept != nil {
				return len(*kept)
			}
			return 0
		}
		for i := range 10 {
			ask(t, r, chat(fmt.Sprint("a/none", i)))
		}
		fail = status(500)
		ask(t, r, chat("a/"+strings.Repeat("x", maxModelName+1)))
		if count() != 0 {
			t.Errorf("%d models are remembered", count())
		}
		for range 5 {
			ask(t, r, chat("a/real"))
		}
		for i := range 3 * maxCircuits {
			time.Sleep(time.Millisecond)
			ask(t, r, chat(fmt.Sprint("a/junk", i)))
		}
		if count() != maxCircuits || r.ups[0].circuits.find(fmt.Sprint("junk", 3*maxCircuits-1)) == nil {
			t.Errorf("%d models are remembered", count())
		}
		is(t, "one that is left alone stays so", ask(t, r, chat("a/real")), "503 upstream_unavailable")
	})
}

// A reload forgets no model's failures, nor that it is left alone.
func TestCircuitIsInherited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", serve: always(status(500))}
		list := []Upstream{{Name: "a", Handler: a, Models: []string{"m", "n"}}}
		before, err := New(oneAttempt(), list, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			ask(t, before, chat("m"))
		}
		for range 4 {
			ask(t, before, chat("n"))
		}
		r, err := New(oneAttempt(), list, Options{Before: before})
		if err != nil {
			t.Fatal(err)
		}
		is(t, "left alone", ask(t, r, chat("m")), "503 upstream_unavailable")
		is(t, "asked once more", ask(t, r, chat("n")), "500 upstream_error")
		is(t, "left alone", ask(t, r, chat("n")), "503 upstream_unavailable")
		time.Sleep(10 * time.Second)
		a.serve = nil
		is(t, "probe", ask(t, r, chat("m")), "a:m")
	})
}

// series are the gauges that a Router reports, by name and labels.
type series map[string]int

func (s series) Gauge(name, _ string, _ float64, labels ...string) {
	s[name+strings.Join(labels, "|")]++
}
func (series) Counter(string, string, float64, ...string)           {}
func (series) Histogram(string, string, *perf.Histogram, ...string) {}
func (series) Ratio(string, string, float64, float64, ...string)    {}

// No two models of an upstream have one label, whatever their names are: who
// collects the figures would refuse them all.
func TestModelLabelsDiffer(t *testing.T) {
	a := &fake{name: "a", serve: always(status(500))}
	r := setup(t, oneAttempt(), a)
	long := strings.Repeat("x", perf.MaxLabel)
	for _, model := range []string{"m\xfe", "m\xfea", "m\xff", long + "a", long + "b", long[:perf.MaxLabel-3] + "…", long[:perf.MaxLabel-2]} {
		ask(t, r, chat("a/"+model))
	}
	got := series{}
	r.Figures(got)
	for name, n := range got {
		if n > 1 {
			t.Errorf("%s: %d times", name, n)
		}
	}
}

// What is kept of a fault is small, however long the upstream's code is.
func TestFaultIsSmall(t *testing.T) {
	if e := faultOf(&llm.Error{Code: strings.Repeat("x", 1<<20), Fault: llm.Answered, Status: 500}); len(e.Code) > maxCode {
		t.Errorf("%d bytes are kept", len(e.Code))
	}
}

// A route that fails says nothing of the others that name no model.
func TestNoModelHasNoBreaker(t *testing.T) {
	a := &fake{name: "a", serve: always(status(500))}
	r := serving(t, Default(), a)
	for range 2 * Default().Breaker.Failures {
		ask(t, r, &llm.Request{Op: llm.Passthrough, Method: "POST", Path: "/v1/fine_tuning/jobs"})
	}
	a.serve = nil
	is(t, "another route", ask(t, r, &llm.Request{Op: llm.Passthrough, Method: "GET", Path: "/v1/files"}), "a:")
}
