package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// overloadedWorkers is how many calls the upstream works at, excess by how many times
	// more are asked of it than it can do, important the part of them that are of high
	// priority.
	overloadedWorkers, excess, important = 40, 3, 0.1
	// overloadedCall is what a call takes it, by up to overloadedSpread percent more or
	// less: calls that all took the same would begin and end together for ever.
	overloadedCall, overloadedSpread = time.Second, 50
	// patient is how long callers wait, and say that they do.
	patient = 8 * time.Second
)

// overload has callers ask more of an upstream than it can do, through Sluices with
// admission and without, at the same time, each with workers of its own. Before that
// they ask half of what it can do, and then as much as it can do and no more.
func overload(ctx context.Context, w io.Writer, p plan) error {
	l, err := newLab(ctx, &p)
	if err != nil {
		return err
	}
	defer l.close()
	model := cost{overloadedCall, 0, overloadedWorkers, overloadedSpread}
	var columns []column
	for _, c := range [][2]string{
		{"admission off", "admit: {enabled: false}\n"},
		{"on", ""},
		{"on, tolerance 1.5", "admit: {tolerance: 1.5}\n"},
		{fmt.Sprintf("on, max_concurrency %d", overloadedWorkers), fmt.Sprintf("admit: {max_concurrency: %d}\n", overloadedWorkers)},
	} {
		columns = append(columns, column{c[0], setup{sections: c[1], upstreams: upstream("mock", l.mockAddr, worked)}})
	}
	fmt.Fprintf(w, "An upstream that works at %d chats at once, %v ± %d %% each: %.0f a second. Calls come at random, %.0f %% of them of high priority; callers leave after %v\n",
		model.workers, model.call, model.spread, model.capacity(1), 100*important, patient)
	for round := range p.rounds {
		if err := l.serveEach(ctx, columns); err != nil {
			return err
		}
		if err := l.overload(ctx, w, columns, model, round); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) overload(ctx context.Context, w io.Writer, columns []column, model cost, round int) error {
	// The sources of a column are 2i, normal, and 2i+1, high.
	sources := func(rate float64, callers int) (all []source) {
		for i, c := range columns {
			for j, class := range []string{"normal", "high"} {
				fields := fmt.Sprintf("X-Priority: %s\r\nX-Request-Timeout: %.0f\r\n", class, patient.Seconds())
				s := newSource(l.proxies[i].addr, chatPath, fields, questionBody(model.model(strings.ReplaceAll(fmt.Sprint(c.name, round), " ", "-"))))
				s.patience = patient
				switch {
				case j == 1:
					s.rate = important * rate
				case callers > 0:
					s.callers = callers
				default:
					s.rate = (1 - important) * rate
				}
				if s.rate > 0 || s.callers > 0 {
					all = append(all, s)
				}
			}
		}
		return all
	}
	can := model.capacity(1)
	calm, err := drive(ctx, sources(can/2, 0), &l.requests, 1, l.duration/3)
	if err != nil {
		return err
	}
	// A quarter more callers than it works at keep it busy, and hardly wait. It answers
	// many at once, so that only whole rounds of its work are counted.
	const settle, counted = 2, 8
	bestFor := (settle + counted) * model.call
	best, err := drive(ctx, sources(0, model.workers*5/4), &l.requests, 2, bestFor)
	if err != nil {
		return err
	}
	calls, err := drive(ctx, sources(excess*can, 0), &l.requests, 3, l.duration)
	if err != nil {
		return err
	}
	names := []string{""}
	for _, c := range columns {
		names = append(names, c.name)
	}
	fmt.Fprintln(w)
	head(w, 1, names...)
	most := make([]float64, len(columns))
	line := func(name string, figure func(i int) string) {
		cells := []any{name}
		for i := range columns {
			cells = append(cells, figure(i))
		}
		row(w, cells...)
	}
	line("the best: answers/s to callers who wait for theirs", func(i int) string {
		const half = 2 // not where many end
		to := bestFor - model.call/half
		from := to - counted*model.call
		most[i] = float64(len(with(ended(madeBy(best, i), from, to), 200))) / (to - from).Seconds()
		return threeDigits(most[i])
	})
	line("half the load: answers/s", func(i int) string {
		return threeDigits(float64(len(with(madeBy(calm, 2*i, 2*i+1), 200))) / (l.duration / 3).Seconds())
	})
	line("high priority, P50, P99 ms", func(i int) string { return times(madeBy(calm, 2*i+1)) })
	for half := range time.Duration(2) {
		from, to := half*l.duration/2, (half+1)*l.duration/2
		if half == 0 {
			from = model.call // nothing can have been answered before
		}
		part := func(sources ...int) []call { return ended(madeBy(calls, sources...), from, to) }
		line(fmt.Sprintf("**%d × what it can do, %s half**", excess, []string{"first", "second"}[half]), func(int) string { return "" })
		line("goodput, % of the best", func(i int) string {
			good := float64(len(with(part(2*i, 2*i+1), 200))) / (to - from).Seconds()
			return threeDigits(100 * good / most[i])
		})
		for j, class := range []string{"normal", "high"} {
			line(class+" priority: answered", func(i int) string { return percentOf(with(part(2*i+j), 200), part(2*i+j)) })
			line("P50, P99 ms", func(i int) string { return times(with(part(2*i+j), 200)) })
			if class == "high" {
				line("P99 × that of half the load", func(i int) string {
					return threeDigits(took(with(part(2*i+1), 200), 99) / took(madeBy(calm, 2*i+1), 99))
				})
			}
			line("refused, left", func(i int) string {
				all := part(2*i + j)
				return percentOf(refused(all), all) + ", " + percentOf(with(all, left), all)
			})
		}
		line("refused after, P50, P99 ms", func(i int) string { return times(refused(part(2*i, 2*i+1))) })
		line("with", func(i int) string { return tally(refused(part(2*i, 2*i+1))) })
	}
	return nil
}

// times are the median and the 99th percentile of what calls took.
func times(calls []call) string {
	if len(calls) == 0 {
		return ""
	}
	return threeDigits(took(calls, 50)) + ", " + threeDigits(took(calls, 99))
}

func percentOf(some, all []call) string {
	return fmt.Sprintf("%.1f %%", 100*float64(len(some))/float64(max(len(all), 1)))
}

// tally says how many calls had which status, and the median of when they may be made
// again.
func tally(calls []call) string {
	var parts []string
	for _, s := range statuses(calls) {
		some := with(calls, s)
		var again []float64
		for _, c := range some {
			if c.retryAfter >= 0 {
				again = append(again, float64(c.retryAfter))
			}
		}
		part := fmt.Sprintf("%d × %d", len(some), s)
		if len(again) > 0 {
			part += fmt.Sprintf(" (Retry-After %.0f s)", median(again))
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}
