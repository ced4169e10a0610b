package main

import (
	"strings"
	"testing"
	"time"
)

func TestRows(t *testing.T) {
	var b strings.Builder
	head(&b, 1, "name", "x", "y")
	row(&b, "a", 1234.5, 12.345)
	row(&b, "b", 0.5, -99.96)
	const want = "| name | x | y |\n| --- | ---: | ---: |\n| a | 1234 | 12.3 |\n| b | 0.50 | -100.0 |\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestCalls(t *testing.T) {
	const ms = time.Millisecond
	calls := []call{
		{0, 0, 10 * ms, 200, -1}, {0, 5 * ms, 30 * ms, 200, -1}, {1, 6 * ms, ms, 503, 3}, {1, 7 * ms, ms, 503, 5},
		{1, 8 * ms, 2 * ms, 504, -1}, {0, 9 * ms, 90 * ms, left, -1}, {1, 20 * ms, 4 * ms, 503, 4},
	}
	if got, want := tally(calls), "1 × 0, 3 × 503 (Retry-After 4 s), 1 × 504"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := times(with(calls, 200)), "10.0, 30.0"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := times(nil); got != "" {
		t.Errorf("of none: %s", got)
	}
	if got, want := percentOf(refused(calls), calls), "57.1 %"; got != want || percentOf(nil, nil) != "0.0 %" {
		t.Errorf("%s, want %s", got, want)
	}
	if got := ended(madeBy(calls, 0), 10*ms, 35*ms); len(got) != 1 || got[0].begun != 0 {
		t.Errorf("ended from 10 to 35 ms: %v", got)
	}
	if took(nil, 50) != 0 || len(madeBy(calls, 0, 1)) != len(calls) {
		t.Errorf("%v", took(nil, 50))
	}
}

func TestWorkloads(t *testing.T) {
	for name, w := range workloads() {
		p := plan{mockKind: mockLean, rounds: w.rounds, duration: w.duration, conns: 1, calls: 1}
		if err := p.check(); err != nil || w.measure == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
