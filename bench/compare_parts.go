package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"sluice/bench/compare"

	"sluice/bench/process"
)

// part is what is measured together.
type part struct {
	name    string
	measure func(*comparison, context.Context) error
}

func parts() []part {
	return []part{
		{"chat", (*comparison).chats},
		{"stream", (*comparison).streamed},
		{"cpus", (*comparison).onBothCPUs},
		{"hit", (*comparison).hits},
		{"latency", (*comparison).latencies},
		{"rate", (*comparison).atRate},
		{"open", (*comparison).openStreams},
		{"idle", (*comparison).idle},
		{"image", (*comparison).images},
	}
}

func partNames() (names []string) {
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// lacking is an error that says why there is no figure, where that is no fault.
type lacking string

func (l lacking) Error() string { return string(l) }

// stage has all contenders run with a setup, and no others, and answer chats; those that somebody else has
// started may use the same CPUs. What does not start lacks all the lines; its place is nil.
func (c *comparison) stage(ctx context.Context, s setup, lines []*compare.Line) ([]*proxy, error) {
	c.stopProxies()
	all := make([]*proxy, len(c.contenders))
	for i, contender := range c.contenders {
		p, err := c.startContender(ctx, s, i)
		if err := c.fault(i, err, lines); err != nil {
			return nil, err
		}
		if err != nil {
			continue
		}
		if contender.running == nil {
			c.proxies = append(c.proxies, p)
		}
		all[i] = p
	}
	return all, nil
}

func (c *comparison) startContender(ctx context.Context, s setup, i int) (*proxy, error) {
	if p := c.contenders[i].running; p != nil {
		cpus := s.cpus
		if cpus == "" {
			cpus = proxied
		}
		for _, pid := range process.Family(p.process) {
			if err := pin(ctx, pid, cpus); err != nil {
				return nil, err
			}
		}
		return p, nil
	}
	s.answered = c.answersChat
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, err
	}
	return c.contenders[i].start(ctx, c.lab, s, addr)
}

// fault has a contender lack lines because of an error, which is the comparison's own
// where it is Sluice's or there is no time left.
func (c *comparison) fault(i int, err error, lines []*compare.Line) error {
	var why lacking
	switch {
	case err == nil:
		return nil
	case errors.As(err, &why):
	case i == 0:
		return err
	default:
		log.Printf("%s fails: %v", c.contenders[i].Name, err)
	}
	for _, l := range lines {
		name := c.contenders[i].Name
		l.Lacks(name, strings.TrimPrefix(firstLine(err), strings.ToLower(name)+": "))
	}
	return nil
}

// turns measures in each round each proxy that has not failed, one after the other: a
// figure for each line.
func (c *comparison) turns(ctx context.Context, lines []*compare.Line, measure func(round, i int) ([]float64, error)) error {
	for round := range c.rounds {
		if err := c.noteLoad(); err != nil {
			return err
		}
		for i := range c.contenders {
			if lines[0].Lacking[c.contenders[i].Name] != "" {
				continue
			}
			figures, err := measure(round, i)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := c.fault(i, err, lines); err != nil {
				return err
			}
			if err == nil {
				for n, l := range lines {
					l.Add(c.contenders[i].Name, figures[n])
				}
			}
		}
		log.Printf("%s: round %d of %d", lines[0].Name, round+1, c.rounds)
	}
	for _, l := range lines {
		c.run.Lines = append(c.run.Lines, *l)
	}
	return nil
}

func (c *comparison) noteLoad() error {
	load, err := loadAverage()
	c.run.LoadAverages = append(c.run.LoadAverages, load)
	return err
}

// loaded has all contenders run with a setup and measures a load of each. Before the first
// round each has had the load for as long, since some compile what they run while they do.
func (c *comparison) loaded(ctx context.Context, s setup, ld load, lines []*compare.Line, figures func(measured) ([]float64, error)) error {
	all, err := c.stage(ctx, s, lines)
	if err != nil {
		return err
	}
	for i, p := range all {
		if p == nil {
			continue
		}
		_, err := c.wrk(ctx, p, ld, c.duration)
		if err := c.fault(i, err, lines); err != nil {
			return err
		}
	}
	return c.turns(ctx, lines, func(_, i int) ([]float64, error) {
		m, err := c.measure(ctx, all[i], ld)
		if err != nil {
			return nil, c.explain(all[i], err)
		}
		return figures(m)
	})
}

func (c *comparison) chats(ctx context.Context) error {
	lines := []*compare.Line{
		{Name: "CPU µs a request, 600 B in, 1 kB out, each new", Digits: 1, Compared: compare.Ratio},
		{Name: "requests/s on one CPU", Compared: compare.Ratio},
		{Name: "the mock's CPU µs a request meanwhile", Digits: 1, Compared: compare.None},
	}
	return c.loaded(ctx, c.passing(), load{body: freshBody(model1KB, false, firstSeed), fresh: true}, lines, costAndRate)
}

func (c *comparison) streamed(ctx context.Context) error {
	lines := []*compare.Line{
		{Name: fmt.Sprintf("CPU µs a stream of %d events, as fast as they come", events), Compared: compare.Ratio},
		{Name: "streams/s on one CPU", Compared: compare.Ratio},
		{Name: "the mock's CPU µs a stream meanwhile", Compared: compare.None},
	}
	return c.loaded(ctx, c.passing(), load{body: freshBody(model1KB, true, firstSeed), fresh: true}, lines, costAndRate)
}

// costAndRate are a line each. What took no time at all is another process than the one that
// answered.
func costAndRate(m measured) ([]float64, error) {
	if m.cpu == 0 {
		return nil, lacking("its process took no time")
	}
	return []float64{m.cpu, m.rate, m.mock}, nil
}

// onBothCPUs lets the proxies use the CPU of mock and load too.
func (c *comparison) onBothCPUs(ctx context.Context) error {
	s := c.passing()
	s.cpus, s.workers = both, 2
	lines := []*compare.Line{{Name: "requests/s on two CPUs, the second of which is the mock's and the load's too", Compared: compare.Ratio}}
	return c.loaded(ctx, s, load{body: freshBody(model1KB, false, firstSeed), fresh: true}, lines, func(m measured) ([]float64, error) { return []float64{m.rate}, nil })
}

// hits repeats one request. Who asks the mock again has no answer in memory.
func (c *comparison) hits(ctx context.Context) error {
	const most = 0.01 // of the requests, for those that the warm-up had not answered
	lines := []*compare.Line{{Name: "CPU µs an answer from memory, 600 B in, 1 kB out", Digits: 1, Compared: compare.Ratio}}
	return c.loaded(ctx, caching(proxied, 0), load{body: keyedBody(model1KB, 0)}, lines, func(m measured) ([]float64, error) {
		if m.asked > most {
			return nil, lacking("no cache")
		}
		figures, err := costAndRate(m)
		if err != nil {
			return nil, err
		}
		return figures[:1], nil
	})
}

// latencies are what the proxies add to calls of one client that sends one after the
// other, in turn to the mock itself and through the proxy.
func (c *comparison) latencies(ctx context.Context) error {
	for _, streamed := range []bool{false, true} {
		what := fmt.Sprintf("to a reply after %.0f ms", milli(soonTime))
		if streamed {
			what = fmt.Sprintf("to the first event of a stream, sent after %.0f ms", milli(soonTime))
		}
		lines := addedLines(what + ", one client")
		all, err := c.stage(ctx, c.passing(), lines)
		if err != nil {
			return err
		}
		err = c.turns(ctx, lines, func(_, i int) ([]float64, error) {
			took, err := c.takeTurns(ctx, []target{{addr: c.mockAddr}, all[i].target}, c.calls, streamed)
			if err != nil {
				return nil, c.explain(all[i], err)
			}
			return added(took[1], took[0]), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func addedLines(what string) []*compare.Line {
	return []*compare.Line{
		{Name: "µs added at P50 " + what, Compared: compare.Difference},
		{Name: "µs added at P99 " + what, Compared: compare.Difference},
	}
}

// added is by how many µs some percentiles are above those without a proxy.
func added(through, direct []time.Duration) (all []float64) {
	for _, percent := range []int{50, 99} {
		all = append(all, micro(percentile(through, percent)-percentile(direct, percent)))
	}
	return all
}

// atRate is the same where calls come at a constant rate, whether others are answered or
// not: what one takes is counted from when it was to begin.
func (c *comparison) atRate(ctx context.Context) error {
	rate := c.run.Settings.Rate
	lines := addedLines(fmt.Sprintf("to a reply after %.0f ms, %.0f calls a second (open loop)", milli(soonTime), rate))
	all, err := c.stage(ctx, c.passing(), lines)
	if err != nil {
		return err
	}
	return c.turns(ctx, lines, func(round, i int) ([]float64, error) {
		var took [2][]time.Duration
		for n, t := range []target{all[i].target, {addr: c.mockAddr}} {
			s := sourceTo(t, questionBody(modelSoon))
			s.rate, s.steady = rate, true
			calls, err := drive(ctx, []source{s}, &c.requests, uint64(round), c.duration)
			if err != nil {
				return nil, c.explain(all[i], err)
			}
			for _, call := range calls {
				if call.status != 200 {
					return nil, fmt.Errorf("%d of %d calls were answered, others with %v", len(with(calls, 200)), len(calls), statuses(calls))
				}
				if call.begun > c.duration/10 { // by then there are connections
					took[n] = append(took[n], call.took)
				}
			}
		}
		return added(took[0], took[1]), nil
	})
}

// openStreams has many slow streams open through a process that has done nothing before.
// One that somebody else has started is as it is.
func (c *comparison) openStreams(ctx context.Context) error {
	c.stopProxies()
	n := c.run.Settings.Streams
	if most := (int(c.files) - ownFiles) / 2; n > most {
		return fmt.Errorf("%d streams take more files than the %d that a process may have open", n, c.files)
	}
	s := c.passing()
	s.clients = n + 100
	lines := []*compare.Line{
		{Name: fmt.Sprintf("resident KiB an open stream, %d open", n), Digits: 1, Compared: compare.Ratio},
		{Name: fmt.Sprintf("ms to the first event at P99 while %d streams open", n), Digits: 1, Compared: compare.Ratio},
	}
	return c.turns(ctx, lines, func(_, i int) ([]float64, error) {
		p, err := c.startContender(ctx, s, i)
		if err != nil {
			return nil, err
		}
		defer process.Stop(p.cmd)
		p99, kib, err := c.openedAt(ctx, p, n)
		return []float64{kib, milli(p99)}, err
	})
}

// idle starts all, and looks at what they take when they have done nothing for a while.
func (c *comparison) idle(ctx context.Context) error {
	s := c.passing()
	lines := []*compare.Line{
		{Name: "ms from its start to the first chat answered", Compared: compare.Ratio},
		{Name: fmt.Sprintf("resident MiB after that and %.0f s of doing nothing", c.idling.Seconds()), Digits: 1, Compared: compare.Ratio},
	}
	var all []*proxy
	staged := -1
	return c.turns(ctx, lines, func(round, i int) (figures []float64, err error) {
		if staged < round {
			staged = round
			if all, err = c.stage(ctx, s, lines); err != nil {
				return nil, err
			}
			select {
			case <-time.After(c.idling):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		p := all[i]
		switch {
		case p == nil: // it has said why
			return nil, lacking(lines[0].Lacking[c.contenders[i].Name])
		case p.cmd == nil:
			return nil, lacking("not started here")
		}
		mib, err := process.ResidentMiB(p.pid())
		if err != nil {
			return nil, c.explain(p, err)
		}
		return []float64{milli(p.firstReply), mib}, nil
	})
}

// answersChat waits until a chat is answered.
func (l *lab) answersChat(ctx context.Context, t target) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := l.askOnce(ctx, t)
		if err == nil {
			return time.Now(), nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return time.Now(), fmt.Errorf("%s answers no chat: %w", t.addr, err)
		}
	}
}

func (l *lab) askOnce(ctx context.Context, t target) error {
	c, err := dial(ctx, t)
	if err != nil {
		return err
	}
	defer c.close()
	l.requests++
	_, err = c.ask(freshBody(model1KB, false, firstSeed+l.requests))
	return err
}

// images are of the least that each needs.
func (c *comparison) images(context.Context) error {
	if err := c.noteLoad(); err != nil {
		return err
	}
	line := compare.Line{Name: "MB of the files that it needs, compressed as an image's layer is", Digits: 1, Compared: compare.Ratio}
	for i, contender := range c.contenders {
		if contender.files == nil {
			line.Lacks(contender.Name, "not installed here")
			continue
		}
		files, err := contender.files()
		if err == nil {
			var size int64
			if size, err = compressedSize(files); err == nil {
				line.Add(contender.Name, float64(size)/1e6)
				continue
			}
		}
		if err := c.fault(i, err, []*compare.Line{&line}); err != nil {
			return err
		}
	}
	c.run.Lines = append(c.run.Lines, line)
	return nil
}
