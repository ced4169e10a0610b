package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"sluice/bench/process"
)

// What a call for vectors costs its upstream, which works at one call or at several at
// once.
const callCost, itemCost = 10 * time.Millisecond, 100 * time.Microsecond

// batched is what callers got of a Sluice in all rounds.
type batched struct {
	calls    []call
	rates    []float64 // answers a second, by round
	upstream float64   // calls
	measured time.Duration
	cpu, by  time.Duration // CPU time, of Sluice, and of the mock and this process
}

// batching has callers ask for one vector each, again and again, of Sluices that batch in
// different ways, in turn.
func batching(ctx context.Context, w io.Writer, p plan) error {
	l, err := newLab(ctx, &p)
	if err != nil {
		return err
	}
	defer l.close()
	var columns []column
	for _, strategy := range []string{"off", "size", "time", "adaptive"} {
		columns = append(columns, column{strategy, setup{sections: "batch: {strategy: \"" + strategy + "\"}\n", upstreams: upstream("mock", l.mockAddr, worked)}})
	}
	for _, workers := range []int{1, 4} {
		model := cost{callCost, itemCost, workers, 0}
		if err := l.serveEach(ctx, columns); err != nil {
			return err
		}
		fmt.Fprintf(w, "An upstream that works at %d at a time, %v a call and %v an item: %.0f items/s alone, %.0f in tens; %v per load after as long unmeasured, %d rounds\n\n",
			workers, model.call, model.item, model.capacity(1), model.capacity(10), p.duration, p.rounds)
		head(w, 2, "callers", "strategy", "answers/s", "× off", "P50 ms", "P99 ms", "upstream calls/s", "items a call", "Sluice, CPU µs an answer", "load and mock, % of CPU "+peers)
		for _, callers := range []int{1, 8, 64, 256} {
			if err := l.batches(ctx, w, model, columns, callers); err != nil {
				return err
			}
		}
		fmt.Fprintln(w)
	}
	return nil
}

// batches prints what so many callers get of each Sluice.
func (l *lab) batches(ctx context.Context, w io.Writer, model cost, columns []column, callers int) error {
	got := make([]batched, len(columns))
	for round := range l.rounds {
		for i, c := range columns {
			if err := l.batch(ctx, &got[i], model.model(c.name), l.proxies[i], callers, round); err != nil {
				return fmt.Errorf("%s, %d callers: %w", c.name, callers, err)
			}
		}
	}
	for i, c := range columns {
		g := got[i]
		answers := float64(len(g.calls))
		cpu := ""
		if g.cpu >= enoughCPU {
			cpu = threeDigits(micro(g.cpu) / answers)
		}
		row(w, callers, c.name, median(g.rates), ratio(g.rates, got[0].rates), took(g.calls, 50), took(g.calls, 99), g.upstream/g.measured.Seconds(), answers/g.upstream,
			cpu, fmt.Sprintf("%.0f", 100*g.by.Seconds()/g.measured.Seconds()))
	}
	return nil
}

// enoughCPU is the least CPU time that says something: it is counted in ticks of 10 ms.
const enoughCPU = 200 * time.Millisecond

// batch loads a Sluice once. What callers get while it finds its way does not count, and
// nor do the last calls, while there are fewer callers.
func (l *lab) batch(ctx context.Context, g *batched, model string, p *proxy, callers, round int) error {
	s := newSource(p.addr, embeddingsPath, "", embeddingBody(model))
	s.callers, s.vector = callers, true
	var at [2]spent
	look := func(i int) moment {
		return moment{time.Duration(i+1) * l.duration, func() (err error) {
			at[i], err = l.spent(ctx, p)
			return err
		}}
	}
	calls, err := drive(ctx, []source{s}, &l.requests, uint64(round), 2*l.duration, look(0), look(1))
	if err != nil {
		return err
	}
	if answers := with(calls, 200); len(answers) != len(calls) {
		return fmt.Errorf("%d of %d calls were answered, others with %v", len(answers), len(calls), statuses(calls))
	}
	calls = ended(calls, l.duration, 2*l.duration)
	g.calls = append(g.calls, calls...)
	g.rates = append(g.rates, float64(len(calls))/l.duration.Seconds())
	g.upstream += at[1].served - at[0].served
	g.measured += l.duration
	g.cpu += at[1].proxy - at[0].proxy
	g.by += at[1].peers - at[0].peers
	return nil
}

// spent is what was done until now.
type spent struct {
	served       float64       // by the mock
	proxy, peers time.Duration // CPU time, of the mock and this process together
}

func (l *lab) spent(ctx context.Context, p *proxy) (s spent, err error) {
	if s.served, err = l.served(ctx); err != nil {
		return s, err
	}
	t, err := process.CPUTimes(p.pid(), l.mock.Process.Pid)
	if err != nil {
		return s, err
	}
	s.proxy, s.peers = t[0], t[1]+ownCPU()
	return s, nil
}
