package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Retry.MaxAttempts = 0 }, "retry.max_attempts: must be at least 1, is 0"},
		{func(c *Config) { c.Retry.BaseDelay = -1 }, "retry.base_delay: must be more than 0, is -1ns"},
		{func(c *Config) { c.Retry.MaxDelay = time.Millisecond }, "retry.max_delay: must not be less than base_delay (100ms), is 1ms"},
		{func(c *Config) { c.Retry.MaxRetryAfter = -time.Second }, "retry.max_retry_after: must not be negative, is -1s"},
		{func(c *Config) { c.Retry.Statuses = []int{503, 200} }, "retry.statuses[1]: 200 is not a status of an error, 400 to 599"},
		{func(c *Config) { c.Breaker.Failures = 0 }, "breaker.failures: must be at least 1, is 0"},
		{func(c *Config) { c.Breaker.OpenFor = 0 }, "breaker.open_for: must be more than 0, is 0s"},
		{func(c *Config) { c.Aliases = map[string]string{"a": "a"} }, "aliases.a: leads back to itself"},
		{func(c *Config) { c.Aliases = map[string]string{"a": "b", "b": "c", "c": "b"} },
			"aliases.a: leads back to itself\naliases.b: leads back to itself\naliases.c: leads back to itself"},
		{func(c *Config) { c.Aliases = map[string]string{"a": "b", "b": "c", "c": "u/m"} }, ""},
		{func(c *Config) { c.Aliases = map[string]string{"a": ""} }, "aliases.a: neither the alias nor its model may be empty"},
		{func(c *Config) { c.Fallbacks = map[string][]string{"a": {"b", "a", "b", ""}} },
			"fallbacks.a[1]: is the model itself\nfallbacks.a[2]: \"b\" stands there twice\nfallbacks.a[3]: neither the model nor its fallback may be empty"},
		{func(c *Config) { c.Fallbacks = map[string][]string{"a": {"b"}, "b": {"a"}} }, ""},
		{func(c *Config) { c.Retry.BaseDelay, c.Breaker.Failures = 0, 0 }, "retry.base_delay: must be more than 0, is 0s\nbreaker.failures: must be at least 1, is 0"},
	} {
		cfg := Default()
		c.change(&cfg)
		got := ""
		if err := cfg.Validate(); err != nil {
			got = err.Error()
		}
		is(t, "faults", got, c.want)
		if _, err := New(cfg, []Upstream{{Name: "a", Handler: quick()}}, Options{}); (err == nil) != (c.want == "") {
			t.Errorf("New: %v", err)
		}
	}
}

func TestValidateUpstreams(t *testing.T) {
	cfg := Default()
	cfg.DefaultUpstream = "x"
	err := cfg.ValidateUpstreams([]Upstream{{Name: "a/b"}, {}, {Name: "a"}, {Name: "a"}})
	for _, want := range []string{`upstreams[0].name: "a/b" must`, `upstreams[1].name: "" must`, `upstreams[3].name: "a" is used twice`, `route.default_upstream: there is no upstream "x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if err := Default().ValidateUpstreams(nil); err == nil {
		t.Error("no upstream is no fault")
	}
}

// Aliases and fallbacks that can lead nowhere are faults; where an upstream says
// itself what it has, they are at most doubtful.
func TestReferences(t *testing.T) {
	fixed := []Upstream{{Name: "east", Models: []string{"m-1", "gpt-*", "own/m-2"}}, {Name: "west", Models: []string{"m-3"}}}
	open := append(slices.Clip(fixed), Upstream{Name: "far"})
	for _, c := range []struct {
		name      string
		ups       []Upstream
		aliases   map[string]string
		fallbacks map[string][]string
		faults    []string
		doubts    []string
	}{
		{"all lead somewhere", fixed,
			map[string]string{"a": "m-1", "b": "east/m-1", "c": "gpt-4", "d": "east/gpt-4o", "e": "own/m-2", "f": "east/own/m-2", "g": "a"},
			map[string][]string{"a": {"west/m-3", "b"}, "m-1": {"gpt-5"}, "east/m-1": {"m-3"}}, nil, nil},
		{"no such model", fixed, map[string]string{"a": "m-9", "b": "east/m-3", "c": "a"}, nil,
			[]string{`route.aliases.a: no upstream has a model "m-9"`, `route.aliases.b: the models of the upstream "east" do not have "m-3"`}, nil},
		{"no such upstream", fixed, map[string]string{"a": "est/m-1"}, nil, []string{`route.aliases.a: no upstream has a model "est/m-1"`}, nil},
		{"fallbacks", fixed, nil, map[string][]string{"m-7": {"m-1", "m-8", "north/m-1"}},
			[]string{`route.fallbacks.m-7[1]: no upstream has a model "m-8"`, `route.fallbacks.m-7[2]: no upstream has a model "north/m-1"`}, nil},
		{"who knows", open, map[string]string{"a": "m-9", "b": "far/any", "c": "far/a/b"}, map[string][]string{"x": {"y"}}, nil, nil},
		{"doubtful", open, map[string]string{"a": "est/m-1"}, map[string][]string{"m-1": {"wset/m-3"}}, nil,
			[]string{`route.aliases.a: there is no upstream "est", so "est/m-1" is taken for the whole name of a model that an upstream may list`,
				`route.fallbacks.m-1[0]: there is no upstream "wset", so "wset/m-3" is taken for the whole name of a model that an upstream may list`}},
		{"the upstream is known and has it not", open, map[string]string{"a": "west/m-1"}, nil,
			[]string{`route.aliases.a: the models of the upstream "west" do not have "m-1"`}, nil},
		{"a circle is a fault already", fixed, map[string]string{"a": "b", "b": "a"}, map[string][]string{"a": {"m-1"}}, nil, nil},
	} {
		cfg := Default()
		cfg.Aliases, cfg.Fallbacks = c.aliases, c.fallbacks
		got := ""
		if err := cfg.ValidateModels(c.ups); err != nil {
			got = err.Error()
		}
		is(t, c.name+": faults", got, strings.Join(c.faults, "\n"))
		is(t, c.name+": doubts", strings.Join(cfg.Doubts(c.ups), "\n"), strings.Join(c.doubts, "\n"))
	}
}

// reporter keeps figures as "name label…: value".
type reporter map[string]float64

func (r reporter) Counter(name, _ string, v float64, labels ...string) {
	r[strings.Join(slices.Concat([]string{name}, labels), " ")] = v
}
func (r reporter) Gauge(name, help string, v float64, labels ...string) {
	r.Counter(name, help, v, labels...)
}
func (r reporter) Ratio(name, help string, part, whole float64, labels ...string) {
	r.Counter(name, help, part, append(labels, "part")...)
	r.Counter(name, help, whole, append(labels, "whole")...)
}
func (r reporter) Histogram(string, string, *perf.Histogram, ...string) {}

func TestFigures(t *testing.T) {
	cfg := Default()
	cfg.Retry.BaseDelay = time.Microsecond
	cfg.Fallbacks = map[string][]string{"n": {"b/m"}}
	a, b := &fake{name: "a", serve: always(refused)}, &fake{name: "b", serve: first(1, status(503))}
	r := setupStatic(t, cfg, map[string][]string{"a": {"n"}, "b": {"m"}}, a, b)
	is(t, "retry", ask(t, r, chat("m")), "b:m")
	is(t, "fallback", ask(t, r, chat("n")), "b:m")
	is(t, "unknown", ask(t, r, chat("x")), "404 model_not_found")
	for range 2 {
		ask(t, r, chat("a/n"))
	}
	is(t, "unavailable", ask(t, r, chat("a/n")), "503 upstream_unavailable")
	is(t, "list", models(t, r, "", llm.CachePolicy{}), "HIT 0")
	got := make(reporter)
	r.Figures(got)
	for name, want := range map[string]float64{
		"route_requests_total upstream a outcome unreachable": 5,
		"route_requests_total upstream b outcome failed":      1,
		"route_requests_total upstream b outcome success":     2,
		"route_retries_total cause failed":                    1,
		"route_retries_total cause unreachable":               3,
		"route_fallbacks_total":                               1,
		"route_unavailable_total":                             1,
		"route_unknown_models_total":                          1,
		"route_breaker_state upstream a":                      2,
		"route_breaker_state upstream b":                      0,
		"route_failure_ratio upstream a part":                 5,
		"route_failure_ratio upstream a whole":                5,
		"route_failure_ratio upstream b part":                 1,
		"route_failure_ratio upstream b whole":                3,
		"route_failures_in_a_row upstream a":                  5,
		"route_failures_in_a_row upstream b":                  0,
		"route_models upstream a":                             1,
		"route_model_list_replies_total cache hit":            1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v, want %v", name, v, want)
		}
	}
	if t.Failed() {
		t.Log(fmt.Sprint(got))
	}
}
