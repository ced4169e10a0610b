package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"sluice/bench/process"
)

// section is a part of the table.
type section struct {
	name  string
	lines func(*lab, context.Context, table) error
}

func sections() []section {
	return []section{
		{"chat", (*lab).chats},
		{"hit", (*lab).answersFromMemory},
		{"stream", (*lab).streamed},
		{"open", (*lab).openStreams},
		{"cpus", (*lab).twoCPUs},
		{"latency", (*lab).latencies},
		{"crowd", (*lab).crowd},
		{"idle", (*lab).idle},
	}
}

func lineNames() (names []string) {
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

// proxies measures what nginx does too, in one table.
func proxies(ctx context.Context, w io.Writer, p plan) error {
	l, err := newLab(ctx, &p)
	if err != nil {
		return err
	}
	defer l.close()
	as := "as a user starts it"
	if p.bare {
		as = "without access log, and without cache where it passes on"
	}
	fmt.Fprintf(w, "Sluice %s, mock %s, c=%d, %v per load, median of %d rounds\n\n", as, p.mockKind, p.conns, p.duration, p.rounds)
	t := newTable(w, "", l.columns())
	for _, s := range sections() {
		if !p.only.MatchString(s.name) {
			continue
		}
		if fault := s.lines(l, ctx, t); fault != nil { // the other lines are worth having
			err = errors.Join(err, fmt.Errorf("%s: %w", s.name, fault))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

// columns are the proxies' names.
func (l *lab) columns() []string {
	names := []string{"nginx"}
	for _, v := range l.variants {
		names = append(names, v.name)
	}
	return names
}

// chats are calls whose answer is not known.
func (l *lab) chats(ctx context.Context, t table) error {
	return l.cost(ctx, t, load{name: "non-stream, 600 B request, 1 kB reply", body: freshBody(model1KB, false, firstSeed), fresh: true})
}

// streamed are streams whose events come as fast as they can be sent.
func (l *lab) streamed(ctx context.Context, t table) error {
	return l.cost(ctx, t, load{name: fmt.Sprintf("stream of %d events, as fast as they come", events), body: freshBody(model1KB, true, firstSeed), fresh: true})
}

// answersFromMemory are calls whose answer all proxies have stored.
func (l *lab) answersFromMemory(ctx context.Context, t table) error {
	if err := l.serve(ctx, caching(proxied, 0)); err != nil {
		return err
	}
	if err := l.fill(ctx, 1, model1KB); err != nil {
		return err
	}
	cost, _, err := l.compare(ctx, load{name: "answer from memory, 600 B request, 1 kB reply", body: keyedBody(model1KB, 0)})
	if err != nil {
		return err
	}
	cost.mock = nil // it is not asked
	t.print(cost)
	return nil
}

// cost prints what a load costs that is passed on.
func (l *lab) cost(ctx context.Context, t table, ld load) error {
	if err := l.serve(ctx, l.passing()); err != nil {
		return err
	}
	cost, _, err := l.compare(ctx, ld)
	if err != nil {
		return err
	}
	t.print(cost)
	return nil
}

// crowdSize is how many clients a crowd has, crowdRoom how many of their requests
// may be upstream at once.
const crowdSize, crowdRoom = 1000, 1200

// crowd prints what many clients get.
func (l *lab) crowd(ctx context.Context, t table) error {
	s := l.passing()
	s.clients = crowdRoom
	if err := l.serve(ctx, s); err != nil {
		return err
	}
	ld := load{body: freshBody(model1KB, false, firstSeed), fresh: true, conns: crowdSize}
	rate := newLine(fmt.Sprintf("requests/s of %d clients, room for %d upstream", crowdSize, crowdRoom), 0, len(l.proxies))
	p99 := newLine("the same, P99 ms", 1, len(l.proxies))
	for range l.rounds {
		for i, p := range l.proxies {
			m, err := l.measure(ctx, p, ld)
			if err != nil {
				return fmt.Errorf("load %s: %w", p.name, err)
			}
			rate.add(i, m.rate)
			p99.add(i, milli(m.p99))
		}
	}
	t.print(rate, p99)
	return nil
}

// idle prints what a process that has done nothing takes, and how long it takes
// to start.
func (l *lab) idle(ctx context.Context, t table) error {
	l.stopProxies()
	first, size := newLine("start to first answer, ms", 0, 1+len(l.variants)), newLine("resident when idle, MiB", 1, 1+len(l.variants))
	for range l.rounds {
		for i := range 1 + len(l.variants) {
			p, err := l.startOne(ctx, l.passing(), i)
			if err != nil {
				return err
			}
			first.add(i, milli(p.firstReply))
			mib, err := process.ResidentMiB(p.pid())
			process.Stop(p.cmd)
			if err != nil {
				return err
			}
			size.add(i, mib)
		}
	}
	t.print(first, size)
	return nil
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// setStreams reads numbers of streams.
func (p *plan) setStreams(s string) error {
	p.streams = nil
	for field := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return cmp.Or(err, fmt.Errorf("%d streams", n))
		}
		p.streams = append(p.streams, n)
	}
	return nil
}
