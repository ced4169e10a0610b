package main

import (
	"context"
	"errors"
	"fmt"

	"sluice/bench/process"
)

// twoCPUs prints how many requests there are a second where proxy, mock and load
// share one CPU, and where they share two.
func (l *lab) twoCPUs(ctx context.Context, t table) (err error) {
	l.stopProxies()
	var at [2][]*proxy
	cpus := [2]string{proxied, both}
	defer func() {
		for _, all := range at {
			for _, p := range all {
				process.Stop(p.cmd)
			}
		}
		err = errors.Join(err, pin(ctx, l.mock.Process.Pid, peers))
	}()
	for i := range at {
		s := l.passing()
		s.cpus, s.workers = cpus[i], i+1
		if at[i], err = l.startProxies(ctx, s); err != nil {
			return err
		}
	}
	names := [2]string{"requests/s, proxy, mock and load all on CPU 0", "the same, all on both CPUs"}
	rates, gain := [2]line{}, newLine("both CPUs' rate to one's", 2, 1+len(l.variants))
	for i := range rates {
		rates[i] = newLine(names[i], 0, 1+len(l.variants))
	}
	ld := load{body: freshBody(model1KB, false, firstSeed), fresh: true}
	for range l.rounds {
		for column := range 1 + len(l.variants) {
			var rate [2]float64
			for i := range at {
				p := at[i][column]
				if err := pin(ctx, l.mock.Process.Pid, cpus[i]); err != nil {
					return err
				}
				ld.cpus = cpus[i]
				m, err := l.measure(ctx, p, ld)
				if err != nil {
					return fmt.Errorf("load %s: %w", p.name, err)
				}
				rate[i] = m.rate
				rates[i].add(column, m.rate)
			}
			gain.add(column, rate[1]/rate[0])
		}
	}
	t.print(rates[0], rates[1], gain)
	return nil
}
