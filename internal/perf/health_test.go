package perf

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// patient is a source with conditions.
type patient []Condition

func (*patient) Figures(Reporter) {}
func (p *patient) Examine(report func(Condition)) {
	for _, c := range *p {
		report(c)
	}
}

func (h Health) String() string {
	var b strings.Builder
	b.WriteString(h.State.String())
	for _, f := range h.Findings {
		fmt.Fprintf(&b, "; %s %s %d", f.Component, f.State, f.Since.Second())
		if f.Error != "" {
			fmt.Fprintf(&b, " %s %d", f.Error, f.ErrorAt.Second())
		}
	}
	return b.String()
}

// The whole is as well as its vital parts; each part tells since when, and what
// was wrong last.
func TestExamine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // midnight
		r, p, q := New(), &patient{}, &patient{}
		r.Register("a", p)
		leave := r.Register("b", q)
		for _, step := range []struct {
			p, q []Condition
			want string
		}{
			{nil, nil, "healthy"},
			{[]Condition{{Component: "up/b", Vital: "up"}, {Component: "up/a", Vital: "up"}}, nil, "healthy; up/a healthy 1; up/b healthy 1"},
			{
				[]Condition{{Component: "up/b", Vital: "up", State: Unhealthy, Error: "x"}, {Component: "up/a", Vital: "up"}}, nil,
				"degraded; up/a healthy 1; up/b unhealthy 2 x 2",
			},
			{
				[]Condition{{Component: "up/b", Vital: "up", State: Unhealthy, Error: "x"}, {Component: "up/a", Vital: "up", State: Degraded}}, nil,
				"degraded; up/a degraded 3; up/b unhealthy 2 x 2",
			},
			{
				[]Condition{{Component: "up/b", Vital: "up", State: Unhealthy, Error: "y"}, {Component: "up/a", Vital: "up", State: Unhealthy}}, nil,
				"unhealthy; up/a unhealthy 4; up/b unhealthy 2 y 4",
			},
			{
				[]Condition{{Component: "up/b", Vital: "up"}}, []Condition{{Component: "redis", State: Unhealthy}},
				"degraded; redis unhealthy 5; up/b healthy 5 y 4",
			},
			{[]Condition{{Component: "up/b", Vital: "up"}}, nil, "healthy; up/b healthy 5 y 4"},
		} {
			*p, *q = step.p, step.q
			if got := r.Examine().String(); got != step.want {
				t.Errorf("got %s\nwant %s", got, step.want)
			}
			time.Sleep(time.Second)
		}
		*q = []Condition{{Component: "gone"}}
		leave()
		if got := r.Examine(); len(got.Findings) != 1 {
			t.Errorf("one that left is examined: %s", got)
		}
	})
}
