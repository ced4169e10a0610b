package main

import (
	"flag"
	"io"
	"strings"
	"testing"
	"time"
)

// Ratios and differences are those within the rounds.
func TestTable(t *testing.T) {
	var b strings.Builder
	table := newTable(&b, "what", []string{"nginx", "sluice lean", "sluice nethttp"})
	cost := newLine("CPU", 1, 3)
	for _, round := range [][3]float64{{10, 20, 15}, {100, 110, 300}, {20, 60, 10}} {
		for i, f := range round {
			cost.add(i, f)
		}
	}
	cost.mock = []float64{3, 4, 9}
	more := cost
	more.added, more.digits, more.mock = true, 0, nil
	table.print(cost, more)
	const want = `| what | nginx | sluice lean | × nginx | sluice nethttp | × nginx | mock |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| CPU | 20.0 | 60.0 | 2.00 | 15.0 | 1.50 | 4.0 |
| CPU | 20 | 60 | +10 | 15 | +5 |  |
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestVariants(t *testing.T) {
	for want, got := range map[string][]variant{
		"sluice":                            variants([]string{"/a/sluice"}, []string{""}),
		"sluice lean,sluice nethttp":        variants([]string{"/a/sluice"}, []string{"lean", "nethttp"}),
		"before,after":                      variants([]string{"/a/before", "/b/after"}, []string{""}),
		"x lean,x nethttp,y lean,y nethttp": variants([]string{"x", "y"}, []string{"lean", "nethttp"}),
	} {
		var names []string
		for _, v := range got {
			names = append(names, v.name)
		}
		if strings.Join(names, ",") != want {
			t.Errorf("%q, not %s", names, want)
		}
	}
}

func TestPlan(t *testing.T) {
	parse := func(args ...string) (p plan, err error) {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		p.flags(flags)
		flags.Func("streams", "", p.setStreams)
		if err = flags.Parse(args); err == nil {
			err = p.check()
		}
		return p, err
	}
	p, err := parse("-engine", "lean,nethttp", "-sluice", "a,b", "-mock", "nethttp", "-streams", "1,20", "-bare")
	if err != nil || len(p.engines) != 2 || len(p.binaries) != 2 || p.mockKind != mockNetHTTP || len(p.streams) != 2 || p.streams[1] != 20 || !p.bare {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := parse(); err != nil || len(p.engines) != 1 || p.engines[0] != "" || p.mockKind != mockLean || p.bare {
		t.Errorf("defaults: %+v, %v", p, err)
	}
	for _, bad := range []string{"-mock=x", "-rounds=0", "-d=10ms", "-c=0", "-streams=0", "-streams=,"} {
		if p, err := parse(bad); err == nil {
			t.Errorf("%s: %+v", bad, p)
		}
	}
}

func TestPercentile(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i))
	}
	if a, b := percentile(all, 50), percentile(all, 99); a != 100 || b != 198 || all[0] != 200 {
		t.Errorf("%d, %d", a, b)
	}
	if got := percentile([]time.Duration{7}, 99); got != 7 {
		t.Errorf("of one: %d", got)
	}
}

// What the script for wrk counts up is the seed.
func TestReseeded(t *testing.T) {
	body := freshBody(model1KB, true, firstSeed)
	if got, want := reseeded(body, firstSeed+maxRequests), freshBody(model1KB, true, firstSeed+maxRequests); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestQueue(t *testing.T) {
	q := queue{delay: 10 * time.Millisecond, step: time.Millisecond}
	var due []time.Duration
	for i := range 100 {
		q.add(int32(i), 1, time.Duration(i)*300*time.Microsecond)
		if i%2 == 1 {
			w, ok := q.first()
			if !ok || w.fd != int32(i/2) {
				t.Fatalf("%v, %v is first", w, ok)
			}
			due = append(due, w.due)
			q.take()
		}
	}
	if due[0] != 10*time.Millisecond || due[1] != 11*time.Millisecond || due[4] != 12*time.Millisecond {
		t.Errorf("due at %v", due[:5])
	}
	for range 50 {
		q.take()
	}
	if w, ok := q.first(); ok {
		t.Errorf("%v is left", w)
	}
}
