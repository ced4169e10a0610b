package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sluice/bench/process"
)

// ownFiles is how many descriptors a proxy needs besides two for each stream.
const ownFiles = 400

// settled is how long streams have been open when memory is measured.
const settled = 5 * time.Second

// openStreams prints what the proxies take per open stream, and how long a stream
// takes to open.
func (l *lab) openStreams(ctx context.Context, t table) error {
	l.stopProxies()
	for _, n := range l.streams {
		asked := ""
		if most := (int(l.files) - ownFiles) / 2; n > most {
			asked = fmt.Sprintf(" (not %d: a process may have %d files open)", n, l.files)
			n = most
		}
		size := newLine(fmt.Sprintf("resident KiB per open stream, %d open%s", n, asked), 1, 1+len(l.variants))
		first := newLine(fmt.Sprintf("time to first event P99 while %d streams open, ms", n), 1, 1+len(l.variants))
		for range l.rounds {
			for i := range 1 + len(l.variants) {
				p99, kib, err := l.opened(ctx, i, n)
				if err != nil {
					return err
				}
				size.add(i, kib)
				first.add(i, milli(p99))
			}
		}
		t.print(size, first)
	}
	return nil
}

// opened opens n streams through a process that has done nothing before, since
// load leaves its mark on a heap. It gives the 99th percentile of the time to their
// first events, and what each takes when all have been open for some seconds.
func (l *lab) opened(ctx context.Context, column, n int) (p99 time.Duration, kib float64, err error) {
	s := l.passing()
	s.clients = n + 100
	p, err := l.startOne(ctx, s, column)
	if err != nil {
		return 0, 0, err
	}
	defer process.Stop(p.cmd)
	return l.openedAt(ctx, p, n)
}

// openedAt does so at a proxy that runs.
func (l *lab) openedAt(ctx context.Context, p *proxy, n int) (p99 time.Duration, kib float64, err error) {
	before, err := process.ResidentMiB(p.pid())
	if err != nil {
		return 0, 0, l.explain(p, err)
	}
	streams, err := openMany(ctx, p.target, n)
	if err != nil {
		return 0, 0, l.explain(p, err)
	}
	defer streams.close()
	if err := streams.read(ctx, settled); err != nil {
		return 0, 0, l.explain(p, err)
	}
	after, err := process.ResidentMiB(p.pid())
	if err != nil {
		return 0, 0, l.explain(p, err)
	}
	kib = (after - before) * 1024 / float64(n)
	slices.Sort(streams.first)
	return streams.first[n*99/100], kib, nil
}
