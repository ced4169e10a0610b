package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"time"

	"sluice/bench/process"
)

// slower is by how many times the second replica is.
const slower = 3

// balancing has callers ask Sluices that choose between two replicas in different ways,
// at the same time, each with replicas of its own.
func balancing(ctx context.Context, w io.Writer, p plan) error {
	l, err := newLab(ctx, &p)
	if err != nil {
		return err
	}
	defer l.close()
	second, secondAddr, err := l.startMock(ctx, "", slower)
	defer process.Stop(second)
	if err != nil {
		return err
	}
	var columns []column
	for _, balance := range []string{"weighted", "least-loaded", "auto"} {
		columns = append(columns, column{balance, setup{
			sections:  "route: {balance: " + balance + "}\n",
			upstreams: upstream("quick", l.mockAddr, worked) + upstream("slow", secondAddr, worked),
		}})
	}
	fmt.Fprintf(w, "Two replicas, of which a call takes one %v and the other %d times as long; chats at random, for %v after a quarter of that unmeasured, all at the same time\n\n", replica(1).call, slower, p.duration)
	head(w, 2, "calls at once", "balance", "calls/s", "to the slower one", "P50 ms", "P99 ms", "P99 × weighted")
	for _, test := range []struct {
		workers int
		rate    float64
		at      string
	}{{1000, 40, "any number"}, {4, 20, "four, others wait"}, {4, 30, "four, others wait"}} {
		for range p.rounds {
			if err := l.serveEach(ctx, columns); err != nil {
				return err
			}
			if err := l.balance(ctx, w, columns, replica(test.workers), test.rate, test.at); err != nil {
				return err
			}
		}
	}
	return nil
}

// replica is one that works at so many calls at a time.
func replica(workers int) cost { return cost{100 * time.Millisecond, 0, workers, 0} }

func (l *lab) balance(ctx context.Context, w io.Writer, columns []column, model cost, rate float64, at string) error {
	var sources []source
	for i, c := range columns {
		s := newSource(l.proxies[i].addr, chatPath, "", questionBody(model.model(fmt.Sprint(c.name, l.requests))))
		s.rate = rate
		sources = append(sources, s)
	}
	if _, err := drive(ctx, sources, &l.requests, 1, l.duration/4); err != nil {
		return err
	}
	before, err := l.slow(ctx)
	if err != nil {
		return err
	}
	calls, err := drive(ctx, sources, &l.requests, 2, l.duration)
	if err != nil {
		return err
	}
	after, err := l.slow(ctx)
	if err != nil {
		return err
	}
	worst := 0.0
	for i, c := range columns {
		all := madeBy(calls, i)
		if ok := with(all, 200); len(ok) != len(all) {
			return fmt.Errorf("%s: %d of %d calls were answered, others with %v", c.name, len(ok), len(all), statuses(all))
		}
		p99 := took(all, 99)
		if i == 0 {
			worst = p99
		}
		row(w, at, c.name, rate, fmt.Sprintf("%.1f %%", 100*(after[i]-before[i])/float64(len(all))), took(all, 50), p99, p99/worst)
	}
	return nil
}

// slow is how many calls each Sluice sent to the slower replica.
func (l *lab) slow(ctx context.Context) (sent []float64, err error) {
	for _, p := range l.proxies {
		n, err := gauge(ctx, p.addr, regexp.QuoteMeta(`sluice_route_requests_total{outcome="success",upstream="slow"}`))
		if err != nil {
			return nil, err
		}
		sent = append(sent, n)
	}
	return sent, nil
}
