package alarm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/perf"
)

func slowRule(change func(*Rule)) []Rule {
	r := Rule{Name: "slow", Figure: "wait_seconds", Stat: "p99", Above: quantity("1s"), Advice: "Look."}
	if change != nil {
		change(&r)
	}
	return []Rule{r}
}

func TestThreshold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, slowRule(nil), nil)
		for _, step := range []struct {
			value float64
			after time.Duration
			want  string
		}{
			{1, time.Minute, "inactive"}, // at the threshold is not above it
			{2, 30 * time.Second, "pending"},
			{0.95, 5 * time.Second, "inactive"}, // not for long enough
			{2, 35 * time.Second, "firing"},
			{0.95, 10 * time.Minute, "firing"}, // not yet inside clear
			{0.9, 60 * time.Second, "clearing"},
			{0.95, 5 * time.Second, "firing"},
			{0.9, 60 * time.Second, "clearing"},
			{2, 5 * time.Second, "firing"}, // the same alarm, not a new one
			{0.9, 65 * time.Second, "inactive"},
		} {
			f.set("wait_seconds", step.value, 100)
			f.after(step.after)
			f.expect(t, "slow "+step.want)
		}
		log := f.log.String()
		for _, want := range []string{
			`level=WARN msg="alarm raised" alarm=slow severity=warning why="The P99 of the wait over the last 5 minutes is 2 s, above the threshold of 1 s since 2000-01-01 00:01:40 UTC." value=2 threshold=1 labels=map[] advice=Look.`,
			`level=INFO msg="alarm cleared" alarm=slow severity=warning why="The P99 of the wait over the last 5 minutes is 900 ms, no longer above the threshold of 1 s, as it was since 2000-01-01 00:01:40 UTC." value=0.9 threshold=1`,
		} {
			if strings.Count(log, want) != 1 {
				t.Errorf("no single line %s in\n%s", want, log)
			}
		}
		if strings.Count(log, "\n") != 2 {
			t.Errorf("more than two lines:\n%s", log)
		}
	})
}

func TestBelow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rules := []Rule{{Name: "hits", Figure: "hit_ratio", Below: quantity("95%"), For: quantity("0s"), ClearFor: quantity("0s")}}
		f := newFixture(t, rules, nil)
		for _, step := range []struct {
			value float64
			want  string
		}{{0.95, "inactive"}, {0.94, "firing"}, {0.97, "firing"}, {0.98, "inactive"}} { // half way to 1, which it can reach
			f.set("hit_ratio", step.value, 20)
			f.after(lookEvery)
			f.expect(t, "hits "+step.want)
		}
	})
}

func TestFewSamplesAreNotJudged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rules := append(slowRule(nil), Rule{Name: "calls", Figure: "calls_total", Stat: "count", Below: quantity("1")})
		f := newFixture(t, rules, nil)
		f.set("wait_seconds", 9, 19)
		f.set("calls_total", 0, 0) // which is just what it counts
		f.after(time.Minute)
		f.expect(t, "calls firing, slow inactive")
		if s := f.Status()[1]; s.Note != "19 samples, of at least 20" || s.Value != nil {
			t.Errorf("note %q, value %v", s.Note, s.Value)
		}
	})
}

func TestNoDataEndsAnAlarm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, slowRule(nil), nil)
		f.set("wait_seconds", 2, 100)
		f.after(20 * time.Second)
		f.remove("wait_seconds")
		f.after(lookEvery)
		f.expect(t, "slow inactive") // it was pending
		f.set("wait_seconds", 2, 100)
		f.after(time.Minute)
		f.remove("wait_seconds")
		f.after(noData)
		f.expect(t, "slow firing")
		f.set("wait_seconds", 2, 100) // begins that time again
		f.after(lookEvery)
		f.remove("wait_seconds")
		f.after(noData)
		f.expect(t, "slow firing")
		f.after(lookEvery)
		f.expect(t, "slow inactive")
		if !strings.Contains(f.log.String(), `why="The P99 of the wait is not known any more: no data."`) {
			t.Errorf("the log does not say why:\n%s", f.log)
		}
	})
}

func TestNoDataDoesNotCountAsCalm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, slowRule(nil), nil)
		f.set("wait_seconds", 2, 100)
		f.after(time.Minute)
		f.set("wait_seconds", 0.5, 100)
		f.after(50 * time.Second)
		f.remove("wait_seconds")
		f.after(lookEvery)
		f.set("wait_seconds", 0.5, 100)
		f.after(30 * time.Second)
		f.expect(t, "slow clearing")
	})
}

func TestFigureThatNeverCame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, slowRule(nil), func(c *Config) { c.Alarms = c.Alarms[:1] }) // the built-in rules stay
		f.after(time.Hour)
		if got := f.log.String(); strings.Count(got, "no data yet") != 1 || !strings.Contains(got, "figure=wait_seconds") {
			t.Errorf("got\n%s", got)
		}
	})
}

func TestEach(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, slowRule(func(r *Rule) { r.Each = "upstream" }), nil)
		f.set("wait_seconds/a", 0.1, 100)
		f.set("wait_seconds/b", 2, 100)
		f.after(time.Minute)
		f.expect(t, "slow/a inactive, slow/b firing")
		if got, want := f.Status()[1].Message, "The P99 of the wait at upstream “b” over the last 5 minutes is 2 s, above the threshold of 1 s since 2000-01-01 00:00:05 UTC."; got != want {
			t.Errorf("message %q, want %q", got, want)
		}
		f.remove("wait_seconds/a")
		f.remove("wait_seconds/b")
		f.after(lookEvery)
		f.expect(t, "slow/b firing") // what is raised is not forgotten
		f.after(10 * time.Minute)
		f.expect(t, "slow inactive")

		for i := range 3 * MaxEach {
			f.set(fmt.Sprintf("wait_seconds/%03d", i), 2, 100)
		}
		f.after(time.Minute)
		if n := len(f.Status()); n != MaxEach {
			t.Errorf("%d alarms", n)
		}
		if strings.Count(f.log.String(), "only some values") != 1 {
			t.Error("the log does not say once that some are left out")
		}
	})
}

// TestEachOfOtherLabels has a value of the label that no series with the rule's
// labels has.
func TestEachOfOtherLabels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, slowRule(func(r *Rule) { r.Each = "upstream" }), nil)
		f.set("wait_seconds/a", 2, 100)
		f.hide("wait_seconds/a")
		f.after(lookEvery)
		if list := f.Status(); len(list) != 1 || len(list[0].Labels) != 0 || list[0].Note != "no data" {
			t.Errorf("got %+v", list)
		}
	})
}

func TestFiguresAndHealth(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, append(slowRule(func(r *Rule) { r.Each = "upstream" }), Rule{Name: "many", Figure: "open", Above: quantity("5")}), nil)
		f.set("wait_seconds/a", 2, 100)
		f.set("wait_seconds/b", 3, 100)
		f.after(time.Minute)
		got := collected{}
		f.Figures(got)
		if want := (collected{
			"alarm_firing{alarm=slow}": 2, "alarm_raised_total{alarm=slow}": 2, "alarm_firing{alarm=many}": 0, "alarm_raised_total{alarm=many}": 0,
		}); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v", got)
		}
		f.set("wait_seconds/a", 5, 100)
		f.after(time.Minute)
		var list []perf.Condition
		f.Examine(func(c perf.Condition) { list = append(list, c) })
		if want := (perf.Condition{
			Component: "alarm/slow/a", State: perf.Degraded, Error: "The P99 of the wait at upstream “a” over the last 5 minutes is 2 s, above the threshold of 1 s since 2000-01-01 00:00:05 UTC.", Advice: "Look.",
		}); len(list) != 2 || list[0] != want { // the error is as it was, so that its time is that of the alarm
			t.Errorf("got %+v", list)
		}
	})
}

func TestStatusJSON(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, slowRule(func(r *Rule) { r.Labels = map[string]string{"model": "m"} }), nil)
		f.set("wait_seconds", 2, 100)
		f.after(35 * time.Second)
		got, err := json.Marshal(f.Status())
		if err != nil {
			t.Fatal(err)
		}
		want := `[{"name":"slow","kind":"threshold","state":"firing","severity":"warning","figure":"wait_seconds","stat":"p99","labels":{"model":"m"},` +
			`"window":"5m","unit":"seconds","value":2,"samples":100,"direction":"above","threshold":1,"clear":0.9,"since":"2000-01-01T00:00:35Z",` +
			`"raised_at":"2000-01-01T00:00:35Z","message":"The P99 of the wait with model “m” over the last 5 minutes is 2 s, above the threshold of 1 s since 2000-01-01 00:00:05 UTC.","advice":"Look."}]`
		if string(got) != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestRun checks that Run looks by itself and ends with its context, and that what
// it has can be asked for while it reads: a Reader may hold a lock meanwhile under
// which it asks its sources too.
func TestRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFixture(t, slowRule(nil), nil)
		f.set("wait_seconds", 2, 100)
		f.during = func() { f.Figures(collected{}); f.Status() }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		time.Sleep(36 * time.Second)
		f.expect(t, "slow firing")
		cancel()
		<-done
	})
}
