package route

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// An upstream is judged by what its requests came to, and says what was wrong.
func TestExamine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", list: having("m"), serve: first(3, status(500))}
		b := &fake{name: "b", list: func(context.Context, int, llm.Sink) error { return status(500)() }}
		cfg := oneAttempt()
		cfg.Breaker.Failures = 3
		r := setup(t, cfg, a, b)
		start(t, r)
		examine := func() (list []perf.Condition) {
			t.Helper()
			r.Examine(func(c perf.Condition) { list = append(list, c) })
			if len(list) != 2 || list[0].Component != "upstream/a" || list[0].Vital == "" || list[0].Vital != list[1].Vital {
				t.Fatalf("got %+v", list)
			}
			return list
		}
		list := examine()
		if list[0].State != perf.Healthy || list[0].Error != "" || list[1].State != perf.Degraded || !strings.Contains(list[1].Error, "status 500") {
			t.Errorf("at first %+v", list)
		}
		for range 3 {
			askErr(t, r, chat("a/m"))
		}
		if c := examine()[0]; c.State != perf.Unhealthy || c.Error != "model `m`: status 500" || !strings.Contains(c.Advice, "3 requests in a row for `m` failed") {
			t.Errorf("after failures %+v", c)
		}
		time.Sleep(cfg.Breaker.OpenFor)
		if c := examine()[0]; c.State != perf.Degraded {
			t.Errorf("when it may be tried %+v", c)
		}
		ask(t, r, chat("a/m"))
		if c := examine()[0]; c.State != perf.Healthy || c.Error != "" {
			t.Errorf("when it is back %+v", c)
		}
	})
}
